package lease

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Errors that a caller branches on.
var (
	// ErrPoolFull says that every address of the range is a live lease, reserved or quarantined.
	ErrPoolFull = errors.New("no free address")
	// ErrTaken says that the address is not to be had by this client.
	ErrTaken = errors.New("address not available")
)

// Config describes one segment's addresses.
type Config struct {
	// Prefix is the segment's subnet: its network and broadcast addresses are never given.
	Prefix netip.Prefix
	// Range is what may be given to clients without a reservation.
	Range Range
	// Exclude are addresses that are in use by others: the appliance's own, the router, DNS servers.
	Exclude []netip.Addr
	// HoldFor is how long an offered address is kept for the client; 0 means 60 s.
	HoldFor time.Duration
	// MaxHolds bounds the offers kept in memory; beyond it the oldest is forgotten. 0 means 4096.
	MaxHolds int
}

func (e *entry) addr() netip.Addr { return addr(e.ip) }

// Pool is the addresses of one segment: records, offers on hold, reservations. It keeps
// what it is told and computes; the caller stores records. Not safe for concurrent use.
// The cost of every method is flat or logarithmic in the number of leases.
type Pool struct {
	cfg      Config
	base     time.Time // what the times in records count from
	table    table
	owner    map[HW]uint32 // newest record or hold of a client
	reserved map[HW]Reservation
	resIP    map[netip.Addr]HW
	exclude  map[netip.Addr]bool
	expiry   expiryHeap // records inside the range, first to end on top
	holds    holdList
	free     bitmap // addresses of the range with neither record nor hold
	ready    []netip.Addr
	claims   int         // entries that are claimed
	twins    map[HW]bool // keys of clients that share a hardware address with another
}

// NewPool is a pool without leases. It fails when the range lies outside the subnet.
func NewPool(cfg Config) (*Pool, error) {
	if err := cfg.Range.check(cfg.Prefix); err != nil {
		return nil, err
	}
	cfg.HoldFor = cmp.Or(cfg.HoldFor, time.Minute)
	cfg.MaxHolds = cmp.Or(cfg.MaxHolds, 4096)
	p := &Pool{cfg: cfg, base: time.Now(), table: newTable(cfg.Range), owner: map[HW]uint32{}, reserved: map[HW]Reservation{},
		resIP: map[netip.Addr]HW{}, exclude: map[netip.Addr]bool{}, free: newBitmap(cfg.Range.Size()), twins: map[HW]bool{}}
	p.Exclude(cfg.Exclude)
	return p, nil
}

// Prefix is the segment's subnet.
func (p *Pool) Prefix() netip.Prefix { return p.cfg.Prefix }

// Range is what the pool gives out.
func (p *Pool) Range() Range { return p.cfg.Range }

// Exclude replaces the addresses that others use.
func (p *Pool) Exclude(addrs []netip.Addr) {
	old := p.exclude
	p.exclude = map[netip.Addr]bool{networkAddr(p.cfg.Prefix): true, broadcastAddr(p.cfg.Prefix): true}
	for _, a := range addrs {
		p.exclude[a] = true
	}
	for a := range old {
		p.refree(a)
	}
	for a := range p.exclude {
		p.refree(a)
	}
}

// Reserve replaces the reservations. An address reserved twice stays with the first in order of HW.
func (p *Pool) Reserve(rs []Reservation) {
	old := p.resIP
	p.reserved, p.resIP = map[HW]Reservation{}, map[netip.Addr]HW{}
	rs = slices.SortedFunc(slices.Values(rs), func(a, b Reservation) int { return slices.Compare(a.HW[:], b.HW[:]) })
	for _, r := range rs {
		if _, dup := p.resIP[r.IP]; dup || !p.cfg.Prefix.Contains(r.IP) {
			continue
		}
		p.reserved[r.HW], p.resIP[r.IP] = r, r.HW
	}
	for a := range old {
		p.refree(a)
	}
	for a := range p.resIP {
		p.refree(a)
	}
}

