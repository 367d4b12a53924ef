package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// plan0 stands for a plan that is not made yet.
var plan0 = diskplan.Plan{}

// errOverTime ends a step that took longer than its limit.
var errOverTime = errors.New("over its time limit")

// work is one running job. One goroutine carries it out; the fields are its own.
type work struct {
	r       *Runner
	id      inventory.JobID
	hostID  inventory.HostID
	attempt int
	cancel  context.CancelCauseFunc // safe from any goroutine
	log     *joblog
	dir     string // DIR/run/jobs/ID, for this run only

	host inventory.Host // as last read or written
	job  inventory.Job
	role inventory.Role
	plan diskplan.Plan
	rec  record
	step Step
	// reached is the step that an earlier run of the appliance had come to, of the steps as shown; 0 = this is the first
	// run. shift is how many steps before the first of this run are behind the machine for good.
	reached, shift int
	at             netip.Addr // where the installed system answered

	live        context.Context // of the job as a whole; what outlives a step is bound to it
	stopJournal func()          // nil while stage-0's journal is not followed
}

func (r *Runner) newWork(j inventory.Job, h inventory.Host) (*work, error) {
	rec, err := readRecord(&j)
	if err != nil {
		return nil, err
	}
	return &work{r: r, id: j.ID, hostID: h.ID, attempt: j.Attempt, host: h, job: j, rec: rec,
		dir: filepath.Join(r.cfg.Dir, "run", "jobs", string(j.ID))}, nil
}

// launch starts a work's goroutine.
func (r *Runner) launch(ctx context.Context, w *work, how resumption) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.live = ctx
	r.mu.Lock()
	r.active[w.hostID] = w
	r.mu.Unlock()
	w.log = r.logFor(&w.job)
	r.wg.Go(func() {
		w.run(ctx, how)
		w.cancel(nil)
		r.mu.Lock()
		delete(r.active, w.hostID)
		r.mu.Unlock()
		r.nudge(r.wake)
	})
}

// mark is what every process of the job carries in its environment.
func (w *work) mark() string { return w.r.cfg.Dir + ":" + string(w.id) }

// run carries the job out from where it stands to its end.
func (w *work) run(ctx context.Context, how resumption) {
	defer os.RemoveAll(w.dir)
	n, err := endLeftovers(ctx, w.r.thread, w.mark())
	if n += w.r.leftOf(w.mark()); err != nil || n > 0 {
		w.say("resume", "%d programs of an earlier run were ended", n)
		if err != nil {
			w.end(ctx, &Failure{Step: StepStage0, Cause: sentence(err.Error()), Hint: "Restart the appliance, then retry."})
			return
		}
	}
	switch how {
	case resumeFail:
		w.sweepLater(ctx)
		w.end(ctx, interrupted(&w.job))
		return
	case resumeCancel:
		w.end(ctx, w.goBack(ctx, errCancelled))
		return
	case resumeStart, resumeMounts, resumeVerify, resumeSwitch, resumeReturn:
	}
	if err := w.readRole(); err != nil {
		w.end(ctx, err)
		return
	}
	steps := stepsWith(w.r.limit, w.host, w.role, plan0, w.job)
	if w.reached > 0 && w.job.Flipped { // the job counted all steps before the flip, too
		w.shift = max(w.job.StepOf-len(steps), 0)
	}
	for i, s := range steps {
		if i < how.first(steps) {
			continue
		}
		if err := w.do(ctx, s, w.shift+i+1, w.shift+len(steps)); err != nil {
			w.end(ctx, w.goBack(ctx, err))
			return
		}
	}
	if err := w.complete(); err != nil {
		w.end(ctx, err)
		return
	}
	w.finished(ctx, nil)
}

// complete ends a job whose steps all went well.
func (w *work) complete() error {
	switch w.job.Kind {
	case inventory.JobDeploy:
		return w.deployed()
	case inventory.JobFormat:
		return w.formatted()
	case inventory.JobInstall, inventory.JobReinstall:
	}
	return w.verified()
}

