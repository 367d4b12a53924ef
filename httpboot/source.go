package httpboot

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/inventory"
)

// segments are the networks that the appliance has an address in, loopback left out.
func segments() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// evidence is what the appliance's own view of the network says about a source address.
type evidence struct {
	OnSegment bool            // the address is of one of our own networks
	Neighbor  inventory.MAC   // the MAC that ARP shows for it, zero = none
	Lease     netip.Addr      // the address that DHCP gave to the boot's MAC, invalid = none
	Known     []inventory.MAC // the MACs of the boot and of its host
}

// judgeSource decides whether a report from an address may speak for a boot: on our own
// segment the address must be the one that DHCP gave to the MAC or that ARP shows for it
// (DESIGN section 4). It reports that nothing proves the source, or an error when
// something speaks against it.
func judgeSource(from netip.Addr, e evidence) (unverified bool, err error) {
	switch {
	case !e.OnSegment:
		return true, nil // behind a router or relay an address proves nothing
	case e.Lease.IsValid() && e.Lease == from:
		return false, nil
	case e.Neighbor.IsZero():
		return true, nil
	case slices.Contains(e.Known, e.Neighbor):
		return false, nil
	}
	return false, &sourceError{from, e.Neighbor}
}

// sourceError says that a report came from an address that belongs to another machine.
type sourceError struct {
	from  netip.Addr
	owner inventory.MAC
}

// Error implements error with a sentence for the machine's screen.
func (e *sourceError) Error() string {
	return fmt.Sprintf("this report came from %s, which belongs to another machine (%s): only the machine that netbooted may check in", e.from, e.owner)
}

// judge holds a report's source against the network's evidence. A USB image's boot is vouched for by
// its token: what counts is that the report comes from where the token came from.
func (s *Server) judge(from netip.Addr, n inventory.Nonce, macs []inventory.MAC) (unverified bool, err error) {
	if n.Join && from == n.To {
		return false, nil
	}
	return judgeSource(from, s.evidence(from, n, macs))
}

func (s *Server) evidence(from netip.Addr, n inventory.Nonce, macs []inventory.MAC) evidence {
	e := evidence{Known: append([]inventory.MAC{n.MAC}, macs...)}
	for _, p := range s.cfg.Segments() {
		e.OnSegment = e.OnSegment || p.Contains(from)
	}
	if mac, ok := s.cfg.Neighbor(from); ok {
		e.Neighbor = mac
	}
	if ip, ok := s.cfg.LeaseIP(n.MAC); ok {
		e.Lease = ip
	}
	return e
}

// limiter bounds how often each source may ask for something dear.
type limiter struct {
	every time.Duration
	burst int

	mu      sync.Mutex
	sources map[netip.Addr]*rate.Limiter
}

// maxSources bounds the limiter's memory; beyond it everybody starts afresh.
const maxSources = 4096

func newLimiter(every time.Duration, burst int) *limiter {
	return &limiter{every: every, burst: burst, sources: map[netip.Addr]*rate.Limiter{}}
}

func (l *limiter) allow(from netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.sources[from]
	if !ok {
		if len(l.sources) >= maxSources {
			clear(l.sources)
		}
		r = rate.NewLimiter(rate.Every(l.every), l.burst)
		l.sources[from] = r
	}
	return r.AllowN(now, 1)
}

// recent remembers a bounded number of things for a while; the oldest use is not kept track
// of: a full table starts afresh, which only costs what it was meant to save.
type recent[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

// swap stores what fn makes of the stored value and returns it.
func (r *recent[K, V]) swap(k K, fn func(old V, known bool) V) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil || len(r.m) >= maxSources {
		r.m = map[K]V{}
	}
	old, ok := r.m[k]
	v := fn(old, ok)
	r.m[k] = v
	return v
}
