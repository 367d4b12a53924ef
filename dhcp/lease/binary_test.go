package lease

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestWhatHasNoBinaryForm: a lease that its binary form would change is not written in it.
func TestWhatHasNoBinaryForm(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]Lease{
		"no address":         {},
		"an IPv6 address":    {IP: netip.MustParseAddr("fe80::1")},
		"an IPv6 relay":      {IP: ip(1), Relay: netip.MustParseAddr("fe80::1")},
		"a state of its own": {IP: ip(1), State: "lost"},
		"a long client id":   {IP: ip(1), ClientID: make([]byte, 256)},
		"a far time":         {IP: ip(1), Expires: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)},
		"an early time":      {IP: ip(1), Granted: time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if b, ok := l.AppendBinary([]byte{1}); ok || len(b) != 1 {
			t.Errorf("%s: got %x, %v, want nothing added", name, b, ok)
		}
	}
}

// FuzzDecodeBinary: whatever the bytes, no panic; what is a lease is the same lease when it is written again.
func FuzzDecodeBinary(f *testing.F) {
	whole := Lease{IP: ip(1), HW: hw(1), ClientID: []byte("id"), Hostname: "host", State: StateBound, Granted: t0, Expires: t0, Twin: hw(2), Relay: ip(2)}
	b, _ := whole.AppendBinary(nil)
	f.Add(b)
	f.Add(b[:37])
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeBinary(b)
		if err != nil {
			return
		}
		again, ok := l.AppendBinary(nil)
		if !ok { // a time at the very ends of what nanoseconds reach
			return
		}
		back, err := DecodeBinary(again)
		if diff := cmp.Diff(l, back, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("written again, %v (-first +again):\n%s", err, diff)
		}
	})
}
