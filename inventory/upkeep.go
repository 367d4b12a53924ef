package inventory

import (
	"fmt"
	"time"
)

// Upkeep reports whether a job of that kind leaves the host's state as it is: an installed host under
// upkeep stays installed, so its netboot leads to its own disk and nothing makes it a target for install.
func (k JobKind) Upkeep() bool { return k == JobDeploy || k == JobFormat }

// Deploy makes the job that brings an installed host's running system to what the hive says now.
// ErrBadEvent.
func Deploy(tx *Tx, id HostID, by string, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	switch {
	case h.Role == "":
		return h, Job{}, bad(h, "it has no role that could be deployed")
	case h.InstalledRole != "" && h.InstalledRole != h.Role:
		return h, Job{}, bad(h, fmt.Sprintf("it runs role %s but has role %s now, whose disks may differ: reinstall it, or give it role %s again",
			h.InstalledRole, h.Role, h.InstalledRole))
	}
	return makeJob(tx, h, Job{Kind: JobDeploy, By: by}, now)
}

// FormatOrder is what a person said to have one persistent slot formatted.
type FormatOrder struct {
	PlanID string // of the plan that was looked at
	Slot   string
	Word   string // typed: the serial of the slot's disk, else its WWN or name
}

// Confirmation is the order as a plan judges it: the wipe of this one slot.
func (o FormatOrder) Confirmation() Confirmation {
	return Confirmation{PlanID: o.PlanID, Confirm: map[string]string{o.Slot: o.Word}, WipePersistent: []string{o.Slot}}
}

// Format makes the job that wipes and formats the disk of one persistent slot in stage-0, which the host
// gets once for it, until the given time. The caller has held the order against the plan. ErrBadEvent.
func Format(tx *Tx, id HostID, o FormatOrder, by string, until, now time.Time) (Host, Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, Job{}, err
	}
	if h.Role == "" {
		return h, Job{}, bad(h, "it has no role that says what its disks are for")
	}
	if h.Attention != "" {
		return h, Job{}, bad(h, "a person must look at it first: "+h.Attention)
	}
	c := o.Confirmation()
	h.StageZeroUntil, h.Fetches = until, 0
	return makeJob(tx, h, Job{Kind: JobFormat, By: by, PlanID: c.PlanID, Confirm: c.Confirm, WipePersistent: c.WipePersistent}, now)
}

// nextUpkeep moves a host along a job that leaves its state as it is; it reports false for an event that
// is not the job's.
func nextUpkeep(h Host, e Event) (Host, bool) {
	switch e := e.(type) {
	case Blocked:
		h.BlockedOn = e.On
	case StepStarted:
		h.Step, h.StepNo, h.StepOf, h.BlockedOn = e.Step, e.No, e.Of, ""
	case StepFailed:
		h = endUpkeep(h)
		h.Step, h.Error, h.Hint = e.Step, e.Cause, e.Hint
	case UpkeepDone, Cancelled:
		h = endUpkeep(h)
	default:
		return h, false
	}
	return h, true
}

// endUpkeep is the host without the job; the stage-0 that a format asked for is not given any more.
func endUpkeep(h Host) Host {
	if h.Upkeep == JobFormat {
		h.StageZeroUntil = time.Time{}
	}
	h.Upkeep = ""
	return clearWork(h)
}

func nextUpkeepMade(h Host, e UpkeepMade) (Host, error) {
	switch {
	case h.Upkeep != "":
		return h, busy(h)
	case e.Kind == JobDeploy && h.State != StateInstalled:
		return h, bad(h, "only an installed host has a system that could be brought to the hive's newest revision")
	case e.Kind == JobFormat && !h.in(StateInstalled, StateReady):
		return h, bad(h, "a disk is only formatted while no install is due: wait for it, or cancel it")
	case !e.Kind.Upkeep():
		return h, bad(h, fmt.Sprintf("a job of kind %s installs", e.Kind))
	}
	h = clearWork(h)
	h.JobID, h.Upkeep = e.Job, e.Kind
	return h, nil
}

// busy refuses what cannot be done while a job that leaves the state alone is open.
func busy(h Host) error {
	return bad(h, fmt.Sprintf("its %s job is open: wait for it, or cancel it", h.Upkeep))
}