// readRole reads the job's role; after the flip it is not needed.
func (w *work) readRole() error {
	return w.r.cfg.Store.View(func(tx *inventory.Tx) error {
		hv, err := tx.Hive()
		if err != nil {
			return err
		}
		role, ok := hv.Roles[w.host.Role]
		if !ok && !w.job.Flipped {
			return &Failure{Step: StepPlan, Cause: fmt.Sprintf("Role %s is not in the hive any more.", w.host.Role),
				Hint: "Add it there or give the host another role, then retry."}
		}
		w.role = role
		return nil
	})
}

// do carries one step out within its limit. A step that an earlier run of the appliance did or began is shown as done
// again: how far the job is never goes back.
func (w *work) do(ctx context.Context, s Step, no, of int) error {
	w.step = s
	began := w.r.cfg.Now()
	again := ""
	if no <= w.reached {
		again = inventory.StepAgain
	}
	err := w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		j.Step, j.StepNo, j.StepOf, j.StepAgain = s.Name, min(max(no, w.reached), of), of, again != ""
		next, err := inventory.Next(*h, inventory.StepStarted{Step: s.Name + again, No: j.StepNo, Of: of})
		if err != nil {
			return err
		}
		*h = next
		return tx.Note(inventory.Entry{Time: began, HostID: h.ID, Kind: "job.step", By: "pipeline",
			Text: fmt.Sprintf("Step %d of %d, %s%s: %s.", no, of, s.Name, again, s.Title)})
	})
	if err != nil {
		return err
	}
	w.say(s.Name, "step %d of %d%s: %s", no, of, again, s.Title)
	stepCtx, stop := context.WithTimeoutCause(ctx, s.Limit, errOverTime)
	defer stop()
	err = w.carryOut(stepCtx)
	if err != nil && errors.Is(context.Cause(stepCtx), errOverTime) && ended(ctx, err) == nil {
		var f *Failure
		if !errors.As(err, &f) {
			f = overTime(s)
			f.Err = err
		}
		err = f
	}
	if err == nil {
		w.r.cfg.Log.Info("step done", "host", w.host.Label(), "step", s.Name, "dur", w.r.cfg.Now().Sub(began))
	}
	return err
}

func (w *work) carryOut(ctx context.Context) error {
	switch w.job.Kind {
	case inventory.JobDeploy:
		return w.carryOutDeploy(ctx)
	case inventory.JobFormat:
		return w.carryOutFormat(ctx)
	case inventory.JobInstall, inventory.JobReinstall:
	}
	switch w.step.Name {
	case StepStage0:
		return w.doStage0(ctx)
	case StepPlan:
		return w.doPlan(ctx)
	case StepPreflight:
		return w.doPreflight(ctx)
	case StepFacts:
		return w.doFacts(ctx)
	case StepBuild:
		return w.doBuild(ctx)
	case StepNode:
		return w.doNode(ctx)
	case StepInstall:
		return w.doInstall(ctx)
	case StepMounts:
		return w.doMounts(ctx)
	case StepNetboot:
		return w.doNetboot()
	case StepReboot:
		return w.doReboot(ctx)
	case StepVerify:
		return w.doVerify(ctx)
	}
	return fmt.Errorf("step %q is not known", w.step.Name)
}

// update changes host and job in one transaction, with the record. errStale when the job is no longer
// ours to change, errCancelled when a person asked to stop it.
func (w *work) update(fn func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error) error {
	return w.change(false, fn)
}

// change is update; evenCancelled lets it through when a person asked to stop the job.
func (w *work) change(evenCancelled bool, fn func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error) error {
	var h inventory.Host
	var j inventory.Job
	err := w.r.cfg.Store.Update(func(tx *inventory.Tx) error {
		var err error
		if j, h, err = readBoth(tx, w.id); err != nil {
			return err
		}
		if j.State != inventory.JobRunning || j.Attempt != w.attempt {
			return errStale
		}
		if j.CancelAsked && !evenCancelled {
			return errCancelled
		}
		if err := fn(tx, &h, &j); err != nil {
			return err
		}
		if j.Data, err = w.rec.bytes(); err != nil {
			return err
		}
		if j, err = tx.PutJob(j); err != nil {
			return err
		}
		h, err = tx.PutHost(h)
		return err
	})
	if isNotFound(err) {
		return errStale
	}
	if err == nil {
		w.host, w.job = h, j
	}
	return err
}

