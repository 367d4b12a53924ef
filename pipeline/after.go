package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// doMounts compares what is mounted on the machine with the layout and the plan.
func (w *work) doMounts(ctx context.Context) error {
	c, err := w.stage0Again(ctx)
	if err != nil {
		if ended(ctx, err) != nil {
			return err
		}
		return &Failure{Step: StepMounts, Cause: "interrupted: the machine was restarted or cut off after the install, before it was checked.",
			Hint: "Once stage-0 has checked in again, retry: it installs again, persistent disks are kept.", Err: err}
	}
	defer c.close()
	w.startJournal(w.live)
	out, err := c.run(ctx, mountsScript(diskIDs(w.rec.Plan)))
	if err != nil {
		return &Failure{Step: StepMounts, Cause: "The connection to the machine was lost after the install.",
			Hint: "Look at its network cable, then retry.", Err: err}
	}
	for line := range strings.Lines(out) {
		w.say(StepMounts, "%s", line)
	}
	if f := judgeMounts(out, w.rec.Layout, w.rec.Plan); f != nil {
		return f
	}
	return nil
}

// doNetboot makes durable that the machine boots its own disk from now on.
func (w *work) doNetboot() error {
	return w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		next, err := inventory.Next(*h, inventory.NetbootFlipped{})
		if err != nil {
			return err
		}
		*h = next
		j.Flipped = true
		return tx.Note(inventory.Entry{Time: w.r.cfg.Now(), HostID: h.ID, Kind: "state", By: "pipeline",
			Text: "From now on its netboot is answered with its own disk."})
	})
}

// doReboot unmounts what the install mounted and restarts the machine. A machine that is not in the
// boot of stage-0 that was installed in is left alone: it was restarted already.
func (w *work) doReboot(ctx context.Context) error {
	c, err := w.stage0Again(ctx)
	if err != nil {
		if ended(ctx, err) != nil {
			return err
		}
		w.say(StepReboot, "the stage-0 that was installed in does not answer any more: the machine was restarted already")
		return nil
	}
	defer c.close()
	w.diskFirst(ctx, c)
	if err := w.orderReboot(ctx, c); err != nil {
		return err
	}
	for pause(ctx, w.r.limit.Poll) == nil {
		if !w.stillUp(ctx, c) {
			if ctx.Err() == nil {
				w.say(StepReboot, "the machine went down")
				return nil
			}
			break
		}
	}
	if why := ended(ctx, nil); why != nil {
		return why
	}
	return &Failure{Step: StepReboot, Cause: fmt.Sprintf("The machine was told to restart but was still in stage-0 after %s.", w.step.Limit),
		Hint: "Restart it by hand: its netboot leads to its own disk. Then retry, which only verifies."}
}

// orderReboot unmounts and gives the order.
func (w *work) orderReboot(ctx context.Context, c *conn) error {
	if _, err := c.run(ctx, unmountScript); err != nil {
		w.say(w.step.Name, "not everything could be unmounted, its data is written: %v", err)
	}
	if err := w.r.order(ctx, c, rebootScript); err != nil {
		if ended(ctx, err) != nil {
			return err
		}
		return &Failure{Step: w.step.Name, Cause: "The machine did not take the order to restart.",
			Hint: "Restart it by hand: its netboot leads to its own disk. Then retry, which only verifies.", Err: err}
	}
	return nil
}

// stillUp reports whether the boot of stage-0 that was installed in still answers on a connection.
func (w *work) stillUp(ctx context.Context, c *conn) bool {
	ctx, stop := context.WithTimeout(ctx, w.r.limit.Dial)
	defer stop()
	boot, err := c.run(ctx, bootScript)
	return err == nil && strings.TrimSpace(boot) == w.rec.BootID
}

// stage0Again connects to the boot of stage-0 that was installed in; it gives up when the machine
// shows another key or boot, or is silent for a while.
func (w *work) stage0Again(ctx context.Context) (*conn, error) {
	for began := time.Now(); ; {
		if err := w.reread(); err != nil {
			return nil, err
		}
		if w.host.BootID != w.rec.BootID {
			return nil, errRestarted // another stage-0 has checked in since
		}
		c, err := w.dialStage0(ctx)
		if err == nil {
			return c, nil
		}
		if errors.Is(err, errWrongKey) || time.Since(began) > min(w.r.limit.Lost, 30*time.Second) {
			return nil, err
		}
		if perr := pause(ctx, w.r.limit.Poll); perr != nil {
			return nil, errors.Join(perr, err)
		}
	}
}

