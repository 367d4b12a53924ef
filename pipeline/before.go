package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// doStage0 waits until stage-0 answers with the key and in the boot that checked in.
func (w *work) doStage0(ctx context.Context) error {
	c, err := w.awaitStage0(ctx)
	if err != nil {
		return err
	}
	c.close()
	w.say(StepStage0, "stage-0 answers at %s with the key that checked in", w.host.IP)
	return nil
}

// awaitStage0 connects to stage-0, in whichever boot of the machine checked in last, and waits for it as
// long as step stage-0 may: before the first write a machine that was restarted simply goes on.
func (w *work) awaitStage0(ctx context.Context) (*conn, error) {
	ctx, stop := context.WithTimeout(ctx, w.r.limit.Stage0)
	defer stop()
	var wrongSince time.Time
	var last error
	for {
		if err := w.reread(); err != nil {
			return nil, err
		}
		if w.host.Attention != "" {
			return nil, &Failure{Step: w.step.Name, Cause: "A person must look at this machine first; nothing was written. " + w.host.Attention,
				Hint: "Approve it if it is the machine you mean, then retry."}
		}
		c, err := w.dialStage0(ctx)
		if err == nil {
			return c, nil
		}
		if over(ctx) { // the attempt was cut short: what the one before it said counts
			return nil, w.stage0Failure(cmp.Or(last, err))
		}
		last = err
		w.r.cfg.Log.Debug("stage-0 does not answer", "host", w.host.Label(), "err", err)
		switch now := time.Now(); {
		case !errors.Is(err, errWrongKey) && !errors.Is(err, errNoEntry):
			wrongSince = time.Time{}
		case wrongSince.IsZero():
			wrongSince = now
		case now.Sub(wrongSince) > w.r.limit.Fresh: // a check-in would have told a new key by now
			return nil, w.stage0Failure(last)
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return nil, w.stage0Failure(last)
		}
	}
}

// stage0Failure says why stage-0 could not be reached.
func (w *work) stage0Failure(last error) error {
	f := overTime(Step{Name: StepStage0, Limit: w.r.limit.Stage0})
	f.Step, f.Err = w.step.Name, last
	f.Cause += " Nothing was written in this attempt."
	switch {
	case errors.Is(last, errWrongKey):
		f.Cause = fmt.Sprintf("The machine at %s shows another SSH host key than the stage-0 that checked in.", w.host.IP)
		f.Hint = "Another machine may have its address, or it runs another system. Restart it so that it netboots, then retry."
	case errors.Is(last, errNoEntry):
		f.Cause = fmt.Sprintf("Stage-0 at %s does not let the appliance's SSH key in.", w.host.IP)
		f.Hint = "Restart the machine so that its agent fetches the key again, then retry."
	}
	return f
}

