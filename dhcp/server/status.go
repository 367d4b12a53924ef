package server

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// Status is what the network page shows.
type Status struct {
	Mode Mode   `json:"mode"` // what was asked for
	Role string `json:"role"` // what it is now: "server", "proxy", "off", "probing"
	// Why is the sentence that explains Role.
	Why        string      `json:"why"`
	Interfaces []Interface `json:"interfaces"`
	// Servers are the other DHCP and ProxyDHCP servers ever seen.
	Servers []Other `json:"servers"`
	// Rivals are those of them that give addresses where we do and were heard lately; none while we are a ProxyDHCP.
	Rivals []Other `json:"rivals,omitempty"`
	// Silent are servers that gave addresses and do not answer any more while we are a ProxyDHCP: machines get none.
	Silent []Other `json:"silent,omitempty"`
	// NoServer says that we are a ProxyDHCP and heard nobody who gives addresses, although we asked more than once.
	NoServer bool `json:"no_server,omitempty"`
	// Pools are the segments with a range.
	Pools []Pool `json:"pools"`
	// Decisions are the last ones, newest first.
	Decisions []Logged `json:"decisions"`
	Counters  Counters `json:"counters"`
}

// Interface is a network interface that is served, or why it is not.
type Interface struct {
	Name  string         `json:"name"`
	MAC   inventory.MAC  `json:"mac"`
	Addrs []netip.Prefix `json:"addrs"`
	// Raw says that replies go straight to clients without an address; else they are broadcast.
	Raw bool `json:"raw"`
	// Why is the sentence that says why it is served.
	Why string `json:"why"`
	// Note is a sentence when something is not as it should be, "" otherwise.
	Note string `json:"note,omitempty"`
}

// Pool is the state of one segment's addresses.
type Pool struct {
	Prefix  netip.Prefix `json:"prefix"`
	Range   string       `json:"range"`
	Router  netip.Addr   `json:"router,omitzero"`
	Relayed bool         `json:"relayed,omitempty"`
	lease.Usage
}

// Logged is one decision.
type Logged struct {
	Time  time.Time     `json:"time"`
	Iface string        `json:"iface"`
	MAC   inventory.MAC `json:"mac"`
	Relay netip.Addr    `json:"relay,omitzero"`
	Kind  dhcp.Kind     `json:"kind"`
	Arch  string        `json:"arch,omitempty"`
	Asked string        `json:"asked"`           // "DISCOVER", "REQUEST", …
	Reply string        `json:"reply"`           // "OFFER", "ACK", "NAK", "" = silence
	IP    netip.Addr    `json:"ip,omitzero"`     // the address given
	Boot  string        `json:"boot,omitempty"`  // the boot file or URL offered
	Why   string        `json:"reason"`          // in a sentence
	Times int           `json:"times,omitempty"` // how often in a row, when more than once
}

// Counters count since the start.
type Counters struct {
	Received     uint64 `json:"received"`
	Malformed    uint64 `json:"malformed"`
	Limited      uint64 `json:"limited"` // beyond the rate limits
	Offers       uint64 `json:"offers"`
	ProxyOffers  uint64 `json:"proxy_offers"`
	Acks         uint64 `json:"acks"`
	Naks         uint64 `json:"naks"`
	Silent       uint64 `json:"silent"`
	OtherServer  uint64 `json:"other_server"` // clients that chose another server
	CommitErrors uint64 `json:"commit_errors"`
	SendErrors   uint64 `json:"send_errors"`
	NotesDropped uint64 `json:"notes_dropped"` // diary lines lost because the disk was behind
	RouterAdvs   uint64 `json:"router_advs"`
}

type counters struct {
	rules rules

	received, malformed, limited, offers, proxyOffers, acks, naks, silent, other, commitErrors, sendErrors, notesDropped, routerAdvs atomic.Uint64
}

func (c *counters) snapshot() Counters {
	return Counters{Received: c.received.Load(), Malformed: c.malformed.Load(), Limited: c.limited.Load(), Offers: c.offers.Load(),
		ProxyOffers: c.proxyOffers.Load(), Acks: c.acks.Load(), Naks: c.naks.Load(), Silent: c.silent.Load(), OtherServer: c.other.Load(),
		CommitErrors: c.commitErrors.Load(), SendErrors: c.sendErrors.Load(), NotesDropped: c.notesDropped.Load(), RouterAdvs: c.routerAdvs.Load()}
}

