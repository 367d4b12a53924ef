package dhcp

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
)

// request answers a REQUEST as the segment's server (RFC 2131 §4.3.2).
func (d *decider) request() Decision {
	r := d.r
	if r.ServerID.IsValid() {
		return d.selecting()
	}
	ip, state := r.CIAddr, "renew"
	if !ip.IsValid() {
		ip, state = r.Wanted, "keep"
	}
	if !ip.IsValid() {
		return silence("a REQUEST that names no address")
	}
	if d.pool.Claimed(ip, d.hw) {
		return silence("its last request for %s is being stored", ip)
	}
	if err := d.mayHave(ip); err != nil {
		// INIT-REBOOT, RENEWING, REBINDING of an address that is none of ours: another server's client may ask
		// by broadcast, and only one that is alone can speak for the network.
		if !d.v.Alone && !d.pool.Range().Contains(ip) {
			return silence("wants to %s %s, which may be another server's to give", state, ip)
		}
		return d.nak(ip, err)
	}
	if !d.v.Alone && !d.ourClient(ip) {
		// RFC 2131 §4.3.2: a server that has no record of the client must remain silent, so that servers which do not
		// talk to each other get along. One that is alone gives the address: its records may be lost.
		return silence("wants to %s %s, which it has not from us; another server may have given it", state, ip)
	}
	if d.collides(ip) {
		return d.split(ip)
	}
	switch {
	case !d.ourClient(ip):
		return d.ack(ip, "it says that it has it, and nobody else does")
	case state == "renew":
		return d.ack(ip, "it extends its lease")
	}
	return d.ack(ip, "it starts again with the address it had")
}

// ourClient reports whether we gave, reserved or offered the client that address.
func (d *decider) ourClient(ip netip.Addr) bool {
	res, ok := d.pool.Reservation(d.hw)
	return ok && res.IP == ip || d.pool.Had(ip, d.hw) || d.pool.Held(ip, d.hw, d.now)
}

// collides reports whether two running machines have the client's MAC: one extends a lease that another, with another
// client identifier, was the last to extend. Firmware, iPXE and a system that starts never extend what they did not
// ask for themselves, so one machine that boots never does this. Whose address is reserved keeps it.
func (d *decider) collides(ip netip.Addr) bool {
	_, reserved := d.pool.Reservation(d.hw)
	return !reserved && d.r.CIAddr == ip && d.pool.ExtendedByOther(ip, d.hw, d.r.ClientID, d.now)
}

// split sends the second of two machines with one MAC for an address of its own.
func (d *decider) split(ip netip.Addr) Decision {
	out := d.nak(ip, fmt.Errorf("another running machine with the same MAC uses it: %w", lease.ErrTaken))
	out.Split = true
	for i := range out.Events {
		out.Events[i].Text = fmt.Sprintf("extends %s, and so does another machine with the same MAC and another client id. The two get addresses of their own; give one of them another MAC.", ip)
	}
	return out
}

// selecting is the answer to somebody's offer.
func (d *decider) selecting() Decision {
	r := d.r
	if !d.v.ours(r.ServerID) {
		out := silence("chose the server %s", r.ServerID)
		out.Other = r.ServerID
		if own, ok := d.held(); ok {
			out.Drop = own
		}
		return out
	}
	ip := r.Wanted
	if !ip.IsValid() {
		ip = r.CIAddr
	}
	switch {
	case !ip.IsValid():
		return silence("a REQUEST that names no address")
	case d.pool.Claimed(ip, d.hw):
		return silence("its last request for %s is being stored", ip)
	}
	if err := d.mayHave(ip); err != nil {
		return d.nak(ip, err)
	}
	return d.ack(ip, "it chose our offer")
}

// held is the address on offer to the client.
func (d *decider) held() (netip.Addr, bool) {
	ip, err := d.pool.Pick(d.hw, netip.Addr{}, d.now)
	return ip, err == nil && d.pool.Held(ip, d.hw, d.now)
}

func (d *decider) mayHave(ip netip.Addr) error {
	if err := d.pool.Check(d.hw, ip, d.now); err != nil {
		return err
	}
	if d.pool.MustMove(d.hw, ip, d.now) {
		res, _ := d.pool.Reservation(d.hw)
		return fmt.Errorf("%s is reserved for it now: %w", res.IP, lease.ErrTaken)
	}
	return nil
}

