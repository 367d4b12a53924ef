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

// The sentences that stop automation whatever the facts say.
const (
	attentionSecond = "A second machine checked in as this host while the first one is still running; the first one counts. " +
		"Find out which one it is, switch the other one off, then approve."
	attentionReports = "Two machines report as this host. Find out which one it is, switch the other one off, then approve."
	attentionSource  = "It checked in through a router or relay, where its address proves nothing. Approve it if this is the machine you mean."
)

// CheckIn binds the nonce to the key, takes the facts in, and makes the job of an earlier assignment.
// A repeat with the same key succeeds. A second key while the first one is live raises Attention and
// changes nothing else. ErrNonce, ErrBadEvent (ignored).
func CheckIn(tx *Tx, r Report, now time.Time) (Host, error) {
	n, err := LookupNonce(tx, r.NonceHash, now)
	if err != nil {
		return Host{}, err
	}
	if n.HostKey != "" && n.HostKey != r.HostKey {
		return Host{}, fmt.Errorf("another machine already checked in with this boot's nonce: %w", ErrNonce)
	}
	h, err := tx.Host(n.HostID)
	if errors.Is(err, ErrNotFound) {
		return h, fmt.Errorf("its host was forgotten here; power the machine on again to netboot it: %w", ErrNonce)
	}
	if err != nil {
		return h, err
	}
	if n.HostKey == "" {
		n.HostKey, n.BootID = r.HostKey, r.BootID
		if err := tx.PutJSON(BucketNonces, r.NonceHash, n); err != nil {
			return h, err
		}
	}
	if h.HostKey != "" && h.HostKey != r.HostKey && h.ReportedAt.After(n.Issued) {
		if h.Attention == attentionSecond {
			return h, nil
		}
		h.Attention, h.Approved = attentionSecond, false
		return tx.PutHost(h)
	}
	if h, err = Next(h, CheckedIn{}); err != nil {
		return h, err
	}
	why, err := suspicion(tx, &h, &r)
	if err != nil {
		return h, err
	}
	h.judge(why, r.HostKey)
	if err := takeFacts(tx, &h, &n, &r, why == "" || h.Approved, now); err != nil {
		return h, err
	}
	return settle(tx, h, now)
}

// judge takes over what speaks against a report, and forgets what was approved for another key.
func (h *Host) judge(why, key string) {
	switch {
	case h.HostKey == key && (h.Approved || why == ""): // approved, or a repeat
	case why != "":
		h.Attention, h.Approved = why, false
	default:
		h.Attention, h.Approved = "", false
	}
}

// settle stores a host that checked in or was approved, with the job that was waiting for it.
func settle(tx *Tx, h Host, now time.Time) (Host, error) {
	if err := trackStranger(tx, &h, now); err != nil {
		return h, err
	}
	if h.wantsJob() {
		h, _, err := makeJob(tx, h, Job{Kind: JobInstall, By: "earlier assignment", Auto: true}, now)
		return h, err
	}
	return tx.PutHost(h)
}

// wantsJob reports whether an earlier assignment is due: a role, ready, and nothing in the way.
func (h *Host) wantsJob() bool {
	return h.State == StateReady && h.Role != "" && !h.Held && !h.EverFlipped && h.Attention == "" && h.Upkeep == ""
}

// vouched reports whether UUID and serial are a person's or an earlier check-in's word, not only what
// firmware said on the network: that one differs from the running system's now and then.
func (h *Host) vouched() bool { return h.Announced || h.Facts != nil }

