package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// formatOrder is what a person ordered, as the job keeps it.
func formatOrder(j *inventory.Job) inventory.FormatOrder {
	slot := formatSlot(j)
	return inventory.FormatOrder{PlanID: j.PlanID, Slot: slot, Word: j.Confirm[slot]}
}

// formatSlot is the one slot that a format job is about.
func formatSlot(j *inventory.Job) string {
	if len(j.WipePersistent) != 1 {
		return ""
	}
	return j.WipePersistent[0]
}

// formatPlan is the plan that a format order is held against.
func formatPlan(h *inventory.Host, role inventory.Role, j *inventory.Job) diskplan.Plan {
	return diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: []string{formatSlot(j)}})
}

// carryOutFormat carries out one step of a format.
func (w *work) carryOutFormat(ctx context.Context) error {
	switch w.step.Name {
	case StepStage0:
		return w.doStage0(ctx)
	case StepPlan:
		return w.doFormatPlan(ctx)
	case StepPreflight:
		return w.doPreflight(ctx)
	case StepFacts:
		return w.doFormatFacts(ctx)
	case StepBuild:
		return w.doFormatBuild(ctx)
	case StepFormat:
		return w.doFormat(ctx)
	case StepReboot:
		return w.doReboot(ctx)
	case StepReturn:
		return w.doReturn(ctx)
	}
	return fmt.Errorf("step %q of a format is not known", w.step.Name)
}

// doFormatPlan holds the order against the machine's disks as they are right now.
func (w *work) doFormatPlan(ctx context.Context) error {
	if err := w.freshDisks(ctx); err != nil {
		return err
	}
	order := formatOrder(&w.job)
	p := formatPlan(&w.host, w.role, &w.job)
	if err := p.ConfirmedFormat(order); err != nil {
		return &Failure{Step: StepPlan, Cause: "Nothing was written. " + planText(err), Hint: "Look at the host's disk plan, then ask again.", Err: err}
	}
	return w.update(func(_ *inventory.Tx, h *inventory.Host, _ *inventory.Job) error {
		w.plan = p.Only(order.Slot)
		w.rec.Plan = hivePlan(&w.plan, h, nil)
		b := w.plan.Slots[0]
		w.say(StepPlan, "slot %s: disk %s, serial %s, is wiped and formatted; every other disk is left alone", b.Slot, b.Disk, b.Serial)
		return nil
	})
}

// doFormatFacts writes to the hive what the disk looks like; the host's other disks stay as they are there.
func (w *work) doFormatFacts(ctx context.Context) error {
	f, known, err := w.r.cfg.Hive.ReadHost(ctx, w.host.Name)
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	if !known || f.Plan == nil {
		f = w.r.hostFile(&w.host, w.role, nil, &hive.Plan{Disks: map[string]hive.PlanDisk{}})
	}
	all := hive.Plan{ID: w.rec.Plan.ID, Disks: maps.Clone(f.Plan.Disks), WipePersistent: []string{}}
	maps.Copy(all.Disks, w.rec.Plan.Disks)
	if !known { // the layout wants all of them to be there
		p := formatPlan(&w.host, w.role, &w.job)
		all.Disks = hivePlan(&p, &w.host, nil).Disks
	}
	f.Plan = &all
	history, err := w.r.cfg.Hive.History(ctx)
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	current := w.host.InstalledCommit != "" && hive.Behind(history, w.host.InstalledCommit, w.host.Name) == 0
	commit, err := w.r.cfg.Hive.WriteHost(ctx, hive.HostFacts{Host: f})
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	w.say(StepFacts, "committed as %s", commit)
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Commit, w.rec.Current = commit, current
		return nil
	})
}

// doFormatBuild builds the script for the one slot.
func (w *work) doFormatBuild(ctx context.Context) error {
	sink := w.logWriter(StepBuild)
	script, err := w.r.cfg.Hive.BuildFormat(ctx, w.rec.Commit, w.host.Name, formatSlot(&w.job), sink)
	sink.flush()
	if err != nil {
		return w.hiveFailure(StepBuild, err)
	}
	w.say(StepBuild, "built %s", script)
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Script = script
		return nil
	})
}

