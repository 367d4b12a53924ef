package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Reboot restarts a machine over SSH: its installed system or stage-0, whichever answers with its key.
// ErrNotFound; ErrBadEvent while a job works on it.
func (r *Runner) Reboot(ctx context.Context, id inventory.HostID, by string) error {
	return r.operate(ctx, id, by, "restart", rebootScript)
}

// PowerOff turns a machine off in the same way.
func (r *Runner) PowerOff(ctx context.Context, id inventory.HostID, by string) error {
	return r.operate(ctx, id, by, "power off", powerOffScript)
}

func (r *Runner) operate(ctx context.Context, id inventory.HostID, by, what, script string) error {
	var h inventory.Host
	if err := r.cfg.Store.View(func(tx *inventory.Tx) (err error) {
		h, err = tx.Host(id)
		return err
	}); err != nil {
		return err
	}
	if h.State == inventory.StateInstalling || h.Upkeep != "" {
		return fmt.Errorf("a job works on host %s: cancel it before you %s the machine: %w", h.Label(), what, inventory.ErrBadEvent)
	}
	c, err := r.dialAny(ctx, &h)
	if err != nil {
		return fmt.Errorf("host %s does not answer, so it cannot be told to %s; use its power button: %w", h.Label(), what, err)
	}
	defer c.close()
	more := ""
	if script == rebootScript && r.cfg.Now().Before(h.StageZeroUntil) { // somebody asked for stage-0
		more = r.armNetboot(ctx, c, &h)
	}
	if err := r.order(ctx, c, script); err != nil {
		return fmt.Errorf("tell host %s to %s: %w", h.Label(), what, err)
	}
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: r.cfg.Now(), HostID: id, Kind: "admin", By: by, From: h.IP,
			Text: strings.TrimSpace(fmt.Sprintf("The machine was told to %s. %s", what, more))})
	})
}

// order tells a machine to restart or to power off. A machine that is gone before it has answered has taken
// the order: a slow one dies with the connection open, and nothing would ever come.
func (r *Runner) order(ctx context.Context, c *conn, script string) error {
	short, stop := context.WithTimeout(ctx, r.limit.Dial)
	defer stop()
	_, err := c.run(short, script)
	if errors.Is(err, errSilent) || err != nil && short.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// dialAny connects to whichever system of the host answers: the installed one or stage-0, each by its own key.
func (r *Runner) dialAny(ctx context.Context, h *inventory.Host) (*conn, error) {
	c, err := r.dialSystem(ctx, h)
	if err != nil && h.HostKey != "" {
		c, err = r.ssh.dial(ctx, h.IP, h.HostKey)
	}
	return c, err
}

// restartForStage0 tells a machine that runs its own system to restart, once per attempt, so that a reinstall or
// format that a person asked for needs nobody at the machine.
func (r *Runner) restartForStage0(ctx context.Context, s *situation) {
	j, h := s.job, s.host
	rec, err := readRecord(&j)
	if err != nil || rec.Restarted >= j.Attempt || h.InstalledKey == "" {
		return
	}
	r.mu.Lock()
	busy := r.errand[h.ID]
	r.errand[h.ID] = true
	r.mu.Unlock()
	if busy {
		return
	}
	r.wg.Go(func() {
		defer func() {
			r.mu.Lock()
			delete(r.errand, h.ID)
			r.mu.Unlock()
		}()
		c, err := r.dialSystem(ctx, &h)
		if err != nil {
			pause(ctx, r.limit.Poll) // it may be off, or on its way: the next look tries again
			return
		}
		defer c.close()
		if err := r.markRestarted(j.ID, r.armNetboot(ctx, c, &h)); err != nil {
			r.report("restart", err)
			return
		}
		if err := r.order(ctx, c, rebootScript); err != nil {
			r.report("restart", fmt.Errorf("restart host %s: %w", h.Label(), err))
		}
	})
}

// markRestarted records, before the order is given, that the machine was told to restart in this attempt; more goes
// with the line in its diary.
func (r *Runner) markRestarted(id inventory.JobID, more string) error {
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, id)
		if err != nil {
			return err
		}
		if j.State != inventory.JobQueued || j.CancelAsked {
			return errStale
		}
		rec, err := readRecord(&j)
		if err != nil {
			return err
		}
		rec.Restarted = j.Attempt
		if j.Data, err = rec.bytes(); err != nil {
			return err
		}
		if _, err := tx.PutJob(j); err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: r.cfg.Now(), HostID: h.ID, Kind: "job.step", By: "pipeline",
			Text: strings.TrimSpace(fmt.Sprintf("The machine runs its own system: it is restarted so that it netboots stage-0 for the %s. %s", j.Kind, more))})
	})
}

// sweepLimit bounds how long the end of a job waits for the machine.
const sweepLimit = 45 * time.Second

// sweepLater ends, as well as it can be done, what this job still runs on the machine after its local
// programs were ended. A machine that does not answer is swept by the next attempt's preflight.
func (w *work) sweepLater(ctx context.Context) {
	if !w.rec.Writing || w.job.Flipped || w.job.Kind == inventory.JobDeploy {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), min(sweepLimit, 3*w.r.limit.Dial))
	defer stop()
	c, err := w.r.ssh.dial(ctx, w.host.IP, w.host.HostKey)
	if err == nil {
		_, err = c.run(ctx, sweepScript)
		c.close()
	}
	if err != nil {
		w.say(StepInstall, "the machine could not be tidied up now: %v", err)
		return
	}
	w.say(StepInstall, "what still ran on the machine was ended, /mnt is unmounted")
}
