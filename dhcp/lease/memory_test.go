package lease

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// poolOf is a pool with so many leases, each with client id and name, and the bytes of heap that they take in it; the
// table of the range itself, 8 bytes for each of its addresses, is not among them.
func poolOf(tb testing.TB, leases int) (p *Pool, taken uint64) {
	tb.Helper()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	p, err := NewPool(Config{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Range: Range{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.250.0")}})
	if err != nil {
		tb.Fatal(err)
	}
	before := heap()
	for i := range leases {
		hw := HW{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		ip, err := p.Pick(hw, netip.Addr{}, t0)
		if err != nil {
			tb.Fatal(err)
		}
		p.Hold(ip, hw, t0)
		p.Put(Lease{IP: ip, HW: hw, ClientID: append([]byte{1}, hw[:]...), Hostname: "machine", Granted: t0, Renewed: t0, Expires: t0.Add(time.Hour)})
	}
	taken = heap() - before
	runtime.KeepAlive(p)
	return p, taken
}

// TestMemoryOfALargeSite: 60,000 leases, with client id and name, fit in 10 MB.
func TestMemoryOfALargeSite(t *testing.T) { // not parallel: it looks at the heap
	const n = 60000
	_, got := poolOf(t, n)
	t.Logf("%d bytes a lease", got/n)
	if got > 10<<20 {
		t.Errorf("%d leases take %d MB, want at most 10", n, got>>20)
	}
}

// BenchmarkLease is what a lease takes in memory, and the time that a client's first one takes in the pool.
func BenchmarkLease(b *testing.B) {
	for _, n := range []int{1000, 9000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var taken uint64
			for b.Loop() {
				_, taken = poolOf(b, n)
			}
			b.ReportMetric(float64(taken)/float64(n), "B/lease")
			b.ReportMetric(float64(taken)/(1<<20), "MB")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/lease")
			b.ReportMetric(0, "ns/op")
		})
	}
}