// dialStage0 connects to stage-0 and makes sure that it is the boot that checked in.
func (w *work) dialStage0(ctx context.Context) (*conn, error) {
	c, err := w.r.ssh.dial(ctx, w.host.IP, w.host.HostKey)
	if err != nil {
		return nil, err
	}
	boot, err := c.run(ctx, bootScript)
	if err == nil && strings.TrimSpace(boot) != w.host.BootID {
		err = fmt.Errorf("the machine at %s was restarted since it checked in: %w", w.host.IP, errSilent)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// readFacts asks the agent on the machine what its disks are right now: the report of the check-in is
// older than a partial install of this boot. nil where stage-0 has no agent to ask.
func (w *work) readFacts(ctx context.Context, c *conn) (*inventory.Facts, error) {
	out, err := c.run(ctx, factsScript)
	if err != nil || strings.TrimSpace(out) == "" {
		return nil, err
	}
	f := &inventory.Facts{}
	if err := json.Unmarshal([]byte(out), f); err != nil {
		return nil, fmt.Errorf("facts of the machine: %w", err)
	}
	if f.Firmware == "" && w.host.Facts != nil {
		f.Firmware = w.host.Facts.Firmware
	}
	return f, f.Check()
}

// doPlan makes the disk plan from what the machine's disks are right now.
func (w *work) doPlan(ctx context.Context) error {
	// Stored by itself: a plan that is blocked now must be shown, and confirmed, as the disks are now.
	if err := w.freshDisks(ctx); err != nil {
		return err
	}
	return w.update(func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		if h.Facts == nil {
			return &Failure{Step: StepPlan, Cause: "The machine has not reported its disks.", Hint: "Restart it so that it netboots, then retry."}
		}
		p, c := makePlan(h, w.role, j, &w.rec)
		if s := obstacle(&p, c); s != "" {
			return &Failure{Step: StepPlan, Cause: strings.TrimPrefix(s, "Waits for a person. "),
				Hint: "Look at the host's disk plan; retry waits until a person has confirmed it."}
		}
		w.plan = p
		w.rec.Plan = hivePlan(&p, h, c.WipePersistent)
		for _, b := range p.Slots {
			w.say(StepPlan, "slot %s (%s): %s, %s. %s", b.Slot, b.Class, listOr(nonEmpty(b.Disk), "no disk"), listOr(nonEmpty(string(b.Fate)), "left empty"), b.Why)
		}
		for _, d := range p.Disks {
			if d.Slot == "" {
				w.say(StepPlan, "disk %s %s: untouched. %s", d.ID, d.Serial, d.Why)
			}
		}
		return nil
	})
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// doPreflight looks at the machine before anything is written.
func (w *work) doPreflight(ctx context.Context) error {
	c, err := w.awaitStage0(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if w.job.Wrote || w.attempt > 1 {
		if _, err := c.run(ctx, sweepScript); err != nil {
			return &Failure{Step: StepPreflight, Cause: "What an earlier attempt left running or mounted on the machine could not be ended.",
				Hint: "Restart the machine so that it netboots stage-0 afresh, then retry.", Err: err}
		}
	}
	w.startJournal(w.live)
	l, err := w.lookAt(ctx, c)
	if err != nil {
		return w.lookFailure(err)
	}
	if skew := l.skew(w.r.cfg.Now()); skew > maxSkew {
		w.say(StepPreflight, "the machine's clock is wrong by %s: set", skew.Round(time.Second))
		if _, err := c.run(ctx, clockScript(w.r.cfg.Now())); err != nil {
			w.say(StepPreflight, "its clock could not be set: %v", err)
		}
	}
	if f := l.judge(w.host.BootID, w.rec.Plan); f != nil {
		return f
	}
	w.say(StepPreflight, "%d MiB of memory, all programs there, nothing at /mnt, the disks are as planned", l.memory>>20)
	return nil
}

// lookAt looks at the machine; arrays and volume groups that were assembled on disks of
// the plan by themselves are let go of once.
func (w *work) lookAt(ctx context.Context, c *conn) (look, error) {
	script := lookScript(diskIDs(w.rec.Plan))
	out, err := c.run(ctx, script)
	if err != nil {
		return look{}, err
	}
	l := parseLook(out)
	if l.busyOnly(w.host.BootID, w.rec.Plan) {
		if _, err := c.run(ctx, releaseScript); err != nil {
			return l, err
		}
		if out, err = c.run(ctx, script); err != nil {
			return l, err
		}
		l = parseLook(out)
	}
	fresh, err := w.readFacts(ctx, c)
	if err != nil || fresh == nil {
		return l, err
	}
	l.same = true
	return l, w.plan.Differs(fresh)
}

// lookFailure tells a look that found other disks than planned from one that lost the machine.
func (w *work) lookFailure(err error) *Failure {
	if !errors.Is(err, diskplan.ErrChanged) {
		return lostBefore(w.step.Name, err)
	}
	return &Failure{Step: w.step.Name, Cause: sentence(strings.TrimSuffix(err.Error(), ": "+diskplan.ErrChanged.Error())),
		Hint: "Put the planned disk back, or retry: it looks at the disks again and makes a new plan, which you may have to confirm."}
}

// lostBefore is the failure of a look that lost the machine; nothing was written yet.
func lostBefore(step string, err error) *Failure {
	return &Failure{Step: step, Cause: "The connection to the machine was lost; nothing was written.",
		Hint: "Look at its power and network cable. Once it has checked in again, retry.", Err: err}
}

// doFacts commits what the hive must know of the host.
func (w *work) doFacts(ctx context.Context) error {
	w.r.keyMu.Lock()
	_, public, err := w.r.vault.hostKey(w.hostID, w.host.InstalledKey)
	w.r.keyMu.Unlock()
	if err != nil {
		return &Failure{Step: StepFacts, Cause: "The host's SSH key could not be made or read on the appliance.",
			Hint: "Look at the free space and the permissions of the data directory, then retry.", Err: err}
	}
	facter := w.facter(ctx)
	commit, err := w.r.cfg.Hive.WriteHost(ctx, hive.HostFacts{Host: w.r.hostFile(&w.host, w.role, w.rec.K3s, w.rec.Plan), Facter: facter})
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	w.say(StepFacts, "committed as %s", commit)
	return w.update(func(_ *inventory.Tx, h *inventory.Host, _ *inventory.Job) error {
		h.InstalledKey = public
		w.rec.Commit = commit
		return nil
	})
}

// hostFile is the host as the hive's host.json has it.
func (r *Runner) hostFile(h *inventory.Host, role inventory.Role, part *hive.K3s, plan *hive.Plan) hive.HostFile {
	f := hive.HostFile{Schema: hive.SchemaVersion, Name: h.Name, MAC: h.MAC, Role: h.Role, System: role.System,
		Firmware: h.Firmware, Address: r.address(h), K3s: part, Plan: plan}
	if h.Facts != nil && h.Facts.Firmware != "" {
		f.Firmware = h.Facts.Firmware
	}
	return f
}

// facter asks nixos-facter on the machine for its report; nil when the stage-0 has none. The report is
// a nicety: whatever goes wrong is a line in the log.
func (w *work) facter(ctx context.Context) json.RawMessage {
	c, err := w.dialStage0(ctx)
	if err != nil {
		w.say(StepFacts, "no hardware report: %v", err)
		return nil
	}
	defer c.close()
	ctx, stop := context.WithTimeout(ctx, w.r.limit.Facts/2)
	defer stop()
	out, err := c.run(ctx, facterScript)
	raw := bytes.TrimSpace([]byte(out))
	if err != nil || len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		w.say(StepFacts, "no hardware report: stage-0 has no nixos-facter, or it failed")
		return nil
	}
	return raw
}

// hiveFailure tells a failure of git or nix; nothing of the machine was touched.
func (w *work) hiveFailure(step string, err error) error {
	var f *hive.Failure
	if errors.As(err, &f) {
		for line := range strings.Lines(f.Output) {
			if step != StepBuild { // the build's output is in the log already
				w.say(step, "%s", line)
			}
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		return err // the step's own limit, which says so itself
	}
	cause, hint := hiveCause(err)
	if hint == "" {
		hint = "Look at the job's log, then retry."
	}
	return &Failure{Step: step, Cause: cause, Hint: "The machine is untouched. " + hint, Err: err}
}

// doBuild builds the system and the install script at the commit.
func (w *work) doBuild(ctx context.Context) error {
	sink := w.logWriter(StepBuild)
	b, err := w.r.cfg.Hive.Build(ctx, w.rec.Commit, w.host.Name, sink)
	sink.flush()
	if err != nil {
		return w.hiveFailure(StepBuild, err)
	}
	if b.Script == "" {
		return &Failure{Step: StepBuild, Cause: "The hive built no install script for this host; the machine is untouched.",
			Hint: "The role's layout must have the slots that the role declares: look at its module in the hive, then retry."}
	}
	w.say(StepBuild, "built %s (%d MB with all that it needs)", b.Toplevel, (b.Bytes+1e6-1)/1e6)
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Toplevel, w.rec.Script, w.rec.Layout, w.rec.Bytes = b.Toplevel, b.Script, b.Layout, b.Bytes
		return nil
	})
}

// recordWrite makes durable, before the first write, that the disks of the plan are ours and may be written to.
func (w *work) recordWrite() error {
	looked := w.host
	return w.update(func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		if f := changedSince(&looked, h); f != nil {
			return f
		}
		w.rec.OwnedBefore, w.rec.BoundBefore, w.rec.ClaimedBefore = maps.Clone(h.OwnedDisks), maps.Clone(h.Bound), maps.Clone(h.Claimed)
		w.rec.WroteBefore, w.rec.Writing, w.rec.BootID = j.Wrote, true, h.BootID
		w.rec.Last = w.rec.Plan
		next, err := inventory.Next(w.plan.Own(*h), inventory.WriteStarted{})
		if err != nil {
			return err
		}
		*h = next
		j.Wrote = true
		return nil
	})
}

// changedSince refuses the first write when the machine that was looked at is not the one the store
// knows now: it checked in anew, or a person must look at it.
func changedSince(looked, h *inventory.Host) *Failure {
	switch {
	case h.Attention != "":
		return &Failure{Step: StepInstall, Cause: "A person must look at this machine first; nothing was written. " + h.Attention,
			Hint: "Approve it if it is the machine you mean, then retry."}
	case h.BootID != looked.BootID || h.HostKey != looked.HostKey || h.IP != looked.IP:
		return &Failure{Step: StepInstall, Cause: "The machine checked in anew just before the install; nothing was written.",
			Hint: "Retry: it plans again."}
	}
	return nil
}

// undoWrite takes recordWrite back after a refusal that wrote nothing, so that a disk nobody
// confirmed does not count as ours.
func (w *work) undoWrite() error {
	return w.change(true, func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		h.OwnedDisks, h.Bound, h.Claimed, h.Wrote = w.rec.OwnedBefore, w.rec.BoundBefore, w.rec.ClaimedBefore, w.rec.WroteBefore
		j.Wrote, w.rec.Writing = w.rec.WroteBefore, false
		return nil
	})
}
