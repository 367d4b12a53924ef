package inventory

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	attentionReports  = "Two machines report as this host. Find out which one it is, switch the other one off, then approve."
	attentionReported = "It boots with another MAC than the one that was announced, which it only reports as a further one. Approve it if this is the machine you mean."
	attentionSource   = "It checked in through a router or relay, where its address proves nothing. Approve it if this is the machine you mean."
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
	h, byNIC, err := recognise(tx, h, &r.Facts)
	if err != nil {
		return h, err
	}
	moved := n.HostID != h.ID
	if n.HostKey == "" || moved {
		n.HostKey, n.BootID, n.HostID = r.HostKey, r.BootID, h.ID
		if moved { // the stranger's are gone with it
			err = issueNonce(tx, r.NonceHash, n)
		} else {
			err = tx.PutJSON(BucketNonces, r.NonceHash, n)
		}
		if err != nil {
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
	if why == "" && (byNIC || h.Attention == attentionReported) {
		why = attentionReported
	}
	h.judge(why, r.HostKey)
	if err := takeFacts(tx, &h, &n, &r, why == "" || h.Approved, now); err != nil {
		return h, err
	}
	return settle(tx, h, now)
}

// recognise finds the announced host that a report shows the stranger h to be. byNIC says that only a reported
// MAC tells so: anybody could report it, so a person must look.
func recognise(tx *Tx, h Host, f *Facts) (_ Host, byNIC bool, err error) {
	if !h.nobodys() {
		return h, false, nil
	}
	announced, ok, err := findAwaited(tx, f.UUID, f.Serial)
	if err == nil && !ok {
		var macs []MAC
		for _, nic := range f.NICs {
			macs = append(macs, nic.MAC)
		}
		announced, ok, err = findAwaited(tx, f.UUID, f.Serial, macs...)
		byNIC = ok
	}
	if err != nil || !ok {
		return h, false, err
	}
	h, err = unite(tx, h, announced)
	return h, byNIC, err
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
	if h.wantsJob() && tx.Room() == nil { // else one of its next reports makes it
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
	}
	if missing := h.unreported(f); !missing.IsZero() {
		return fmt.Sprintf("It was announced with MAC %s, which it does not have. Approve it if this is the machine you mean.", missing), nil
	}
	if why, err := twin(tx, h, f); why != "" || err != nil {
		return why, err
	}
	return strayMAC(tx, h, f)
}

// unreported is a MAC that a person announced the host with and that its first report does not show; zero = none.
func (h *Host) unreported(f *Facts) MAC {
	if !h.Announced || h.Facts != nil && h.Attention == "" || h.EverFlipped || len(f.NICs) == 0 {
		return MAC{}
	}
	for _, m := range h.MACs {
		if m != h.MAC && !slices.ContainsFunc(f.NICs, func(n NIC) bool { return n.MAC == m }) {
			return m
		}
	}
	return MAC{}
}

// settled reports whether an earlier report said the same and nothing was left open about it: what spoke
// against it then was looked at by a person.
func (h *Host) settled(same func(old *Facts) bool) bool {
	return h.Facts != nil && h.Attention == "" && same(h.Facts)
}

// twin is the sentence about another host with the same UUID or serial number, "" when there is none.
func twin(tx *Tx, h *Host, f *Facts) (string, error) {
	if h.settled(func(old *Facts) bool { return strings.EqualFold(old.UUID, f.UUID) && old.Serial == f.Serial }) {
		return "", nil
	}
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByUUID(f.UUID) },
		func() (Host, error) { return tx.HostBySerial(f.Serial) },
	} {
		other, err := find()
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		if err == nil && other.ID != h.ID && (other.Facts != nil || !other.nobodys()) {
			return fmt.Sprintf("Host %s has the same UUID or serial number. If this is another machine, approve it; else forget one of the two.", other.Label()), nil
		}
	}
	if h.EverFlipped {
		return "", nil
	}
	g, ok, err := findGrave(tx, &Host{UUID: f.UUID, Serial: f.Serial})
	if ok {
		return fmt.Sprintf("It has the UUID or serial number of %s, which was installed here and then forgotten. Approve it if it may be installed anew.", g.label()), err
	}
	return "", err
}

// strayMAC is the sentence about a reported MAC that is another host's, "" when there is none.
func strayMAC(tx *Tx, h *Host, f *Facts) (string, error) {
	for _, nic := range f.NICs {
		if nic.MAC.IsZero() || h.settled(func(old *Facts) bool {
			return slices.ContainsFunc(old.NICs, func(n NIC) bool { return n.MAC == nic.MAC })
		}) {
			continue
		}
		owner, err := claimant(tx, h, nic.MAC)
		if err != nil {
			return "", err
		}
		if owner != "" {
			return fmt.Sprintf("Its interface %s has MAC %s, which belongs to %s: one adapter that moves between machines, or a copied address. "+
				"Approve it if this is a machine of its own: the MAC stays where it is.", nic.Name, nic.MAC, owner), nil
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
	g, buried, err := findGrave(tx, &Host{MACs: []MAC{m}})
	if buried {
		return "the forgotten host " + g.label(), err
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
	return settle(tx, h, now)
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
