package inventory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrBadEvent says that an event makes no sense in the host's state; nothing was changed.
var ErrBadEvent = errors.New("not possible now")

// Event moves a host along. The concrete types below are all there are.
type Event interface {
	// EventName is the event's fixed word, for the table and the log.
	EventName() string
}

type (
	// HeardDHCP says that the firmware or iPXE asked DHCP for a boot file.
	HeardDHCP struct{}
	// ScriptFetched says that iPXE fetched its script; Installer says that the script boots stage-0.
	ScriptFetched struct{ Installer bool }
	// CheckedIn says that stage-0's agent reported; its nonce and signature were good.
	CheckedIn struct{}
	// JobMade says that a job exists for the host (a role was given, or a reinstall asked for).
	JobMade struct {
		Job  JobID
		Kind JobKind
	}
	// Blocked says that the queued job waits for what On says ("" = for its turn).
	Blocked struct{ On string }
	// StepStarted says that step No of Of runs.
	StepStarted struct {
		Step   string
		No, Of int
	}
	// WriteStarted says that from now on the disks may have been written to.
	WriteStarted struct{}
	// NetbootFlipped says that the netboot answer is the host's own disk from now on.
	NetbootFlipped struct{}
	// Verified says that the new system answered with the planted key and is the one that was built.
	Verified struct {
		System string // store path
		Commit string // of the hive, that it was built of
		At     time.Time
	}
	// UpkeepMade says that a job exists that leaves the host's state as it is.
	UpkeepMade struct {
		Job  JobID
		Kind JobKind
	}
	// UpkeepDone says that such a job ended well.
	UpkeepDone struct{}
	// StepFailed says that the job ended in a failure.
	StepFailed struct{ Step, Cause, Hint string }
	// RetryAsked says that a person asked for another try.
	RetryAsked struct{}
	// Cancelled says that a person gave the job up.
	Cancelled struct{}
	// IgnoreAsked says that a person wants the host's netboot met with silence.
	IgnoreAsked struct {
		By string // who, as in a diary entry
		At time.Time
	}
	// UnignoreAsked takes IgnoreAsked back.
	UnignoreAsked struct{}
)

// EventName implements Event.
func (HeardDHCP) EventName() string { return "HeardDHCP" }

// EventName implements Event.
func (ScriptFetched) EventName() string { return "ScriptFetched" }

// EventName implements Event.
func (CheckedIn) EventName() string { return "CheckedIn" }

// EventName implements Event.
func (JobMade) EventName() string { return "JobMade" }

// EventName implements Event.
func (Blocked) EventName() string { return "Blocked" }

// EventName implements Event.
func (StepStarted) EventName() string { return "StepStarted" }

// EventName implements Event.
func (WriteStarted) EventName() string { return "WriteStarted" }

// EventName implements Event.
func (NetbootFlipped) EventName() string { return "NetbootFlipped" }

// EventName implements Event.
func (Verified) EventName() string { return "Verified" }

// EventName implements Event.
func (UpkeepMade) EventName() string { return "UpkeepMade" }

// EventName implements Event.
func (UpkeepDone) EventName() string { return "UpkeepDone" }

// EventName implements Event.
func (StepFailed) EventName() string { return "StepFailed" }

// EventName implements Event.
func (RetryAsked) EventName() string { return "RetryAsked" }

// EventName implements Event.
func (Cancelled) EventName() string { return "Cancelled" }

// EventName implements Event.
func (IgnoreAsked) EventName() string { return "IgnoreAsked" }

// EventName implements Event.
func (UnignoreAsked) EventName() string { return "UnignoreAsked" }

// Next is the state machine: the host after the event, or an error that wraps
// [ErrBadEvent] and leaves h as it is. It is pure; the table is in docs/states.md.
func Next(h Host, e Event) (Host, error) {
	if h.Upkeep != "" {
		if next, ok := nextUpkeep(h, e); ok {
			return next, nil
		}
	}
	switch e := e.(type) {
	case HeardDHCP, ScriptFetched, CheckedIn:
		return nextHeard(h, e)
	case JobMade:
		return nextJobMade(h, e)
	case UpkeepMade:
		return nextUpkeepMade(h, e)
	case UpkeepDone:
		return h, bad(h, "no such job is open")
	case Blocked:
		if h.State != StateQueued {
			return h, bad(h, "no job waits")
		}
		h.BlockedOn = e.On
		return h, nil
	case StepStarted:
		if !h.in(StateQueued, StateInstalling) {
			return h, bad(h, "no job is open")
		}
		h.State, h.Step, h.StepNo, h.StepOf, h.BlockedOn = StateInstalling, e.Step, e.No, e.Of, ""
		return h, nil
	case WriteStarted, NetbootFlipped, Verified:
		return nextInstalled(h, e)
	case StepFailed:
		if !h.in(StateQueued, StateInstalling) {
			return h, bad(h, "no job is open")
		}
		h.State, h.Step, h.Error, h.Hint, h.BlockedOn = StateFailed, e.Step, e.Cause, e.Hint, ""
		return h, nil
	case RetryAsked:
		if h.State != StateFailed {
			return h, bad(h, "only a failed job can be tried again")
		}
		h.State = StateQueued
		return clearWork(h), nil
	case Cancelled:
		return nextCancelled(h, e)
	case IgnoreAsked:
		if h.in(StateQueued, StateInstalling) {
			return h, bad(h, "its job is open: cancel it first")
		}
		if h.Upkeep != "" {
			return h, busy(h)
		}
		if h.State != StateIgnored { // else it stays as it was asked first
			h.State, h.IgnoredBy, h.IgnoredAt = StateIgnored, e.By, e.At
		}
		return clearWork(h), nil
	case UnignoreAsked:
		if h.State != StateIgnored {
			return h, bad(h, "it is not ignored")
		}
		h.State, h.IgnoredBy, h.IgnoredAt = resting(h), "", time.Time{}
		return h, nil
	}
	return h, fmt.Errorf("unknown event %T: %w", e, ErrBadEvent)
}

