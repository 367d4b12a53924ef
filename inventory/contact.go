package inventory

import (
	"errors"
	"net/netip"
	"time"
)

// Contact is what the network tells of a machine before it checks in.
type Contact struct {
	MAC          MAC
	UUID, Serial string // "" or filler = unknown
	IP           netip.Addr
	Arch         string // "x86_64", "aarch64", ""
	Firmware     string // "bios", "uefi", ""
	Relayed      bool   // by a DHCP relay; only meaningful from DHCP
	DHCP         bool   // heard by DHCP (else by HTTP)
}

// identify finds the host of a contact, or makes a new one that is not yet stored.
func identify(tx *Tx, c Contact, now time.Time) (Host, error) {
	if err := CheckMAC(c.MAC); err != nil {
		return Host{}, err
	}
	h, err := tx.HostByMAC(c.MAC)
	known := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) || known && !(h.nobodys() && h.Facts == nil) {
		return h, err
	}
	// A machine that was announced by UUID or serial shows its MAC for the first time, or was only a MAC until now.
	announced, ok, err := findAwaited(tx, c.UUID, c.Serial)
	switch {
	case err != nil:
		return h, err
	case ok && known:
		return unite(tx, h, announced)
	case ok:
		return announced, nil
	case known:
		return h, nil
	}
	return newHost(tx, c, now)
}

// newHost makes a host that is not yet stored; one that was forgotten after an install is installed.
func newHost(tx *Tx, c Contact, now time.Time) (Host, error) {
	h := Host{ID: HostID(tx.NewID()), CreatedAt: now}
	h.name(c)
	h.addMAC(c.MAC, true)
	return h, exhume(tx, &h)
}

// name takes over what identifies the machine, where nothing is known yet.
func (h *Host) name(c Contact) {
	if h.Announced && h.Facts == nil {
		return
	}
	if uuid := plainUUID(c.UUID); h.UUID == "" && !Filler(uuid) {
		h.UUID = uuid
	}
	if serial := Clean(c.Serial, MaxFactLen); h.Serial == "" && !Filler(serial) {
		h.Serial = serial
	}
}

// store writes the host that was heard, and keeps the bound on hosts that are nobody's.
func (h *Host) store(tx *Tx, now time.Time) (Host, error) {
	if err := trackStranger(tx, h, now); err != nil {
		return *h, err
	}
	return tx.PutHost(*h)
}

func (h *Host) meet(c Contact, now time.Time) {
	if h.FirstSeen.IsZero() {
		h.FirstSeen = now
	}
	h.LastSeen = now
	if c.IP.IsValid() {
		h.IP = c.IP
	}
	if c.Arch != "" {
		h.Arch = c.Arch
	}
	if c.Firmware != "" {
		h.Firmware = c.Firmware
	}
	if c.DHCP {
		h.Relayed = c.Relayed
	}
	h.name(c)
}

// heard is the host that was heard, with what it said; it is not stored yet.
func heard(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, err
	}
	h.meet(c, now)
	h.addMAC(c.MAC, true)
	return Next(h, HeardDHCP{})
}

// Discover records that a machine's firmware asked DHCP for a boot file.
func Discover(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := heard(tx, c, now)
	if err != nil {
		return h, err
	}
	return h.store(tx, now)
}

// FetchScript records that iPXE asks for its script and decides what it boots.
// When the target is stage-0, the nonce whose hash is given is issued to it.
func FetchScript(tx *Tx, c Contact, d Discovery, nonceHash string, now time.Time) (Host, Target, string, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, "", "", err
	}
	h.meet(c, now)
	h.addMAC(c.MAC, true)
	target, why := BootTarget(&h, d, now)
	h.countDiskBoot(target, now)
	if h, err = Next(h, ScriptFetched{Installer: target == TargetStage0}); err != nil {
		return h, target, why, err
	}
	if target == TargetStage0 {
		h.Fetches++
		if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP}); err != nil {
			return h, target, why, err
		}
	}
	h, err = h.store(tx, now)
	return h, target, why, err
}

// IssueJoinNonce issues the nonce of one boot of a USB ISO, whose join token the caller has checked.
func IssueJoinNonce(tx *Tx, c Contact, nonceHash string, now time.Time) (Host, error) {
	h, err := heard(tx, c, now)
	if err != nil {
		return h, err
	}
	if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP, Join: true}); err != nil {
		return h, err
	}
	return h.store(tx, now)
}
