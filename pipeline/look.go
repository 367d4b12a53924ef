package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// look reads all open jobs and starts, blocks, resumes or stops each as it is due. Only Run's loop calls it.
func (r *Runner) look(ctx context.Context) {
	var cases []situation
	var hv inventory.Hive
	now := r.cfg.Now()
	err := r.cfg.Store.View(func(tx *inventory.Tx) error {
		jobs, err := tx.OpenJobs()
		if err != nil {
			return err
		}
		if hv, err = tx.Hive(); err != nil {
			return err
		}
		for _, j := range jobs {
			s, err := r.situationOf(tx, j, hv, now)
			if isNotFound(err) {
				continue // its host is gone: nothing can be done with it
			}
			if err != nil {
				return err
			}
			cases = append(cases, s)
		}
		return nil
	})
	if err != nil {
		r.report("queue", err)
		return
	}
	slices.SortStableFunc(cases, func(a, b situation) int {
		return cmp.Or(a.job.CreatedAt.Compare(b.job.CreatedAt), cmp.Compare(a.job.ID, b.job.ID))
	})
	waiting := 0
	for i := range cases {
		s := &cases[i]
		if s.job.State == inventory.JobRunning {
			r.attend(ctx, s)
			continue
		}
		if r.lookQueued(ctx, s, waiting) {
			waiting++
		}
	}
}

// situationOf gathers what decides about a job.
func (r *Runner) situationOf(tx *inventory.Tx, j inventory.Job, hv inventory.Hive, now time.Time) (situation, error) {
	h, err := tx.Host(j.HostID)
	if err != nil {
		return situation{}, err
	}
	s := situation{host: h, job: j, hive: hv, now: now, fresh: r.limit.Fresh}
	if err := tx.Room(); err != nil {
		s.room = sentence(err.Error())
	}
	role, ok := hv.Roles[h.Role]
	if j.Kind.Upkeep() {
		if ok {
			err = r.upkeepSituation(tx, &s, role)
		}
		return s, err
	}
	if !ok || j.State != inventory.JobQueued || j.Flipped {
		return s, nil
	}
	var p diskplan.Plan
	if h.Facts != nil {
		rec, err := readRecord(&j)
		if err != nil {
			s.obstacle = "Waits for a person. " + sentence(err.Error()) + " Cancel the job and ask for it again."
			return s, nil
		}
		var c inventory.Confirmation
		p, c = makePlan(&h, role, &j, &rec)
		s.obstacle = obstacle(&p, c)
	}
	if s.cluster = r.needsAddress(&h, role); s.cluster != "" {
		return s, nil
	}
	if s.part, s.cluster, err = r.joinCluster(tx, &h, role, hv.Roles, false); err != nil || s.cluster != "" {
		return s, err
	}
	s.cluster, err = clusterLoss(tx, &h, s.part, &p, &j)
	return s, err
}

// lookQueued starts a queued job or says what it waits for; it reports whether the job only waits for its turn.
func (r *Runner) lookQueued(ctx context.Context, s *situation, before int) bool {
	v := gate(*s)
	if v.fail != nil {
		r.report("queue", r.failQueued(s, v.fail))
		return false
	}
	if v.restart {
		r.restartForStage0(ctx, s)
	}
	if v.machine {
		r.ahead(ctx, s)
	}
	if !v.start {
		r.report("queue", r.block(s, v.blocked))
		return false
	}
	r.mu.Lock()
	running, busy := len(r.active), r.active[s.host.ID] != nil || r.errand[s.host.ID]
	r.mu.Unlock()
	if busy {
		return false
	}
	if running >= r.cfg.Jobs {
		r.report("queue", r.block(s, waitTurn(running, before)))
		return true
	}
	w, err := r.claim(s)
	if err != nil {
		if !errors.Is(err, errStale) {
			r.report("queue", fmt.Errorf("start job of host %s: %w", s.host.Label(), err))
		}
		return false
	}
	r.launch(ctx, w, resumeStart)
	return false
}

// block stores what a queued job waits for, when it is news.
func (r *Runner) block(s *situation, on string) error {
	if s.job.BlockedOn == on && s.host.BlockedOn == on {
		return nil
	}
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, s.job.ID)
		if err != nil || j.State != inventory.JobQueued || h.State != inventory.StateQueued && h.Upkeep == "" {
			return ignoreNotFound(err)
		}
		if h, err = inventory.Next(h, inventory.Blocked{On: on}); err != nil {
			return err
		}
		j.BlockedOn = on
		if _, err := tx.PutJob(j); err != nil {
			return err
		}
		if _, err := tx.PutHost(h); err != nil || strings.HasPrefix(on, waitTurnPrefix) {
			return err // its place in the queue changes often: the page shows it, the diary need not
		}
		return tx.Note(inventory.Entry{Time: r.cfg.Now(), HostID: h.ID, Kind: "job.step", By: "pipeline", Text: on})
	})
}

