package inventory

import (
	"errors"
	"net/netip"
	"strings"
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
	h, err := tx.HostByMAC(c.MAC)
	if err == nil || !errors.Is(err, ErrNotFound) {
		return h, err
	}
	// A machine that was announced by UUID or serial shows its MAC for the first time.
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.HostByUUID(c.UUID) },
		func() (Host, error) { return tx.HostBySerial(c.Serial) },
	} {
		if h, err = find(); err == nil && h.MAC.IsZero() {
			h.addMAC(c.MAC, true)
			return h, nil
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return h, err
		}
	}
	return newHost(tx, c, now)
}

func newHost(tx *Tx, c Contact, now time.Time) (Host, error) {
	if err := makeRoom(tx); err != nil {
		return Host{}, err
	}
	h := Host{ID: HostID(tx.NewID()), CreatedAt: now, UUID: strings.ToLower(c.UUID), Serial: c.Serial}
	h.addMAC(c.MAC, true)
	for _, k := range indexKeys(&h) {
		var g grave
		ok, err := tx.GetJSON(bucketGraves, k, &g)
		if err != nil {
			return h, err
		}
		if !ok {
			continue
		}
		h.EverFlipped, h.State, h.InstalledKey, h.Held = true, StateInstalled, g.InstalledKey, true
		if _, err := tx.HostByName(g.Name); errors.Is(err, ErrNotFound) {
			h.Name = g.Name
		}
		return h, nil
	}
	return h, tx.Put(bucketStrangers, string(h.ID), []byte(now.UTC().Format(time.RFC3339)))
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
	if h.UUID == "" && !Filler(c.UUID) {
		h.UUID = strings.ToLower(c.UUID)
	}
	if h.Serial == "" && !Filler(c.Serial) {
		h.Serial = c.Serial
	}
}

// Discover records that a machine's firmware asked DHCP for a boot file.
func Discover(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, err
	}
	h.meet(c, now)
	h.addMAC(c.MAC, true)
	if h, err = Next(h, HeardDHCP{}); err != nil {
		return h, err
	}
	return tx.PutHost(h)
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
	if h.State == "" { // its DHCP went to another server
		h.State = StateSeen
	}
	if h, err = Next(h, ScriptFetched{Installer: target == TargetStage0}); err != nil {
		return h, target, why, err
	}
	if target == TargetStage0 {
		h.Fetches++
		if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP}); err != nil {
			return h, target, why, err
		}
	}
	h, err = tx.PutHost(h)
	return h, target, why, err
}

// IssueJoinNonce issues the nonce of one boot of a USB ISO, whose join token the caller has checked.
func IssueJoinNonce(tx *Tx, c Contact, nonceHash string, now time.Time) (Host, error) {
	h, err := identify(tx, c, now)
	if err != nil {
		return h, err
	}
	h.meet(c, now)
	if h.State == "" {
		h.State = StateSeen
	}
	if err := issueNonce(tx, nonceHash, Nonce{MAC: c.MAC, HostID: h.ID, Issued: now, To: c.IP, Join: true}); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