// doVerify waits for the new system: the planted key must answer, and what runs must be what was built.
func (w *work) doVerify(ctx context.Context) error {
	ordered := false
	var last error
	for {
		if err := w.reread(); err != nil {
			return err
		}
		if loop := w.host.Looping(w.r.cfg.Now()); loop != "" {
			return &Failure{Step: StepVerify, Cause: "The machine does not start its own disk. " + loop,
				Hint: "Look at its boot order and boot mode (UEFI or BIOS) in the firmware's setup, and at its screen. Retry lets it try again and writes nothing."}
		}
		system, err := w.runningSystem(ctx)
		switch {
		case err == nil && system == w.rec.Toplevel:
			w.say(StepVerify, "%s runs and shows the planted SSH host key", system)
			return nil
		case err == nil:
			return &Failure{Step: StepVerify, Cause: fmt.Sprintf("The machine runs %s, not the system that was built (%s).", listOr(nonEmpty(system), "an unknown system"), w.rec.Toplevel),
				Hint: "It may boot an old disk: look at its boot order. Retry looks again and writes nothing; a reinstall installs again."}
		}
		if over(ctx) { // the attempt was cut short: what the one before it said counts
			last = cmp.Or(last, err)
			break
		}
		if last = err; errors.Is(err, errWrongKey) && !ordered {
			if ordered, err = w.restartAgain(ctx); err != nil {
				return err
			}
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			break
		}
	}
	if why := ended(ctx, nil); why != nil {
		return why
	}
	f := overTime(w.step)
	f.Err = last
	switch {
	case errors.Is(last, errWrongKey):
		f.Cause = fmt.Sprintf("Something answers at %s, but not with the SSH host key that was planted.", w.host.IP)
		f.Hint = "The machine may have booted another disk or stage-0, or another machine has its address. Look at its screen; retry looks again and writes nothing."
	case errors.Is(last, errNoEntry):
		f.Cause = "The new system answers with the planted key but does not let the appliance's SSH key in."
		f.Hint = "The role must authorise the appliance's key (appliance.json in the hive). Retry looks again and writes nothing; a reinstall installs again."
	}
	return f
}

// restartAgain restarts a machine that is in stage-0: the order got lost, or it had fetched its script just
// before the flip. A person who asked for stage-0 (rescue) keeps it.
func (w *work) restartAgain(ctx context.Context) (bool, error) {
	if w.r.cfg.Now().Before(w.host.StageZeroUntil) {
		return false, nil
	}
	c, err := w.dialStage0(ctx)
	if err != nil {
		return false, nil // it is something else that answers
	}
	defer c.close()
	w.say(StepVerify, "the machine is in stage-0: told to restart into its own disk")
	return true, w.orderReboot(ctx, c)
}

// runningSystem asks the installed system, known by its planted key, which system runs.
func (w *work) runningSystem(ctx context.Context) (string, error) {
	c, err := w.r.dialSystem(ctx, &w.host)
	if err != nil {
		return "", err
	}
	defer c.close()
	w.at = c.ip
	out, err := c.run(ctx, systemScript)
	return strings.TrimSpace(clean(out)), err
}

// verified ends an install well: the system was seen to run, and its node is ready where the role says so.
func (w *work) verified() error {
	system := w.rec.Toplevel
	err := w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		now := w.r.cfg.Now()
		next, err := inventory.Next(*h, inventory.Verified{System: system, Commit: w.rec.Commit, At: now})
		if err != nil {
			return err
		}
		*h = next
		if w.at.IsValid() { // a static address: nobody hears DHCP of it
			h.IP = w.at
		}
		j.State, j.EndedAt = inventory.JobDone, now
		if err := recordServer(tx, h.ID, w.rec.K3s); err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "state", By: "pipeline", Duration: now.Sub(j.StartedAt).Truncate(time.Second),
			Text: fmt.Sprintf("Installed: %s runs %s and shows the planted SSH host key.", h.Label(), system)})
	})
	if err == nil {
		w.say(StepVerify, "installed: %s runs and shows the planted SSH host key", system)
		w.r.cfg.Log.Info("host installed", "host", w.host.Label(), "ip", w.host.IP)
	}
	return err
}
