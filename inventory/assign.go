package inventory

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Announce is a host that is known before it exists.
type Announce struct {
	MAC                      MAC
	UUID, Serial, Name, Role string
}

// Expect stores a host that was announced; with a role and no name it gets a proposed one. ErrInvalid, ErrConflict when it is known already.
func Expect(tx *Tx, a Announce, now time.Time) (Host, error) {
	if a.MAC.IsZero() && Filler(a.UUID) && Filler(a.Serial) {
		return Host{}, fmt.Errorf("a host needs a MAC, or a UUID or serial number that is its own: %w", ErrInvalid)
	}
	var badMAC error
	if !a.MAC.IsZero() {
		badMAC = CheckMAC(a.MAC)
	}
	if err := errors.Join(badMAC, checkUUID(a.UUID), CheckName(a.Name), CheckRole(a.Role)); err != nil {
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
	h.Announced = true
	if h.State == "" {
		h.State = StateExpected
	}
	if a.Name != "" {
		h.Name = a.Name
	}
	h.Role = a.Role
	if err := h.propose(tx); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// Assignment is what a person sets of a host; nil fields stay as they are.
type Assignment struct {
	Name, Role, KernelArgs *string
	Notes                  *string           // up to MaxNotes bytes
	Pins                   map[string]string // nil = as it is
	Address                *Address          // the zero Address takes it away
}

// Assign changes a host's settings; giving a role to a host that was never installed makes
// its job when it has no open one. A host with a role and no name gets a proposed one. auto says that a rule does it. The job is nil when none was made.
// ErrInvalid, ErrConflict, ErrBadEvent.
func Assign(tx *Tx, id HostID, a Assignment, by string, auto bool, now time.Time) (Host, *Job, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, nil, err
	}
	if err := h.set(a); err != nil {
		return h, nil, err
	}
	again := a.Role != nil && *a.Role == h.Role && !h.Held && !h.in(StateExpected, StateReady)
	if a.Role != nil && !again {
		if h.in(StateInstalling, StateIgnored) {
			return h, nil, fmt.Errorf("host %s is %s: its role cannot change now: %w", h.Label(), h.State, ErrBadEvent)
		}
		if h.Upkeep != "" {
			return h, nil, busy(h)
		}
		h.Role = *a.Role
		if !auto && h.Attention == attentionSource { // a person chose this very machine
			h.Attention, h.Approved = "", true
		}
	}
	if err := errors.Join(h.propose(tx), trackStranger(tx, &h, now)); err != nil {
		return h, nil, err
	}
	switch {
	case a.Role == nil || again || h.Role == "" || h.EverFlipped || h.State == StateFailed:
	case h.State == StateQueued:
		if err := rerole(tx, &h, by, auto); err != nil {
			return h, nil, err
		}
	default:
		h, j, err := makeJob(tx, h, Job{Kind: JobInstall, By: by, Auto: auto}, now)
		return h, &j, err
	}
	h, err = tx.PutHost(h)
	return h, nil, err
}

// MaxNotes bounds what people may note of a host, in bytes.
const MaxNotes = 2000

// cleanNotes makes each line of a note printable. ErrInvalid when it is too long.
func cleanNotes(text string) (string, error) {
	if len(text) > MaxNotes {
		return "", fmt.Errorf("notes of %d bytes: at most %d: %w", len(text), MaxNotes, ErrInvalid)
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = Clean(l, MaxNotes)
	}
	return strings.TrimSpace(strings.Join(lines, "\n")), nil
}

// set checks and takes over all but the role. ErrInvalid, ErrBadEvent.
func (h *Host) set(a Assignment) error {
	if a.Name != nil && *a.Name != h.Name {
		if err := CheckName(*a.Name); err != nil {
			return err
		}
		if h.State == StateInstalling {
			return fmt.Errorf("host %s is being installed under that name: rename it afterwards: %w", h.Label(), ErrBadEvent)
		}
		if h.Upkeep != "" {
			return busy(*h)
		}
		h.Name = *a.Name
	}
	if a.KernelArgs != nil {
		if err := CheckKernelArgs(*a.KernelArgs); err != nil {
			return err
		}
		h.KernelArgs = *a.KernelArgs
	}
	if a.Role != nil {
		if err := CheckRole(*a.Role); err != nil {
			return err
		}
	}
	if a.Notes != nil {
		notes, err := cleanNotes(*a.Notes)
		if err != nil {
			return err
		}
		h.Notes = notes
	}
	if a.Address != nil {
		if err := a.Address.Check(); err != nil {
			return err
		}
		if h.State == StateInstalling {
			return fmt.Errorf("host %s is being installed with the address it had: change it afterwards: %w", h.Label(), ErrBadEvent)
		}
		if h.Address = a.Address; !h.Address.IP.IsValid() {
			h.Address = nil
		}
	}
	if a.Pins == nil {
		return nil
	}
	if len(a.Pins) > MaxDisks {
		return fmt.Errorf("%d pins: at most %d: %w", len(a.Pins), MaxDisks, ErrInvalid)
	}
	pins := map[string]string{}
	for slot, disk := range a.Pins {
		if disk == "" { // takes the pin back
			continue
		}
		disk = strings.TrimPrefix(disk, "/dev/disk/by-id/") // as people copy it
		if port, ok := strings.CutPrefix(disk, "/dev/disk/by-path/"); ok {
			disk = PathPrefix + port
		}
		pins[slot] = disk
		if err := errors.Join(CheckRole(slot), CheckDiskName(disk)); slot == "" || err != nil {
			return fmt.Errorf("pin of slot %q to disk %q: want a slot's name and a name from /dev/disk/by-id, or path:NAME from /dev/disk/by-path: %w", cut(slot), cut(disk), ErrInvalid)
		}
	}
	h.Pins = pins
	return nil
}

// rerole gives the waiting job of a queued host its new role; what was confirmed was for another.
func rerole(tx *Tx, h *Host, by string, auto bool) error {
	j, err := tx.Job(h.JobID)
	if err != nil || j.State != JobQueued {
		return err
	}
	j.Role, j.PlanID, j.Confirm, j.WipePersistent, j.By, j.Auto = h.Role, "", nil, nil, by, auto
	j.BlockedOn = h.firstWait()
	h.BlockedOn = j.BlockedOn
	_, err = tx.PutJob(j)
	return err
}
