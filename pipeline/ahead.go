package pipeline

import (
	"context"
	"fmt"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// ahead does for a job that waits only for its machine what can be done without it: the machine is woken
// once per attempt, and its system is built, so that the next power-on finds everything ready.
func (r *Runner) ahead(ctx context.Context, s *situation) {
	rec, err := readRecord(&s.job)
	if err != nil {
		return
	}
	if r.cfg.Wake != nil && rec.Woken < s.job.Attempt && !s.host.MAC.IsZero() {
		r.report("wake", r.wakeHost(ctx, s))
	}
	if s.job.Kind.Upkeep() {
		return
	}
	// What is built follows from the plan, the name and the part in the cluster. Not from the hive's commit: every
	// host that is built ahead makes a new one, and all that wait would be evaluated again each time.
	role := s.hive.Roles[s.host.Role]
	p, c := makePlan(&s.host, role, &s.job, &rec)
	key := fmt.Sprint(p.ID, s.host.Name, partText(s.part))
	r.mu.Lock()
	done := r.aheadBusy || r.aheadDone[s.job.ID] == key
	if !done {
		r.aheadBusy = true
		r.aheadDone[s.job.ID] = key
	}
	r.mu.Unlock()
	if done {
		return
	}
	plan := hivePlan(&p, &s.host, c.WipePersistent)
	job, host, part := s.job, s.host, s.part
	r.wg.Go(func() {
		err := r.buildAhead(ctx, job, host, role, plan, part)
		r.mu.Lock()
		r.aheadBusy = false
		r.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			cause, hint := hiveCause(err)
			r.report("build ahead", r.cfg.Store.Update(func(tx *inventory.Tx) error {
				return tx.Note(inventory.Entry{Time: r.cfg.Now(), HostID: host.ID, Kind: "job.step", By: "pipeline", Level: "warn",
					Text: r.masks.apply("Building ahead failed, it is tried again once the machine is there. " + cause + " " + hint)})
			}))
		}
		r.nudge(r.wake)
	})
}

func partText(p *hive.K3s) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// buildAhead commits the host and builds it; the job itself does both again, which then costs little.
func (r *Runner) buildAhead(ctx context.Context, j inventory.Job, h inventory.Host, role inventory.Role, plan *hive.Plan, part *hive.K3s) error {
	ctx, stop := context.WithTimeout(ctx, r.limit.Build)
	defer stop()
	if h.Name == "" {
		if err := r.cfg.Store.Update(func(tx *inventory.Tx) error {
			now, err := tx.Host(h.ID)
			if err != nil {
				return err
			}
			if now.Name == "" {
				if now.Name, err = freeName(tx, &now, now.Role); err != nil {
					return err
				}
			}
			h, err = tx.PutHost(now)
			return err
		}); err != nil {
			return err
		}
	}
	commit, err := r.cfg.Hive.WriteHost(ctx, hive.HostFacts{Host: r.hostFile(&h, role, part, plan)})
	if err != nil {
		return err
	}
	log := r.logFor(&j)
	log.add(StepBuild, "building ahead, while the machine is not there")
	sink := &lineWriter{to: &lines{emit: func(text string, _ bool) { log.add(StepBuild, text) }}}
	b, err := r.cfg.Hive.Build(ctx, commit, h.Name, sink)
	sink.flush()
	if err == nil {
		log.add(StepBuild, "built ahead: "+b.Toplevel)
	}
	return err
}

// wakeHost sends a magic packet, recorded before so that a machine that stays off is woken once.
func (r *Runner) wakeHost(ctx context.Context, s *situation) error {
	if err := r.cfg.Store.Update(func(tx *inventory.Tx) error {
		j, h, err := readBoth(tx, s.job.ID)
		if err != nil || j.State != inventory.JobQueued {
			return ignoreNotFound(err)
		}
		rec, err := readRecord(&j)
		if err != nil {
			return err
		}
		rec.Woken = j.Attempt
		if j.Data, err = rec.bytes(); err != nil {
			return err
		}
		if _, err := tx.PutJob(j); err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: r.cfg.Now(), HostID: h.ID, Kind: "job.step", By: "pipeline",
			Text: fmt.Sprintf("A Wake-on-LAN packet was sent to %s.", h.MAC)})
	}); err != nil {
		return err
	}
	return r.cfg.Wake(ctx, s.host.MAC)
}