// Reservation is the client's reservation, if it has one here.
func (p *Pool) Reservation(hw HW) (Reservation, bool) {
	r, ok := p.reserved[hw]
	return r, ok
}

// refree recomputes whether an address counts as free.
func (p *Pool) refree(ip netip.Addr) {
	i, ok := p.cfg.Range.index(ip)
	if !ok {
		return
	}
	e := p.at(ip)
	_, res := p.resIP[ip]
	p.free.set(i, !res && !p.exclude[ip] && (e == nil || !e.rec.valid() && e.hold == nil && !e.claimed))
}

func (p *Pool) entry(ip netip.Addr) *entry {
	return p.table.make(num(ip))
}

// Put takes in a record that is stored: at start, and after every commit. The record
// replaces what the address had; the holder's offer ends.
func (p *Pool) Put(l Lease) {
	e := p.entry(l.IP)
	key := l.Key()
	if e.rec.valid() && e.rec.key() != key && p.owns(e.rec.key(), l.IP) {
		delete(p.owner, e.rec.key())
	}
	if e.hold != nil && e.hold.holder != key && p.owns(e.hold.holder, l.IP) {
		delete(p.owner, e.hold.holder)
	}
	p.unhold(e)
	e.rec, e.proved = p.pack(&l), 0
	if key != (HW{}) && l.State != StateQuarantined {
		p.owner[key] = e.ip
	}
	if l.Twin != (HW{}) {
		p.split(l.Twin)
	}
	if _, in := p.cfg.Range.index(l.IP); in {
		if e.place == 0 {
			heap.Push(&p.expiry, e)
		} else {
			heap.Fix(&p.expiry, int(e.place)-1)
		}
	}
	p.refree(l.IP)
}

// Remove forgets the record of an address.
func (p *Pool) Remove(ip netip.Addr) {
	e := p.at(ip)
	if e == nil {
		return
	}
	if e.rec.valid() && p.owns(e.rec.key(), ip) {
		delete(p.owner, e.rec.key())
	}
	e.rec = record{}
	if e.place > 0 {
		heap.Remove(&p.expiry, int(e.place)-1)
	}
	p.tidy(e)
}

// tidy drops an entry that says nothing any more.
func (p *Pool) tidy(e *entry) {
	p.table.tidy(e)
	p.refree(e.addr())
}

// Hold keeps an address that was offered (or is being committed) for the client until
// now + HoldFor. The caller has it from Pick or Check at the same now.
func (p *Pool) Hold(ip netip.Addr, hw HW, now time.Time) {
	if old, ok := p.own(hw); ok && old != ip {
		p.Unhold(old, hw)
	}
	if e := p.at(ip); e != nil && e.hold != nil {
		p.endHold(e)
	}
	e := p.entry(ip)
	e.hold = &hold{e: e, holder: hw, until: p.ticks(now.Add(p.cfg.HoldFor))}
	p.holds.push(e.hold)
	if cur, ok := p.own(hw); !ok || !p.liveAt(cur, hw, now) {
		p.owner[hw] = num(ip)
	}
	p.refree(ip)
	for p.holds.n > p.cfg.MaxHolds {
		p.dropOldestHold()
	}
}

// Claim keeps an address for the client while its record is being stored, however long that
// takes; the caller has it from Check at this moment and calls Settle afterwards.
func (p *Pool) Claim(ip netip.Addr, hw HW) {
	e := p.entry(ip)
	if !e.claimed {
		p.claims++
	}
	e.claim, e.claimed = hw, true
	p.refree(ip)
}

// Busy reports whether any record is being stored.
func (p *Pool) Busy() bool { return p.claims > 0 }

// Claimed reports whether a record of the address is being stored for that client.
func (p *Pool) Claimed(ip netip.Addr, hw HW) bool {
	e := p.at(ip)
	return e != nil && e.claimed && e.claim == hw
}