// failQueued ends a job that must never start.
func (r *Runner) failQueued(s *situation, f *Failure) error {
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, s.job.ID)
		if err != nil || j.State != inventory.JobQueued {
			return ignoreNotFound(err)
		}
		return putFailure(tx, h, j, f, r.cfg.Now())
	})
}

// putFailure stores the end of a job in a failure.
func putFailure(tx *inventory.Tx, h inventory.Host, j inventory.Job, f *Failure, now time.Time) error {
	if err := failBoth(tx, &h, &j, f, now); err != nil {
		return err
	}
	if _, err := tx.PutJob(j); err != nil {
		return err
	}
	_, err := tx.PutHost(h)
	return err
}

// failBoth moves host and job to failed and notes it in the diary; the caller stores both.
func failBoth(tx *inventory.Tx, h *inventory.Host, j *inventory.Job, f *Failure, now time.Time) error {
	next, err := inventory.Next(*h, inventory.StepFailed{Step: f.Step, Cause: f.Cause, Hint: f.Hint})
	if err != nil {
		return err
	}
	*h = next
	j.State, j.Step, j.Error, j.Hint, j.BlockedOn, j.EndedAt = inventory.JobFailed, f.Step, f.Cause, f.Hint, "", now
	return tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "job.step", By: "pipeline", Level: "error",
		Text: fmt.Sprintf("Failed in step %s: %s %s", f.Step, f.Cause, f.Hint)})
}

func readBoth(tx *inventory.Tx, id inventory.JobID) (inventory.Job, inventory.Host, error) {
	j, err := tx.Job(id)
	if err != nil {
		return j, inventory.Host{}, err
	}
	h, err := tx.Host(j.HostID)
	return j, h, err
}

// attend looks after a running job: asked to stop, it is stopped; with nobody working on it (the
// appliance was restarted) it is taken up again.
func (r *Runner) attend(ctx context.Context, s *situation) {
	r.mu.Lock()
	w := r.active[s.host.ID]
	r.mu.Unlock()
	if w != nil {
		if s.job.CancelAsked && w.id == s.job.ID {
			w.cancel(errCancelled)
		}
		return
	}
	if ctx.Err() != nil {
		return // we are being stopped: whoever worked on it has just left it to the next run
	}
	// Whoever worked on it may have ended since the situation was read: what it left counts.
	err := r.cfg.Store.View(func(tx *inventory.Tx) (err error) {
		s.job, s.host, err = readBoth(tx, s.job.ID)
		return err
	})
	if err != nil || s.job.State != inventory.JobRunning {
		r.report("resume", ignoreNotFound(err))
		return
	}
	w, err = r.newWork(s.job, s.host)
	if err != nil {
		r.report("resume", r.failRunning(s, err))
		return
	}
	w.reached = s.job.StepNo
	r.launch(ctx, w, resume(&s.job, &w.rec))
}

// failRunning ends a running job whose record cannot be read.
func (r *Runner) failRunning(s *situation, cause error) error {
	f := &Failure{Step: s.job.Step, Cause: sentence(cause.Error()), Hint: "Cancel the job and ask for it again."}
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, s.job.ID)
		if err != nil || j.State != inventory.JobRunning {
			return ignoreNotFound(err)
		}
		return putFailure(tx, h, j, f, r.cfg.Now())
	})
}

// claim makes a queued job a running one. Everything that speaks against it is looked at again in the
// same transaction. errStale when it is no longer due.
func (r *Runner) claim(s *situation) (*work, error) {
	var w *work
	err := r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, s.job.ID)
		if err != nil {
			return err
		}
		hv, err := tx.Hive()
		if err != nil {
			return err
		}
		now, err := r.situationOf(tx, j, hv, r.cfg.Now())
		if err != nil {
			return err
		}
		if j.State != inventory.JobQueued || !gate(now).start {
			return errStale
		}
		rec, err := readRecord(&j)
		if err != nil {
			return err
		}
		switch {
		case j.Kind.Upkeep():
			rec = record{V: recordVersion}
		case !j.Flipped:
			rec = rec.fresh()
			if rec.K3s, _, err = r.joinCluster(tx, &h, hv.Roles[h.Role], hv.Roles, true); err != nil {
				return err
			}
			if h.Name == "" {
				if h.Name, err = freeName(tx, &h, h.Role); err != nil {
					return err
				}
			}
		}
		if j.Data, err = rec.bytes(); err != nil {
			return err
		}
		j.State, j.Role, j.StartedAt, j.BlockedOn = inventory.JobRunning, h.Role, r.cfg.Now(), ""
		first := stepsWith(r.limit, h, hv.Roles[h.Role], plan0, j)
		if h, err = inventory.Next(h, inventory.StepStarted{Step: first[0].Name, No: 1, Of: len(first)}); err != nil {
			return err
		}
		j.Step, j.StepNo, j.StepOf, j.StepAgain = first[0].Name, 1, len(first), false
		if j, err = tx.PutJob(j); err != nil {
			return err
		}
		if h, err = tx.PutHost(h); err != nil {
			return err
		}
		w, err = r.newWork(j, h)
		return err
	})
	return w, err
}
