package lease

import (
	"container/heap"
	"fmt"
	"net/netip"
	"time"
)

// Pick chooses the address to offer to a client: its reservation, else the one it had
// last, else the one on offer to it, else the one it asks for (want, may be invalid; an
// unprobed one only when none is probed), else a free one, probed ones first, else the one whose lease ended longest ago, else
// the one that was on offer to somebody else longest. It changes nothing but outdated
// offers; the caller holds what it offers. ErrPoolFull; a live lease is never taken away.
// RFC 2131 §4.3.1 gives this order.
func (p *Pool) Pick(hw HW, want netip.Addr, now time.Time) (netip.Addr, error) {
	p.expireHolds(now)
	if r, ok := p.reserved[hw]; ok {
		if err := p.Check(hw, r.IP, now); err == nil {
			return r.IP, nil
		}
		// Its reserved address is still lent to somebody or in quarantine: a pool address meanwhile.
	}
	if own, ok := p.own(hw); ok && p.Check(hw, own, now) == nil && p.inRange(own) {
		return own, nil
	}
	if want.IsValid() && p.inRange(want) && p.isFree(want) && (len(p.ready) == 0 || p.isProved(want, now)) {
		return want, nil
	}
	if ip, ok := p.freeAddr(hw, now); ok {
		return ip, nil
	}
	if ip, ok := p.oldestEnded(hw, now); ok {
		return ip, nil
	}
	for h := p.holds.first; h != nil; h = h.next { // only offers: nobody uses the address yet
		e := h.e
		if p.inRange(e.addr()) && p.checkRecord(hw, e, now) == nil && p.checkStatic(hw, e.addr()) == nil {
			return e.addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("range %s, %d addresses: %w", p.cfg.Range, p.cfg.Range.Size(), ErrPoolFull)
}

// Check reports whether the client may have that very address: nil, or ErrTaken with the
// reason. An address outside the range is only for who has it reserved.
func (p *Pool) Check(hw HW, ip netip.Addr, now time.Time) error {
	if !p.cfg.Prefix.Contains(ip) {
		return taken(ip, "it is not an address of the subnet "+p.cfg.Prefix.String())
	}
	if err := p.checkStatic(hw, ip); err != nil {
		return err
	}
	if p.resIP[ip] != hw && !p.inRange(ip) {
		return taken(ip, "it is outside the range "+p.cfg.Range.String())
	}
	e := p.at(ip)
	if e == nil {
		return nil
	}
	if err := p.checkRecord(hw, e, now); err != nil {
		return err
	}
	if e.hold != nil && e.hold.holder != hw && p.ticks(now) < e.hold.until {
		return taken(ip, "it is on offer to "+e.hold.holder.String())
	}
	return nil
}

// MustMove reports whether a client with a reservation asks for another address than the
// reserved one, which it could have.
func (p *Pool) MustMove(hw HW, ip netip.Addr, now time.Time) bool {
	r, ok := p.reserved[hw]
	return ok && r.IP != ip && p.Check(hw, r.IP, now) == nil
}

func (p *Pool) checkStatic(hw HW, ip netip.Addr) error {
	if owner, ok := p.resIP[ip]; ok && owner != hw {
		return taken(ip, "it is reserved for "+owner.String())
	}
	if p.exclude[ip] {
		return taken(ip, "it is the network's own (router, appliance, broadcast)")
	}
	return nil
}

func (p *Pool) checkRecord(hw HW, e *entry, now time.Time) error {
	if e.claimed && e.claim != hw {
		return taken(e.addr(), "it is being given to "+e.claim.String())
	}
	if !e.rec.valid() {
		return nil
	}
	if p.blocked(e, now) {
		return taken(e.addr(), "somebody else was found to use it")
	}
	if p.live(e, now) && e.rec.key() != hw {
		return taken(e.addr(), "it is leased to "+e.rec.hw.String())
	}
	return nil
}

func (p *Pool) inRange(ip netip.Addr) bool {
	_, ok := p.cfg.Range.index(ip)
	return ok
}

// isFree reports whether nobody has the address now and nobody had it who might come back.
func (p *Pool) isFree(ip netip.Addr) bool {
	i, ok := p.cfg.Range.index(ip)
	return ok && p.free.get(i)
}

// freeAddr is an address that nobody ever had: one that was probed, else the one that the
// hash of the client's address points to or the next one after it. The hash makes a
// client get the same address again when its offer was forgotten.
func (p *Pool) freeAddr(hw HW, now time.Time) (netip.Addr, bool) {
	for len(p.ready) > 0 {
		ip := p.ready[0]
		if p.isProved(ip, now) && p.isFree(ip) {
			return ip, true
		}
		p.ready = p.ready[1:]
		p.unprove(ip)
	}
	i, ok := p.free.next(int(hash(hw) % uint64(p.cfg.Range.Size())))
	if !ok {
		return netip.Addr{}, false
	}
	return p.cfg.Range.at(i), true
}

// oldestEnded is the address whose record ended longest ago and that may be had.
func (p *Pool) oldestEnded(hw HW, now time.Time) (netip.Addr, bool) {
	var skipped []*entry
	defer func() {
		for _, e := range skipped {
			heap.Push(&p.expiry, e)
		}
	}()
	for len(p.expiry) > 0 && len(skipped) < maxEnded {
		e := p.expiry[0]
		if now.Before(p.expires(e)) {
			return netip.Addr{}, false
		}
		if p.Check(hw, e.addr(), now) == nil {
			return e.addr(), true
		}
		heap.Pop(&p.expiry)
		skipped = append(skipped, e)
	}
	return netip.Addr{}, false
}

// Quarantine is the record that keeps an address from everybody for a time, to be stored
// and Put. When half of the range is in quarantine already, which no honest LAN brings
// about, the time is a minute.
func (p *Pool) Quarantine(ip netip.Addr, by HW, now time.Time, d time.Duration) Lease {
	blocked := 0
	for e := range p.table.all() {
		if p.blocked(e, now) {
			blocked++
		}
	}
	if blocked*2 >= p.cfg.Range.Size() {
		d = min(d, time.Minute)
	}
	return Lease{IP: ip, HW: by, State: StateQuarantined, Renewed: now, Expires: now.Add(d)}
}

// hash spreads hardware addresses over a range (FNV-1a).
func hash(hw HW) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range hw {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}
