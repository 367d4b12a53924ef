package inventory

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Report is what stage-0's agent says of itself at a check-in; checked, signature verified.
type Report struct {
	NonceHash string
	HostKey   string // authorized_keys form
	BootID    string
	Facts     Facts
	From      netip.Addr
	// SourceUnverified says that From could not be held against DHCP or ARP (a relay or router is between).
	SourceUnverified bool
}

// CheckIn binds the nonce to the key, takes the facts in, and makes the job of an earlier assignment.
// A repeat with the same key succeeds. ErrNonce, ErrBadEvent (ignored).
func CheckIn(tx *Tx, r Report, now time.Time) (Host, error) {
	n, err := LookupNonce(tx, r.NonceHash, now)
	if err != nil {
		return Host{}, err
	}
	if n.HostKey != "" && n.HostKey != r.HostKey {
		return Host{}, fmt.Errorf("another machine already checked in with this boot's nonce: %w", ErrNonce)
	}
	h, err := tx.Host(n.HostID)
	if err != nil {
		return h, err
	}
	if n.HostKey == "" {
		n.HostKey, n.BootID = r.HostKey, r.BootID
		if err := tx.PutJSON(BucketNonces, r.NonceHash, n); err != nil {
			return h, err
		}
	}
	if h, err = Next(h, CheckedIn{}); err != nil {
		return h, err
	}
	if why := suspicion(&h, &n, &r); why != "" && !(h.Approved && h.HostKey == r.HostKey) {
		h.Attention, h.Approved = why, false
	} else if h.HostKey != r.HostKey {
		h.Approved = false
		if why == "" {
			h.Attention = ""
		}
	}
	if err := takeFacts(tx, &h, &n, &r, now); err != nil {
		return h, err
	}
	if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
		return h, err
	}
	if h.wantsJob() {
		h, _, err = makeJob(tx, h, Job{Kind: JobInstall, By: "earlier assignment", Auto: true}, now)
		return h, err
	}
	return tx.PutHost(h)
}

// wantsJob reports whether an earlier assignment is due: a role, ready, and nothing in the way.
func (h *Host) wantsJob() bool {
	return h.State == StateReady && h.Role != "" && !h.Held && !h.EverFlipped && h.Attention == ""
}

// suspicion is the sentence that stops automation, "" when nothing speaks against the report.
func suspicion(h *Host, n *Nonce, r *Report) string {
	assigned := h.Role != "" || h.State == StateQueued
	switch {
	case h.HostKey != "" && h.HostKey != r.HostKey && h.ReportedAt.After(n.Issued):
		return "A second machine checked in as this host while the first one is still running. Check which one it is, then approve it."
	case assigned && !Filler(h.UUID) && !Filler(r.Facts.UUID) && !strings.EqualFold(h.UUID, r.Facts.UUID):
		return fmt.Sprintf("It was announced with UUID %s but reports %s. Approve it if this is the machine you mean.", h.UUID, strings.ToLower(r.Facts.UUID))
	case assigned && !Filler(h.Serial) && !Filler(r.Facts.Serial) && h.Serial != r.Facts.Serial:
		return fmt.Sprintf("It was announced with serial %s but reports %s. Approve it if this is the machine you mean.", h.Serial, r.Facts.Serial)
	case assigned && r.SourceUnverified:
		return "It checked in through a router or relay, where its address proves nothing. Approve it if this is the machine you mean."
	}
	return ""
}

func takeFacts(tx *Tx, h *Host, n *Nonce, r *Report, now time.Time) error {
	f := r.Facts
	h.Facts, h.HostKey, h.BootID, h.Fetches, h.ReportedAt = &f, r.HostKey, r.BootID, 0, now
	h.meet(Contact{UUID: f.UUID, Serial: f.Serial, IP: r.From, Arch: f.Arch, Firmware: f.Firmware}, now)
	h.addMAC(n.MAC, true)
	for _, nic := range f.NICs { // a MAC never takes over another host's
		owner, err := tx.HostByMAC(nic.MAC)
		if errors.Is(err, ErrNotFound) {
			h.addMAC(nic.MAC, false)
			continue
		}
		if err != nil {
			return err
		}
		if owner.ID != h.ID {
			if err := tx.Note(Entry{Time: now, HostID: h.ID, Kind: "checkin", Level: "warn", By: "stage-0", From: r.From,
				Text: fmt.Sprintf("Its interface %s has MAC %s, which belongs to host %s: left there.", nic.Name, nic.MAC, owner.Label())}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Heard records a progress report of stage-0's agent that carries the pinned key and boot.
// ErrNonce when it is another key or boot than the last check-in's; a key that was replaced
// while it still reports raises Attention.
func Heard(tx *Tx, id HostID, hostKey, bootID string, from netip.Addr, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.HostKey != hostKey || h.BootID != bootID {
		if h.Attention == "" && !h.Approved && h.HostKey != "" {
			h.Attention = "Two machines report as this host. Check which one it is, then approve it."
			if _, err := tx.PutHost(h); err != nil {
				return h, err
			}
		}
		return h, fmt.Errorf("this is not the boot that checked in last: %w", ErrNonce)
	}
	h.LastSeen, h.ReportedAt = now, now
	if from.IsValid() {
		h.IP = from
	}
	return tx.PutHost(h)
}

// Approve says that a person looked at what stopped automation; an earlier assignment goes on.
func Approve(tx *Tx, id HostID, now time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.Attention == "" {
		return h, fmt.Errorf("host %s has nothing to approve: %w", h.Label(), ErrBadEvent)
	}
	h.Attention, h.Approved = "", true
	if f := h.Facts; f != nil {
		if !Filler(f.UUID) {
			h.UUID = strings.ToLower(f.UUID)
		}
		if !Filler(f.Serial) {
			h.Serial = f.Serial
		}
	}
	if h.wantsJob() {
		h, _, err = makeJob(tx, h, Job{Kind: JobInstall, By: "earlier assignment", Auto: true}, now)
		return h, err
	}
	return tx.PutHost(h)
}