// doFormat lets the script write, by nixos-anywhere's first phase alone. The machine is looked at once more before.
func (w *work) doFormat(ctx context.Context) error {
	if err := w.lookOnceMore(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	p, err := w.prepareFormat()
	if err != nil {
		return &Failure{Step: StepFormat, Cause: "The appliance could not prepare the format; nothing was written.",
			Hint: "Look at the free space and the permissions of the data directory, then ask again.", Err: err}
	}
	if err := w.recordFormat(); err != nil {
		return err
	}
	watch := &anywhere{w: w}
	p.line = watch.line
	if err := watch.run(ctx, p); err != nil {
		var undo error
		if !watch.formatting.Load() || watch.refused {
			undo = w.undoFormat()
		}
		return errors.Join(formatFailure(err), undo)
	}
	if err := w.update(func(_ *inventory.Tx, h *inventory.Host, _ *inventory.Job) error {
		w.rec.Installed = true
		return nil
	}); err != nil {
		return err
	}
	if err := w.freshDisks(ctx); err != nil { // a nicety: the page shows what is on the disk now
		w.say(StepFormat, "the disks could not be read again: %v", err)
	}
	return nil
}

// formatFailure says a failure of the run in the words of a format.
func formatFailure(err error) error {
	var f *Failure
	if !errors.As(err, &f) {
		return err
	}
	out := *f
	out.Step = StepFormat
	out.Hint = "Read the job's log and look at the disk plan, then ask for the format again. No other disk was touched."
	return &out
}

// prepareFormat makes the files of this run. nixos-anywhere wants a system beside the script; of its first phase it
// only reads what kind of machine that is for (nix-facts section 2).
func (w *work) prepareFormat() (*program, error) {
	bin, tmp, err := w.prepareRun(w.host.HostKey, w.host.IP)
	if err != nil {
		return nil, err
	}
	system := filepath.Join(w.dir, "system")
	if err := os.Mkdir(system, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(system, "system"), []byte(w.role.System), 0o600); err != nil {
		return nil, err
	}
	return w.anywhereProgram(w.rec.Script, system, "disko", bin, tmp), nil
}

// recordFormat makes durable, before the first write, that the one disk is ours and may be written to.
func (w *work) recordFormat() error {
	looked := w.host
	return w.update(func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		if f := changedSince(&looked, h); f != nil {
			f.Step = StepFormat
			return f
		}
		w.rec.OwnedBefore, w.rec.BoundBefore = maps.Clone(h.OwnedDisks), maps.Clone(h.Bound)
		w.rec.Writing, w.rec.BootID = true, h.BootID
		*h = w.plan.Own(*h)
		j.Wrote = true
		return nil
	})
}

// undoFormat takes recordFormat back after a refusal that wrote nothing.
func (w *work) undoFormat() error {
	return w.change(true, func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		h.OwnedDisks, h.Bound = w.rec.OwnedBefore, w.rec.BoundBefore
		j.Wrote, w.rec.Writing = false, false
		return nil
	})
}

// doReturn waits until the machine runs its own system again.
func (w *work) doReturn(ctx context.Context) error {
	var last error
	for {
		if err := w.reread(); err != nil {
			return err
		}
		system, err := w.runningSystem(ctx)
		if err == nil && system != "" {
			w.say(StepReturn, "the machine runs %s", system)
			return nil
		}
		if last = err; pause(ctx, w.r.limit.Poll) != nil {
			return &Failure{Step: StepReturn, Cause: fmt.Sprintf("Slot %s is formatted, but the machine's own system did not answer within %s.", formatSlot(&w.job), w.step.Limit),
				Hint: "Look at the machine's screen: does it boot its own disk, and can it mount the new file system?", Err: last}
		}
	}
}

// formatted ends a format well.
func (w *work) formatted() error {
	return w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		now := w.r.cfg.Now()
		next, err := inventory.Next(*h, inventory.UpkeepDone{})
		if err != nil {
			return err
		}
		*h = next
		if h.EverFlipped {
			h.ReportedAt = time.Time{} // its stage-0 is over
		}
		if w.rec.Current { // how a disk looks is no part of the system
			h.InstalledCommit, h.Behind = w.rec.Commit, 0
		}
		j.State, j.EndedAt = inventory.JobDone, now
		slot := formatSlot(j)
		text := fmt.Sprintf("Formatted: slot %s, disk %s. No other disk was touched.", slot, h.Bound[slot])
		w.say(w.step.Name, "%s", text)
		return tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "state", By: "pipeline", Text: text})
	})
}

// lookOnceMore looks at the machine right before the first write: the build may have taken hours.
func (w *work) lookOnceMore(ctx context.Context) error {
	c, err := w.awaitStage0(ctx)
	if err != nil {
		return err
	}
	l, err := w.lookAt(ctx, c)
	c.close()
	if err != nil {
		return w.lookFailure(err)
	}
	if f := l.judge(w.host.BootID, w.rec.Plan); f != nil {
		f.Step = w.step.Name
		return f
	}
	return nil
}

// freshDisks stores what the machine's disks are right now.
func (w *work) freshDisks(ctx context.Context) error {
	c, err := w.awaitStage0(ctx)
	if err != nil {
		return err
	}
	fresh, err := w.readFacts(ctx, c)
	c.close()
	if err != nil {
		return &Failure{Step: w.step.Name, Cause: "The machine's disks could not be read; nothing was written.",
			Hint: "Restart the machine so that it netboots, then retry.", Err: err}
	}
	return w.update(func(_ *inventory.Tx, h *inventory.Host, _ *inventory.Job) error {
		if fresh != nil && h.Facts != nil {
			facts := *h.Facts
			facts.Disks = slices.Clone(fresh.Disks)
			h.Facts = &facts
		}
		return nil
	})
}