// suspicion is the sentence that stops automation, "" when nothing speaks against the report.
func suspicion(tx *Tx, h *Host, r *Report) (string, error) {
	f := &r.Facts
	switch {
	case h.vouched() && !Filler(h.UUID) && !Filler(f.UUID) && !sameUUID(h.UUID, f.UUID):
		return fmt.Sprintf("It is known with UUID %s but reports %s. Approve it if this is the machine you mean.", h.UUID, strings.ToLower(f.UUID)), nil
	case h.vouched() && !Filler(h.Serial) && !Filler(f.Serial) && !strings.EqualFold(h.Serial, f.Serial):
		return fmt.Sprintf("It is known with serial number %s but reports %s. Approve it if this is the machine you mean.", h.Serial, f.Serial), nil
	case r.SourceUnverified && (!h.EverFlipped || h.in(StateQueued, StateInstalling)):
		return attentionSource, nil
	case h.Facts != nil && strings.EqualFold(h.Facts.UUID, f.UUID) && h.Facts.Serial == f.Serial:
		return "", nil // twins were looked for when it first said so
	}
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByUUID(f.UUID) },
		func() (Host, error) { return tx.HostBySerial(f.Serial) },
	} {
		twin, err := find()
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		if err == nil && twin.ID != h.ID && (twin.Facts != nil || !twin.nobodys()) {
			return fmt.Sprintf("Host %s has the same UUID or serial number. If this is another machine, approve it; else forget one of the two.", twin.Label()), nil
		}
	}
	return "", nil
}

// takeFacts takes a report over. MACs of one that nobody trusts yet are left alone: a USB adapter moves
// between machines, and would tie the next machine to this host.
func takeFacts(tx *Tx, h *Host, n *Nonce, r *Report, trusted bool, now time.Time) error {
	f := r.Facts
	if !h.vouched() {
		h.UUID, h.Serial = "", ""
	}
	h.Facts, h.HostKey, h.BootID, h.Fetches, h.ReportedAt, h.StageZeroUntil = &f, r.HostKey, r.BootID, 0, now, time.Time{}
	if sameUUID(h.UUID, f.UUID) { // as the running system says it
		h.UUID = strings.ToLower(f.UUID)
	}
	h.meet(Contact{UUID: f.UUID, Serial: f.Serial, IP: r.From, Arch: f.Arch, Firmware: f.Firmware}, now)
	h.addMAC(n.MAC, true)
	if !trusted {
		return nil
	}
	return takeNICs(tx, h, now)
}

// takeNICs makes the reported interfaces' MACs the host's, unless one is another host's. A host that was
// never installed loses those it does not report any more.
func takeNICs(tx *Tx, h *Host, now time.Time) error {
	if !h.EverFlipped && len(h.Facts.NICs) > 0 {
		h.MACs = []MAC{h.MAC}
	}
	for _, nic := range h.Facts.NICs {
		if nic.MAC.IsZero() {
			continue
		}
		owner, err := claimant(tx, h, nic.MAC)
		if err != nil {
			return err
		}
		if owner == "" {
			h.addMAC(nic.MAC, false)
			continue
		}
		if err := tx.Note(Entry{Time: now, HostID: h.ID, Kind: "checkin", Level: "warn", By: "stage-0", From: h.IP,
			Text: fmt.Sprintf("Its interface %s has MAC %s, which belongs to %s: left there.", nic.Name, nic.MAC, owner)}); err != nil {
			return err
		}
	}
	return nil
}

// claimant is the other host that a MAC belongs to, "" when h may have it. A forgotten host that was
// installed keeps its MACs: it must be known again by any of them.
func claimant(tx *Tx, h *Host, m MAC) (string, error) {
	owner, err := tx.HostByMAC(m)
	if err == nil && owner.ID != h.ID {
		return "host " + owner.Label(), nil
	}
	if err == nil || !errors.Is(err, ErrNotFound) || h.EverFlipped {
		return "", ignoreNotFound(err)
	}
	var g grave
	buried, err := tx.GetJSON(bucketGraves, "mac/"+m.String(), &g)
	if buried {
		return strings.TrimSpace("the forgotten host " + g.Name), err
	}
	return "", err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
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
			h.Attention = attentionReports
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
	h.Attention, h.Approved, h.Fetches = "", true, 0
	if f := h.Facts; f != nil {
		if !Filler(f.UUID) {
			h.UUID = strings.ToLower(f.UUID)
		}
		if !Filler(f.Serial) {
			h.Serial = f.Serial
		}
		if err := takeNICs(tx, &h, now); err != nil {
			return h, err
		}
	}
	return settle(tx, h, now)
}