// reread takes in what others changed of the host (address, key of a new boot, a question to a person).
func (w *work) reread() error {
	return w.r.cfg.Store.View(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, w.id)
		switch {
		case isNotFound(err), err == nil && (j.State != inventory.JobRunning || j.Attempt != w.attempt):
			return errStale
		case err != nil:
			return err
		case j.CancelAsked:
			return errCancelled
		}
		w.host, w.job = h, j
		return nil
	})
}

// end stores how the job ended: a failure, a cancel, or nothing where the appliance only stops.
func (w *work) end(ctx context.Context, err error) {
	w.endJournal()
	switch why := ended(ctx, err); why {
	case errShutdown, errStale:
		w.say(w.step.Name, "left as it is: %v", why)
		return
	case errCancelled:
		w.endCancelled(ctx)
		return
	}
	if ctx.Err() != nil { // the appliance stops
		return
	}
	var f *Failure
	if !errors.As(err, &f) {
		f = &Failure{Step: w.step.Name, Cause: sentence(err.Error()), Hint: "Look at the job's log, then retry.", Err: err}
	}
	if f.Step == "" {
		f.Step = w.step.Name
	}
	f = &Failure{Step: f.Step, Cause: w.r.masks.apply(f.Cause), Hint: w.r.masks.apply(f.Hint), Err: f.Err}
	w.say(f.Step, "FAILED: %s", f.Cause)
	w.say(f.Step, "what to do: %s", f.Hint)
	if f.Err != nil {
		w.say(f.Step, "detail: %v", f.Err)
	}
	storeErr := w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		return failBoth(tx, h, j, f, w.r.cfg.Now())
	})
	if errors.Is(storeErr, errCancelled) { // it failed before it could be stopped
		w.endCancelled(ctx)
		return
	}
	w.finished(ctx, storeErr)
	w.r.cfg.Log.Warn("job failed", "host", w.host.Label(), "step", f.Step, "err", f.Cause)
}

// endCancelled finishes a cancel once nothing of the job runs any more, here and on the machine.
func (w *work) endCancelled(ctx context.Context) {
	w.say(w.step.Name, "cancelled by a person")
	w.sweepLater(ctx)
	err := w.r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, err := tx.Job(w.id)
		if err != nil || j.State != inventory.JobRunning || j.Attempt != w.attempt {
			return ignoreNotFound(err)
		}
		h, err := inventory.FinishCancel(tx, w.hostID, w.r.cfg.Now())
		if err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: w.r.cfg.Now(), HostID: h.ID, Kind: "job.step", By: "pipeline", Level: "warn",
			Text: fmt.Sprintf("The job was cancelled in step %s; the host is %s.", j.Step, h.State)})
	})
	w.finished(ctx, err)
}

// finished closes the log of a job that has ended. An error of the store (its disk is full) keeps the
// job open: after a pause the next look takes it up again.
func (w *work) finished(ctx context.Context, err error) {
	w.endJournal()
	if err != nil && !errors.Is(err, errStale) {
		w.r.report("job's end", fmt.Errorf("host %s: %w", w.host.Label(), err))
		_ = pause(ctx, w.r.cfg.Tick)
		return
	}
	w.r.closeLog(w.id)
}

// say writes one line of our own to the job's log.
func (w *work) say(step, format string, args ...any) { w.log.add(step, fmt.Sprintf(format, args...)) }

// progress shows a detail of the running step on the host.
func (w *work) progress(detail string) {
	err := w.update(func(_ *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		next, err := inventory.Next(*h, inventory.StepStarted{Step: j.StepText() + ": " + detail, No: j.StepNo, Of: j.StepOf})
		*h = next
		return err
	})
	if err != nil && !errors.Is(err, errCancelled) && !errors.Is(err, errStale) {
		w.r.report("progress", err)
	}
}

// over reports whether ctx has ended or is ending: the network's own timers fire a moment before ctx tells.
func over(ctx context.Context) bool {
	end, limited := ctx.Deadline()
	return ctx.Err() != nil || limited && !time.Now().Before(end)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