func (c *counters) decided(req *dhcp.Request, d *dhcp.Decision) {
	c.rules.add(req, d)
	switch {
	case d.Reply == nil:
		c.silent.Add(1)
	case d.Reply.Type == dhcp.Offer && d.Reply.YIAddr.IsValid():
		c.offers.Add(1)
	case d.Reply.Type == dhcp.Offer:
		c.proxyOffers.Add(1)
	case d.Reply.Type == dhcp.Ack:
		c.acks.Add(1)
	case d.Reply.Type == dhcp.Nak:
		c.naks.Add(1)
	}
}

// keepDecisions is how many decisions Status shows.
const keepDecisions = 100

// ring keeps the last decisions; one that repeats itself is counted, not listed again.
type ring struct {
	mu   sync.Mutex
	list [keepDecisions]Logged
	n    int // how many were ever added; the newest is at (n-1) % keepDecisions
}

func (g *ring) add(req *dhcp.Request, d *dhcp.Decision, iface string, now time.Time) {
	e := Logged{Time: now, Iface: iface, MAC: req.MAC, Relay: req.Relay, Kind: req.Kind, Asked: req.Type.String(), Boot: d.Offered, Why: d.Reason}
	if req.HasArch {
		e.Arch = req.Arch.String()
	}
	if d.Reply != nil {
		e.Reply, e.IP = d.Reply.Type.String(), d.Reply.YIAddr
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n > 0 {
		last := &g.list[(g.n-1)%keepDecisions]
		same := *last
		same.Times, same.Time = 0, e.Time
		if same == e {
			last.Times, last.Time = max(last.Times, 1)+1, now
			return
		}
	}
	g.list[g.n%keepDecisions] = e
	g.n++
}

// snapshot is what it holds, newest first.
func (g *ring) snapshot() []Logged {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Logged, 0, min(g.n, keepDecisions))
	for i := range min(g.n, keepDecisions) {
		out = append(out, g.list[(g.n-1-i)%keepDecisions])
	}
	return out
}

// Status says what the server is doing and why.
func (s *Server) Status() Status {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Mode: s.cfg.Mode, Role: string(s.role), Why: s.why, Servers: s.others.list(), Decisions: s.ring.snapshot(), Counters: s.count.snapshot()}
	switch {
	case s.cfg.Mode == ModeOff:
		st.Role = "off"
	case s.role == "":
		st.Role = "probing"
	}
	st.NoServer = s.role == dhcp.RoleProxy && !s.others.give() && s.asked > 1 && now.Sub(s.began) > lookEnough
	st.Silent = s.silent()
	for _, x := range st.Silent {
		st.Why += " " + x.Silence()
	}
	if s.role == dhcp.RoleServer {
		st.Rivals = slices.DeleteFunc(s.rivals(), func(x Other) bool { return now.Sub(x.Last) > 3*lookRarely })
	}
	for _, l := range s.links {
		st.Interfaces = append(st.Interfaces, Interface{Name: l.name, MAC: l.mac, Addrs: slices.Clone(l.addrs), Raw: l.raw != nil, Why: l.why, Note: l.note})
	}
	slices.SortFunc(st.Interfaces, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	if s.role == dhcp.RoleServer && !s.cfg.Range.IsZero() && !slices.ContainsFunc(s.segments, func(g *segment) bool { return !g.relayed && s.onLink(g) }) {
		st.Why += " But the range " + s.cfg.Range.String() + " is on no interface's subnet at present: machines get no address from it."
	}
	for _, g := range s.segments {
		st.Pools = append(st.Pools, Pool{Prefix: g.Pool.Prefix(), Range: g.Pool.Range().String(), Router: g.Router, Relayed: g.relayed, Usage: g.Pool.Usage(now)})
	}
	slices.SortStableFunc(st.Pools, func(a, b Pool) int {
		return cmp.Or(boolInt(a.Relayed)-boolInt(b.Relayed), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return st
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