// nextHeard moves a host that makes itself heard. None of it moves an installed host or one with a job.
func nextHeard(h Host, e Event) (Host, error) {
	fetched, _ := e.(ScriptFetched)
	_, checkedIn := e.(CheckedIn)
	switch {
	case checkedIn && h.State == StateIgnored:
		return h, bad(h, "it is ignored")
	case !h.in(StateExpected, StateSeen, StateBooting, StateReady, ""):
	case h.EverFlipped:
		h.State = StateInstalled
	case checkedIn:
		h.State = StateReady
	case fetched.Installer:
		h.State = StateBooting
	case h.State == "": // for a script: its DHCP went to another server
		h.State = StateSeen
	}
	return h, nil
}

func nextJobMade(h Host, e JobMade) (Host, error) {
	switch {
	case h.in(StateQueued, StateInstalling):
		return h, bad(h, "it has an open job")
	case h.Upkeep != "":
		return h, busy(h)
	case h.State == StateIgnored:
		return h, bad(h, "it is ignored")
	case e.Kind == JobInstall && h.EverFlipped:
		return h, bad(h, "it is installed: only a reinstall writes to it again")
	}
	h = clearWork(h)
	h.State, h.JobID, h.Flipped, h.Wrote = StateQueued, e.Job, false, false
	return h, nil
}

// nextInstalled moves a host whose job writes to it.
func nextInstalled(h Host, e Event) (Host, error) {
	if h.State != StateInstalling {
		return h, bad(h, "no install runs")
	}
	switch e := e.(type) {
	case WriteStarted:
		if h.Flipped {
			return h, bad(h, "its install is complete: nothing may be written any more")
		}
		h.Wrote = true
	case NetbootFlipped:
		h.Flipped, h.EverFlipped, h.Claimed = true, true, nil
	case Verified:
		if !h.Flipped {
			return h, bad(h, "nothing was installed that could be verified")
		}
		h.State, h.InstalledSystem, h.InstalledAt = StateInstalled, e.System, e.At
		h.InstalledRole, h.InstalledCommit, h.Behind = h.Role, e.Commit, 0
		h.DiskBoots = 0
		h.ReportedAt = time.Time{} // its stage-0 is over: what answers from now on is the new system
		h = clearWork(h)
	}
	return h, nil
}

func nextCancelled(h Host, e Cancelled) (Host, error) {
	if !h.in(StateQueued, StateInstalling, StateFailed) {
		return h, bad(h, "no job is open")
	}
	spoilt := h.EverFlipped && h.Wrote && !h.Flipped
	h = unclaim(clearWork(h))
	h.State = resting(h)
	if spoilt { // it counts as installed whatever came after: only a person's reinstall writes to it again
		h.Error = "A reinstall was cancelled after it had begun to write: the system on its disks may not start."
		h.Hint = "Reinstall it."
	}
	return h, nil
}

// unclaim is the host with its disks as they were before the job that is given up.
func unclaim(h Host) Host {
	if len(h.Claimed) == 0 {
		return h
	}
	owned := maps.Clone(h.OwnedDisks)
	for disk, class := range h.Claimed {
		if class == "" {
			delete(owned, disk)
		} else {
			owned[disk] = class
		}
	}
	h.OwnedDisks, h.Claimed = owned, nil
	return h
}

// resting is the state of a host without a job, from what is known of it.
func resting(h Host) State {
	switch {
	case h.EverFlipped:
		return StateInstalled
	case h.Facts != nil:
		return StateReady
	case !h.LastSeen.IsZero():
		return StateSeen
	}
	return StateExpected
}

func clearWork(h Host) Host {
	h.Step, h.StepNo, h.StepOf, h.BlockedOn, h.Error, h.Hint = "", 0, 0, "", "", ""
	return h
}

func (h *Host) in(states ...State) bool { return slices.Contains(states, h.State) }

func bad(h Host, why string) error {
	return fmt.Errorf("host %s is %s: %s: %w", h.Label(), h.State, why, ErrBadEvent)
}