// Settle ends a claim: the record is stored (and was Put), or could not be.
func (p *Pool) Settle(ip netip.Addr) {
	if e := p.at(ip); e != nil && e.claimed {
		e.claim, e.claimed = HW{}, false
		p.claims--
		p.tidy(e)
	}
}

func (p *Pool) dropOldestHold() { p.endHold(p.holds.first.e) }

// Unhold ends the client's offer of an address: it took another server's.
func (p *Pool) Unhold(ip netip.Addr, hw HW) {
	if e := p.at(ip); e != nil && e.hold != nil && e.hold.holder == hw {
		p.endHold(e)
	}
}

func (p *Pool) endHold(e *entry) {
	hw := e.hold.holder
	p.unhold(e)
	if p.owns(hw, e.addr()) && e.rec.key() != hw {
		delete(p.owner, hw)
	}
	p.tidy(e)
}

func (p *Pool) unhold(e *entry) {
	if e.hold != nil {
		p.holds.remove(e.hold)
		e.hold = nil
	}
}

func (p *Pool) liveAt(ip netip.Addr, hw HW, now time.Time) bool {
	e := p.at(ip)
	return e != nil && e.rec.key() == hw && p.live(e, now)
}

// expireHolds ends the offers nobody took.
func (p *Pool) expireHolds(now time.Time) {
	for p.holds.first != nil && p.ticks(now) >= p.holds.first.until {
		p.dropOldestHold()
	}
}

// Lease is the record of an address, if there is one.
func (p *Pool) Lease(ip netip.Addr) (Lease, bool) {
	if e := p.at(ip); e != nil && e.rec.valid() {
		return p.lease(e), true
	}
	return Lease{}, false
}

// Had reports whether the record of an address is that client's, live or not.
func (p *Pool) Had(ip netip.Addr, hw HW) bool {
	e := p.at(ip)
	return e != nil && e.rec.valid() && e.rec.key() == hw
}

// Of is the client's newest record, live or not.
func (p *Pool) Of(hw HW) (Lease, bool) {
	own, _ := p.own(hw)
	l, ok := p.Lease(own)
	return l, ok && l.Key() == hw && l.State != StateQuarantined
}

// Leases lists all records in order of address.
func (p *Pool) Leases() []Lease {
	var out []Lease
	for e := range p.table.all() {
		if e.rec.valid() {
			out = append(out, p.lease(e))
		}
	}
	slices.SortFunc(out, func(a, b Lease) int { return a.IP.Compare(b.IP) })
	return out
}

// Usage counts a pool's addresses.
type Usage struct {
	Size        int `json:"size"`        // addresses in the range
	Live        int `json:"live"`        // of them, leases in use
	Free        int `json:"free"`        // of them, what a new client may get
	Held        int `json:"held"`        // offers not yet taken
	Quarantined int `json:"quarantined"` // addresses that somebody else uses them
	Reserved    int `json:"reserved"`
}

// Usage counts at now. Its cost grows with the number of leases.
func (p *Pool) Usage(now time.Time) Usage {
	p.expireHolds(now)
	u := Usage{Size: p.cfg.Range.Size(), Held: p.holds.n, Reserved: len(p.reserved)}
	for i := range u.Size {
		if p.free.get(i) {
			u.Free++
		}
	}
	for e := range p.table.all() {
		in := p.inRange(e.addr())
		switch {
		case p.live(e, now) && in:
			u.Live++
		case p.blocked(e, now):
			u.Quarantined++
		case in && e.rec.valid() && e.hold == nil && p.Check(HW{}, e.addr(), now) == nil: // its lease ended
			u.Free++
		}
	}
	return u
}

func taken(ip netip.Addr, why string) error { return fmt.Errorf("%s: %s: %w", ip, why, ErrTaken) }

// Held reports whether the address is on offer to that client, or its to use.
func (p *Pool) Held(ip netip.Addr, hw HW, now time.Time) bool {
	e := p.at(ip)
	return e != nil && (e.hold != nil && e.hold.holder == hw && p.ticks(now) < e.hold.until || e.rec.key() == hw && p.live(e, now))
}
