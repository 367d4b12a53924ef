package inventory

import (
	"fmt"
	"time"
)

// newJobID is an id that sorts after those of earlier jobs, so that the newest are read without reading all.
// It begins with a letter that no id of 16 hex digits has: jobs of before ids were so sort first.
func newJobID(tx *Tx, now time.Time) JobID {
	return JobID(fmt.Sprintf("j%011x%.6s", now.UnixMilli(), tx.NewID()))
}

// waitsForTurn is what a job waits for until the pipeline has looked at it: what a job waits for is always a sentence.
const waitsForTurn = "Waits for its turn."

// firstWait is what a job of h waits for until it is looked at.
func (h *Host) firstWait() string {
	if h.Facts == nil {
		return "Waits for the machine: power it on, it netboots by itself."
	}
	return waitsForTurn
}

// makeJob stores an open job for h and h in the state it leads to; upkeep leads to no other.
func makeJob(tx *Tx, h Host, j Job, now time.Time) (Host, Job, error) {
	j.ID, j.HostID, j.State, j.Role, j.CreatedAt, j.Attempt = newJobID(tx, now), h.ID, JobQueued, h.Role, now, 1
	var made Event = JobMade{Job: j.ID, Kind: j.Kind}
	if j.Kind.Upkeep() {
		made = UpkeepMade{Job: j.ID, Kind: j.Kind}
	}
	h, err := Next(h, made)
	if err != nil {
		return h, j, err
	}
	if err := tx.Room(); err != nil {
		return h, j, err
	}
	j.BlockedOn = h.firstWait()
	if h.State == StateQueued || j.Kind.Upkeep() {
		h.BlockedOn = j.BlockedOn
	}
	if !j.Kind.Upkeep() {
		h.Held, h.Fetches, h.DiskBoots = false, 0, 0
	}
	if err := h.propose(tx); err != nil {
		return h, j, err
	}
	j.Host = h.Label()
	if j, err = tx.PutJob(j); err != nil {
		return h, j, err
	}
	h, err = tx.PutHost(h)
	return h, j, err
}

// Confirmation is what a person agreed to when looking at a disk plan.
type Confirmation struct {
	PlanID         string
	Confirm        map[string]string // slot → serial
	WipePersistent []string
}

// Install confirms the plan of a queued host's job, or makes the job of a host that has a role and none.
func Install(tx *Tx, id HostID, c Confirmation, by string, now time.Time) (Host, Job, error) {
	return order(tx, id, JobInstall, c, by, now)
}

// Reinstall makes the job that writes to an installed host again, or confirms its plan when it is
// queued already. Only a person asks for it.
func Reinstall(tx *Tx, id HostID, c Confirmation, by string, now time.Time) (Host, Job, error) {
	return order(tx, id, JobReinstall, c, by, now)
}

func order(tx *Tx, id HostID, kind JobKind, c Confirmation, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	if h.Role == "" {
		return h, Job{}, fmt.Errorf("host %s has no role: assign one first: %w", h.Label(), ErrBadEvent)
	}
	if h.State != StateQueued {
		if err := trackStranger(tx, &h, now); err != nil {
			return h, Job{}, err
		}
		return makeJob(tx, h, Job{Kind: kind, By: by, PlanID: c.PlanID, Confirm: c.Confirm, WipePersistent: c.WipePersistent}, now)
	}
	j, err := tx.Job(h.JobID)
	if err != nil {
		return h, j, err
	}
	if j.Kind != JobInstall && j.Kind != JobReinstall {
		return h, j, fmt.Errorf("host %s has an open job of kind %s: cancel it first: %w", h.Label(), j.Kind, ErrBadEvent)
	}
	j.PlanID, j.Confirm, j.WipePersistent, j.Auto, j.By = c.PlanID, c.Confirm, c.WipePersistent, false, by
	j.BlockedOn = h.firstWait()
	h.BlockedOn = j.BlockedOn
	if j, err = tx.PutJob(j); err != nil {
		return h, j, err
	}
	h, err = tx.PutHost(h)
	return h, j, err
}

// Retry queues a failed host's job again; after the flip it only verifies.
func Retry(tx *Tx, id HostID, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	j, err := tx.Job(h.JobID)
	if err != nil {
		return h, j, err
	}
	if h, err = Next(h, RetryAsked{}); err != nil {
		return h, j, err
	}
	if err := tx.Room(); err != nil {
		return h, j, err
	}
	j.remember()
	j.Host = h.Label()
	j.State, j.Error, j.Hint, j.BlockedOn, j.CancelAsked, j.EndedAt, j.Role = JobQueued, "", "", waitsForTurn, false, time.Time{}, h.Role
	if h.State == StateQueued {
		h.BlockedOn = waitsForTurn
	}
	j.By = by
	j.Attempt++
	h.Fetches, h.DiskBoots = 0, 0
	if j, err = tx.PutJob(j); err != nil {
		return h, j, err
	}
	h, err = tx.PutHost(h)
	return h, j, err
}

// Cancel gives up a host's job: at once when it only waits or failed, else the runner is asked to stop.
func Cancel(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.State == StateInstalling || h.Upkeep != "" {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return h, err
		}
		if j.State == JobRunning {
			j.CancelAsked = true
			_, err = tx.PutJob(j)
			return h, err
		}
	}
	return FinishCancel(tx, id, now)
}

// FinishCancel ends the job as cancelled; the runner calls it once nothing of the job runs any more.
func FinishCancel(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	upkeep := h.Upkeep != ""
	if h, err = Next(h, Cancelled{}); err != nil {
		return h, err
	}
	h.Held = h.Held || !upkeep
	if h.JobID != "" {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return h, err
		}
		j.State, j.EndedAt, j.BlockedOn = JobCancelled, now, ""
		if _, err := tx.PutJob(j); err != nil {
			return h, err
		}
	}
	return tx.PutHost(h)
}
