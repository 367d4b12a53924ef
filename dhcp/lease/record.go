package lease

import (
	"math"
	"net/netip"
	"time"
)

// record is a Lease as a Pool keeps it, in a quarter of the memory: a large site has tens of thousands.
type record struct {
	hw, twin                  HW
	kind                      kind
	reserved, byRenewal       bool
	usualID                   bool // the client id is the hardware address
	wall                      bool // its times are of the wall clock alone: it was read from disk
	idLen                     uint8
	relay                     uint32 // 0 = none
	granted, renewed, expires int64  // nanoseconds after the pool's base; noTime = the zero time
	names                     string // the client id, then the host name
}

// kind is a State in a byte; the zero value says that there is no record.
type kind uint8

const (
	kindNone kind = iota
	kindBound
	kindReleased
	kindQuarantined
)

const noTime = math.MinInt64

// valid reports whether there is a record.
func (r *record) valid() bool { return r.kind != kindNone }

func (r *record) key() HW {
	if r.twin != (HW{}) {
		return r.twin
	}
	return r.hw
}

// pack makes a record of a lease. A client id longer than 255 bytes is cut; requests have at most 64.
func (p *Pool) pack(l *Lease) record {
	id := l.ClientID[:min(len(l.ClientID), 255)]
	usual := isHW(id, l.HW)
	if usual {
		id = nil
	}
	r := record{hw: l.HW, twin: l.Twin, kind: kindBound, reserved: l.Reserved, byRenewal: l.ByRenewal, usualID: usual, idLen: uint8(len(id)), names: string(id) + l.Hostname,
		wall:    l.Expires == l.Expires.Round(0),
		granted: p.ticks(l.Granted), renewed: p.ticks(l.Renewed), expires: p.ticks(l.Expires)}
	switch l.State {
	case StateReleased:
		r.kind = kindReleased
	case StateQuarantined:
		r.kind = kindQuarantined
	}
	if l.Relay.Is4() {
		r.relay = num(l.Relay)
	}
	return r
}

// isHW reports whether a client id is the hardware address behind its type, as most are (RFC 2132 §9.14).
func isHW(id []byte, hw HW) bool { return len(id) == 7 && id[0] == 1 && HW(id[1:]) == hw }

// lease is the reverse of pack.
func (p *Pool) lease(e *entry) Lease {
	r := &e.rec
	l := Lease{IP: e.addr(), HW: r.hw, Twin: r.twin, State: StateBound, Reserved: r.reserved, ByRenewal: r.byRenewal, Hostname: r.names[r.idLen:],
		Granted: p.time(r, r.granted), Renewed: p.time(r, r.renewed), Expires: p.time(r, r.expires)}
	switch {
	case r.usualID:
		l.ClientID = append([]byte{1}, r.hw[:]...)
	case r.idLen > 0:
		l.ClientID = []byte(r.names[:r.idLen])
	}
	switch r.kind {
	case kindReleased:
		l.State = StateReleased
	case kindQuarantined:
		l.State = StateQuarantined
	}
	if r.relay != 0 {
		l.Relay = addr(r.relay)
	}
	return l
}

// ticks is a time as a record keeps it. The pool's base has a reading of the monotonic clock, and so has the time that comes
// back, if this one had: a clock that is set ends no lease.
func (p *Pool) ticks(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return int64(t.Sub(p.base))
}

func (p *Pool) time(r *record, ticks int64) time.Time {
	if ticks == noTime {
		return time.Time{}
	}
	t := p.base.Add(time.Duration(ticks))
	if r.wall {
		return t.Round(0)
	}
	return t
}

// live is Lease.Live, blocked Lease.Blocked.
func (p *Pool) live(e *entry, now time.Time) bool {
	return e.rec.kind == kindBound && now.Before(p.expires(e))
}

func (p *Pool) blocked(e *entry, now time.Time) bool {
	return e.rec.kind == kindQuarantined && now.Before(p.expires(e))
}

func (p *Pool) expires(e *entry) time.Time { return p.time(&e.rec, e.rec.expires) }

// Granted is when the client was given the address that it has a live lease of.
func (p *Pool) Granted(ip netip.Addr, hw HW, now time.Time) (at time.Time, ok bool) {
	e := p.at(ip)
	if e == nil || e.rec.key() != hw || !p.live(e, now) {
		return at, false
	}
	return p.time(&e.rec, e.rec.granted), true
}

// ExtendedByOther reports whether the last to extend the client's live lease of the address was a running system with another
// client identifier.
func (p *Pool) ExtendedByOther(ip netip.Addr, hw HW, clientID []byte, now time.Time) bool {
	e := p.at(ip)
	if e == nil || e.rec.key() != hw || !p.live(e, now) || !e.rec.byRenewal {
		return false
	}
	if e.rec.usualID {
		return !isHW(clientID, e.rec.hw)
	}
	return e.rec.names[:e.rec.idLen] != string(clientID)
}

// at is what is known of an address, nil when that is nothing.
func (p *Pool) at(ip netip.Addr) *entry {
	if !ip.Is4() {
		return nil
	}
	return p.table.at(num(ip))
}

// own is the address of the client's newest record or hold.
func (p *Pool) own(hw HW) (netip.Addr, bool) {
	n, ok := p.owner[hw]
	return addr(n), ok
}

// owns reports whether that address is the client's newest.
func (p *Pool) owns(hw HW, ip netip.Addr) bool {
	own, ok := p.own(hw)
	return ok && own == ip
}
