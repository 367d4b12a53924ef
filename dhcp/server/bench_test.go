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

// BenchmarkDORA is the processor's share of one DISCOVER, OFFER, REQUEST, ACK with so many leases in the
// pool, without disk and network: it stays flat.
func BenchmarkDORA(b *testing.B) {
	for _, n := range []int{10, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, l := benchServer(b, nil)
			pool := s.segments[0].Pool
			now := time.Now()
			for i := range n {
				hw := lease.HW{4, 0, byte(i >> 16), byte(i >> 8), byte(i)}
				ip, err := pool.Pick(hw, netip.Addr{}, now)
				if err != nil {
					b.Fatal(err)
				}
				pool.Put(lease.Lease{IP: ip, HW: hw, State: lease.StateBound, Expires: now.Add(time.Hour)})
			}
			var clients [1000][2][]byte
			for i := range clients {
				mac := inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
				ip, err := pool.Pick(lease.HW(mac), netip.Addr{}, now)
				if err != nil {
					b.Fatal(err)
				}
				pool.Put(lease.Lease{IP: ip, HW: lease.HW(mac), State: lease.StateBound, Expires: now.Add(time.Hour)})
				clients[i] = [2][]byte{msg(b, dhcpv4.MessageTypeDiscover, mac), msg(b, dhcpv4.MessageTypeRequest, mac, wants(ip), ours)}
			}
			a := arrival{link: l, port: 67}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				c := &clients[i%len(clients)]
				i++
				handle(s, a, c[0])
				handle(s, a, c[1])
				s.pending.Wait()
			}
		})
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
	if a, ok := s.take(from, b); ok {
		s.finish([]answer{a})
	}
}
