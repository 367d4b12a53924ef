package inventory

import (
	"errors"
	"fmt"
	"time"
)

// Announce is a host that is known before it exists.
type Announce struct {
	MAC                      MAC
	UUID, Serial, Name, Role string
}

// Expect stores a host that was announced. ErrInvalid, ErrConflict when it is known already.
func Expect(tx *Tx, a Announce, now time.Time) (Host, error) {
	if a.MAC.IsZero() && Filler(a.UUID) && Filler(a.Serial) {
		return Host{}, fmt.Errorf("a host needs a MAC, or a UUID or serial number that is its own: %w", ErrInvalid)
	}
	if err := errors.Join(CheckName(a.Name), CheckRole(a.Role)); err != nil {
		return Host{}, err
	}
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByMAC(a.MAC) },
		func() (Host, error) { return tx.HostByUUID(a.UUID) },
		func() (Host, error) { return tx.HostBySerial(a.Serial) },
	} {
		if h, err := find(); err == nil {
			return h, fmt.Errorf("host %s is known already: %w", h.Label(), ErrConflict)
		} else if !errors.Is(err, ErrNotFound) {
			return h, err
		}
	}
	h, err := newHost(tx, Contact{MAC: a.MAC, UUID: a.UUID, Serial: a.Serial}, now)
	if err != nil {
		return h, err
	}
	if h.State == "" {
		h.State = StateExpected
	}
	if a.Name != "" {
		h.Name = a.Name
	}
	h.Role = a.Role
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// Assignment is what a person sets of a host; nil fields stay as they are.
type Assignment struct {
	Name, Role, KernelArgs *string
	Pins                   map[string]string // nil = as it is
}

// Assign changes a host's settings; giving a role to a host that was never installed makes
// its job when it has no open one. The job is nil when none was made. ErrInvalid, ErrConflict, ErrBadEvent.
func Assign(tx *Tx, id HostID, a Assignment, by string, auto bool, now time.Time) (Host, *Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, nil, err
	}
	if a.Name != nil {
		if err := CheckName(*a.Name); err != nil {
			return h, nil, err
		}
		h.Name = *a.Name
	}
	if a.KernelArgs != nil {
		if err := CheckKernelArgs(*a.KernelArgs); err != nil {
			return h, nil, err
		}
		h.KernelArgs = *a.KernelArgs
	}
	if a.Pins != nil {
		h.Pins = a.Pins
	}
	if a.Role == nil || *a.Role == h.Role && !h.Held && h.State != StateExpected && h.State != StateReady {
		h, err = tx.PutHost(h)
		return h, nil, err
	}
	if err := CheckRole(*a.Role); err != nil {
		return h, nil, err
	}
	if h.State == StateInstalling || h.State == StateIgnored {
		return h, nil, fmt.Errorf("host %s is %s: its role cannot change now: %w", h.Label(), h.State, ErrBadEvent)
	}
	h.Role = *a.Role
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, nil, err
	}
	if h.Role == "" || h.EverFlipped || h.in(StateQueued, StateFailed) {
		if h.State == StateQueued { // its open job takes the new role
			j, err := tx.Job(h.JobID)
			if err == nil && j.State == JobQueued {
				j.Role, j.PlanID, j.Confirm = h.Role, "", nil
				_, err = tx.PutJob(j)
			}
			if err != nil {
				return h, nil, err
			}
		}
		h, err = tx.PutHost(h)
		return h, nil, err
	}
	h, j, err := makeJob(tx, h, Job{Kind: JobInstall, By: by, Auto: auto}, now)
	return h, &j, err
}