func (d *decider) ack(ip netip.Addr, why string) Decision {
	r := d.r
	rep := d.reply(Ack)
	rep.YIAddr = ip
	d.addLease(rep, ip, true)
	l := &d.room.lease
	*l = lease.Lease{IP: ip, HW: lease.HW(r.MAC), ByRenewal: r.CIAddr == ip && !r.ServerID.IsValid(), ClientID: r.ClientID, Hostname: r.Hostname, State: lease.StateBound, Granted: d.now, Renewed: d.now,
		// RFC 2131 §4.4.1: the client counts from when it sent the REQUEST, so this is never before its own end. Not
		// rounded: that would strip the monotonic reading, and a clock that is set would end all leases.
		Expires: d.now.Add(d.leaseTime + time.Second), Relay: r.Relay}
	if d.hw != l.HW {
		l.Twin = d.hw
	}
	if granted, ok := d.pool.Granted(ip, d.hw, d.now); ok {
		l.Granted = granted
	}
	if res, ok := d.pool.Reservation(d.hw); ok && res.IP == ip {
		l.Reserved = true
	}
	addr := ip.String()
	out := Decision{Reply: rep, Lease: l, Reason: "gave " + addr + ", because " + why, Rule: why}
	boot := d.addBoot(&out)
	d.addNetwork(rep)
	out.SendTo = d.sendTo(rep)
	if d.diary() {
		d.tell(&out, r.event("dhcp.ack", "got the address "+addr+" for "+plainDuration(d.leaseTime)+boot+".", ip))
	}
	return out
}

// nak refuses an address, so that the client asks for a new one at once.
func (d *decider) nak(ip netip.Addr, err error) Decision {
	rep := d.reply(Nak)
	rep.addText(56, "address not available") // RFC 2132 §9.9; our own words, nothing of the client's
	out := Decision{Reply: rep, Reason: fmt.Sprintf("refused: %v", err), Rule: "refused the address"}
	out.SendTo = d.sendTo(rep)
	e := d.r.event("dhcp.nak", fmt.Sprintf("wants %s, which it cannot have: %v. It was told to ask anew.", ip, err), netip.Addr{})
	e.Level = "warn"
	d.tell(&out, e)
	return out
}

// decline takes back an address that the client found in use (RFC 2131 §4.3.3).
func (d *decider) decline() Decision {
	r := d.r
	switch {
	case !d.v.ours(r.ServerID):
		return silence("declines another server's address")
	case !d.pool.Held(r.Wanted, d.hw, d.now) || d.pool.Claimed(r.Wanted, d.hw):
		return silence("declines %s, which it does not have", r.Wanted)
	}
	l := d.pool.Quarantine(r.Wanted, lease.HW(r.MAC), d.now, cmp.Or(d.cfg.QuarantineFor, 10*time.Minute))
	out := silence("%s is in use by somebody else: kept from everybody until %s", r.Wanted, l.Expires.Format(time.TimeOnly))
	out.Lease = &l
	e := r.event("dhcp.decline", fmt.Sprintf("found that somebody else uses %s. Nobody gets that address for %s; look for a machine with a fixed address.",
		r.Wanted, plainDuration(l.Expires.Sub(d.now))), netip.Addr{})
	e.Level = "warn"
	d.tell(&out, e)
	return out
}

// release takes back an address that the client gives up (RFC 2131 §4.3.4).
func (d *decider) release() Decision {
	r := d.r
	old, ok := d.pool.Lease(r.CIAddr)
	switch {
	case r.ServerID.IsValid() && !d.v.ours(r.ServerID):
		return silence("releases another server's address")
	case !ok || old.Key() != d.hw || !old.Live(d.now):
		return silence("releases %s, which it does not have", r.CIAddr)
	case d.pool.Claimed(r.CIAddr, d.hw):
		return silence("releases %s, whose lease is being stored", r.CIAddr)
	}
	old.State, old.Expires = lease.StateReleased, d.now
	out := silence("released %s", r.CIAddr)
	out.Lease = &old
	return out
}

// inform answers a client that has an address of its own (RFC 2131 §4.3.5).
func (d *decider) inform() Decision {
	r := d.r
	if !r.CIAddr.IsValid() {
		return silence("an INFORM without an address")
	}
	if !d.pool.Prefix().Contains(r.CIAddr) {
		return silence("an INFORM from %s, which is not of this network", r.CIAddr)
	}
	rep := d.reply(Ack)
	d.addLease(rep, r.CIAddr, false) // no lease times: the address is not ours
	out := Decision{Reply: rep, Reason: "told the network's settings", Rule: "told the network's settings"}
	d.addBoot(&out)
	d.addNetwork(rep)
	out.SendTo = d.sendTo(rep)
	return out
}
