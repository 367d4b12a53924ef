package server

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// doraOf is a server with so many leases, and a function that plays one DISCOVER, OFFER, REQUEST, ACK with it.
func doraOf(tb testing.TB, leases int) (dora func()) {
	tb.Helper()
	s, l := benchServer(tb, nil)
	pool := s.segments[0].Pool
	now := time.Now()
	give := func(hw lease.HW) netip.Addr {
		ip, err := pool.Pick(hw, netip.Addr{}, now)
		if err != nil {
			tb.Fatal(err)
		}
		pool.Put(lease.Lease{IP: ip, HW: hw, State: lease.StateBound, Expires: now.Add(time.Hour)})
		return ip
	}
	for i := range leases {
		give(lease.HW{4, 0, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	var clients [1000][2][]byte
	for i := range clients {
		mac := inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		ip := give(lease.HW(mac))
		clients[i] = [2][]byte{msg(tb, dhcpv4.MessageTypeDiscover, mac), msg(tb, dhcpv4.MessageTypeRequest, mac, wants(ip), ours)}
	}
	from := arrival{link: l, port: 67}
	i := 0
	return func() {
		c := &clients[i%len(clients)]
		i++
		handle(s, from, c[0])
		handle(s, from, c[1])
		s.pending.Wait()
	}
}

// BenchmarkDORA is the processor's share of one DISCOVER, OFFER, REQUEST, ACK with so many leases in the
// pool, without disk and network: it stays flat.
func BenchmarkDORA(b *testing.B) {
	for _, n := range []int{10, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dora := doraOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				dora()
			}
		})
	}
}

// TestCostOfAPacketIsFlat: an exchange costs as much with 60,000 leases as with 10, counted in allocations: times depend on
// the machine's load.
func TestCostOfAPacketIsFlat(t *testing.T) { // not parallel: it counts allocations
	few, many := testing.AllocsPerRun(200, doraOf(t, 10)), testing.AllocsPerRun(200, doraOf(t, 60000))
	t.Logf("%.0f allocations with 10 leases, %.0f with 60,000", few, many)
	if many > 1.1*few+2 || many > 30 { // the race detector has a pool forget some of what it holds
		t.Errorf("%.0f allocations with 60,000 leases, %.0f with 10: want a tenth more at most, and at most 30", many, few)
	}
}

// benchServer is a server on a /16 without sockets, whose replies go nowhere.
func benchServer(tb testing.TB, edit func(*Config)) (*Server, *link) {
	tb.Helper()
	ticks := time.Now()
	cfg := Config{Mode: ModeServer, Range: lease.Range{First: netip.MustParseAddr("10.0.0.10"), Last: netip.MustParseAddr("10.0.255.200")}, HTTPPort: 8080,
		Store: noStore{}, Leases: &memLeases{}, Now: func() time.Time { ticks = ticks.Add(50 * time.Millisecond); return ticks }}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	l := &link{name: "eth0", index: 1, addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/16")}, stop: func() {}}
	s.links["eth0"] = l
	if err := s.placeRange(); err != nil {
		tb.Fatal(err)
	}
	s.setRole(dhcp.RoleServer, "benchmark")
	s.send = func(*link, []outgoing) {}
	return s, l
}

// noStore is an inventory nobody asks: plain clients need none.
type noStore struct{ inventory.Store }

// handle is what the reader of a socket does with one packet.
func handle(s *Server, from arrival, b []byte) {
	switch a := s.take(from, b); {
	case a == nil:
	case a.d.Lease != nil:
		s.storeFirst([]*answer{a}, false)
	default:
		s.finish([]*answer{a})
	}
}
