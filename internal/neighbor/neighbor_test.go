package neighbor

import (
	"net/netip"
	"strings"
	"testing"
)

// As Linux 6.1 writes it.
const table = `IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         52:54:00:aa:bb:01     *        eth0
192.0.2.2        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.3        0x1         0x0         52:54:00:aa:bb:03     *        eth0
192.0.2.3        0x1         0x6         52:54:00:aa:bb:04     *        eth1
192.0.2.5        0x20        0x2         a0:00:02:20:fe:80:00:00:00:00:00:00     *        ib0
rubbish
192.0.2.6 0x1
`

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, ip, want string }{
		{"a complete entry", "192.0.2.1", "52:54:00:aa:bb:01"},
		{"the same address in its IPv6 form", "::ffff:192.0.2.1", "52:54:00:aa:bb:01"},
		{"an entry still being resolved", "192.0.2.2", ""},
		{"stale on one interface, complete on another", "192.0.2.3", "52:54:00:aa:bb:04"},
		{"an address that is not there", "192.0.2.4", ""},
		{"a network that is not Ethernet", "192.0.2.5", ""},
		{"a cut line", "192.0.2.6", ""},
		{"a prefix of an address", "192.0.2.11", ""},
	} {
		mac, ok := Lookup(strings.NewReader(table), netip.MustParseAddr(c.ip))
		if mac.String() != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q, %v", c.name, mac, ok)
		}
	}
}

func TestMACReadsTheKernelsTable(t *testing.T) {
	t.Parallel()
	if _, ok := MAC(netip.MustParseAddr("203.0.113.77")); ok {
		t.Error("an address nobody has is known")
	}
}
