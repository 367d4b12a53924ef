package server

import (
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// TestClockJumps sets the clock to another decade and back, as a board without a battery does before and after it
// heard a time server: every machine keeps its address, no two live leases share one, and new machines get theirs.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	for _, c := range []struct {
		name  string
		jumps []time.Duration
	}{
		{"forward by ten years", []time.Duration{years}},
		{"back by ten years", []time.Duration{-years}},
		{"forward and back again", []time.Duration{years, -years}},
		{"back and forward again", []time.Duration{-years, years}},
		{"by an hour, to and fro", []time.Duration{time.Hour, -time.Hour, time.Hour, -time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, dhcp.RoleServer, nil)
			machines := func(round, n int) (out []inventory.MAC) {
				for i := range n {
					out = append(out, inventory.MAC{2, 0xc, byte(round), 0, 0, byte(i)})
				}
				return out
			}
			has := map[inventory.MAC]netip.Addr{}
			for _, m := range machines(0, 30) {
				has[m] = b.dora(m)
			}
			for round, d := range c.jumps {
				b.clock.Add(d)
				for m, ip := range has { // what they have is renewed: a machine knows nothing of our clock
					b.say(msg(t, dhcpv4.MessageTypeRequest, m, func(p *dhcpv4.DHCPv4) { p.ClientIPAddr = ip.AsSlice() }))
					if ack := b.hear(); yiaddr(ack.m) != ip {
						t.Errorf("after jump %d %s renews %s and gets %s", round, m, ip, ack.m.Summary())
					}
				}
				for _, m := range machines(round+1, 10) {
					has[m] = b.dora(m)
				}
				live := map[netip.Addr]lease.HW{}
				for _, l := range b.s.Leases() {
					if !l.Live(b.clock.Now()) {
						continue
					}
					if other, twice := live[l.IP]; twice {
						t.Errorf("%s is leased to %v and %v", l.IP, other, l.HW)
					}
					live[l.IP] = l.HW
				}
				if len(live) != len(has) {
					t.Errorf("after jump %d: %d live leases of %d machines", round, len(live), len(has))
				}
			}
		})
	}
}
