package server

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// TestFloodOfInventedMachines: 10,000 hardware addresses ask for an address and a boot file and never take what they are
// offered, three times over, on a range of 100. The known host and the reserved one boot all the while, a newcomer
// still gets an address, and nothing grows with the flood.
func TestFloodOfInventedMachines(t *testing.T) { // not parallel: it looks at the heap
	newcomer, reserved := inventory.MAC{0x52, 0x54, 0, 9, 9, 9}, inventory.MAC{0x52, 0x54, 0, 7, 7, 7}
	b := newBench(t, dhcp.RoleServer, func(c *Config) {
		c.Leases = &memLeases{reserved: []lease.Reservation{{HW: lease.HW(reserved), IP: self.Next().Next()}}}
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.s.notes.run(ctx) }()
	home := b.dora(labMAC, pxe(7))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var after [3]uint64
	for round := range after {
		for i := range 10000 {
			b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, byte(round), 0, 0, byte(i >> 8), byte(i)}, pxe(7)))
			b.hear()
			if i%100 == 0 {
				b.clock.Add(5 * time.Millisecond)
			}
			if i%1000 != 500 {
				continue
			}
			if ip := b.dora(labMAC, pxe(7)); ip != home {
				t.Fatalf("the known host got %s, had %s", ip, home)
			}
			if ip := b.dora(reserved); ip != self.Next().Next() {
				t.Fatalf("the reserved host got %s", ip)
			}
		}
		b.s.pending.Wait()
		after[round] = heap()
	}
	b.dora(newcomer)
	b.s.pending.Wait()
	b.s.mu.Lock()
	u := b.s.segments[0].Pool.Usage(b.clock.Now())
	b.s.mu.Unlock()
	if u.Live != 2 || u.Held > u.Size {
		t.Errorf("the pool after the flood: %+v, want the known host and the newcomer live", u)
	}
	if grown := int64(after[2]) - int64(after[0]); grown > 4<<20 {
		t.Errorf("the heap grew by %d kB from 10,000 to 30,000 invented machines", grown>>10)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(b.hosts()); n > 3*strangersAtOnce {
		t.Errorf("the flood made %d hosts", n)
	}
}

func TestLimitInAll(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	storm := func(now time.Time) (allowed int) {
		for i := range 2 * inAll {
			if l.allow(inventory.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, now) {
				allowed++
			}
		}
		return allowed
	}
	if got := storm(now); got != inAll {
		t.Errorf("of %d messages in one instant %d were looked at, want %d", 2*inAll, got, inAll)
	}
	if got := storm(now.Add(100 * time.Millisecond)); got != inAll/10 {
		t.Errorf("a tenth of a second later: got %d, want %d", got, inAll/10)
	}
}
