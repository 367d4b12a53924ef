package lease

import (
	"net/netip"
	"slices"
	"time"
)

// ProvedFor is how long the finding of a conflict probe counts.
const ProvedFor = 10 * time.Minute

// Unproved lists up to most addresses that ought to be probed now, so that what Pick finds is known to be unused: free
// ones until stock of them are proved, reserved ones that nobody has, and, when few are free, ones whose lease ended.
func (p *Pool) Unproved(stock, most int, now time.Time) []netip.Addr {
	p.ready = slices.DeleteFunc(p.ready, func(ip netip.Addr) bool {
		if p.isProved(ip, now) && p.isFree(ip) {
			return false
		}
		p.unprove(ip)
		return true
	})
	var out []netip.Addr
	for ip, hw := range p.resIP {
		if len(out) < most && p.Check(hw, ip, now) == nil && !p.liveAt(ip, hw, now) && !p.isProved(ip, now) {
			out = append(out, ip)
		}
	}
	most = min(most, len(out)+stock-len(p.ready))
	for i, ok := p.free.nextNoWrap(0); ok && len(out) < most; i, ok = p.free.nextNoWrap(i + 1) {
		if ip := p.cfg.Range.at(i); !p.isProved(ip, now) {
			out = append(out, ip)
		}
	}
	for _, e := range p.expiry[:min(len(p.expiry), maxEnded)] { // those that end first are near the top
		if len(out) < most && now.After(p.expires(e)) && p.Check(HW{}, e.addr(), now) == nil && !p.isProved(e.addr(), now) {
			out = append(out, e.addr())
		}
	}
	return out
}

// maxEnded bounds how many ended leases are looked at for one Unproved or Pick.
const maxEnded = 64

// Proved records that a probe found the address unused.
func (p *Pool) Proved(ip netip.Addr, now time.Time) {
	e := p.entry(ip)
	if p.isFree(ip) && e.proved == 0 {
		p.ready = append(p.ready, ip)
	}
	e.proved = p.ticks(now)
}

// Conflicts reports whether an address that a machine with that hardware address uses must be kept from everybody: no
// lease of ours explains its use, and it could be given to somebody.
func (p *Pool) Conflicts(ip netip.Addr, by HW, now time.Time) bool {
	holder, reserved := p.resIP[ip]
	if !reserved && !p.inRange(ip) || reserved && holder == by { // not ours to give; set up by hand as it is reserved
		return false
	}
	e := p.at(ip)
	return (e == nil || e.hold == nil && !e.claimed && !p.live(e, now)) && p.Check(holder, ip, now) == nil
}

func (p *Pool) isProved(ip netip.Addr, now time.Time) bool {
	e := p.at(ip)
	return e != nil && e.proved != 0 && p.ticks(now)-e.proved < int64(ProvedFor)
}

// unprove forgets an outdated finding.
func (p *Pool) unprove(ip netip.Addr) {
	if e := p.at(ip); e != nil {
		e.proved = 0
		p.tidy(e)
	}
}
