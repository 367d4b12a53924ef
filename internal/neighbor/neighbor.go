package neighbor

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// tablePath is the kernel's ARP table (proc(5), arp(7)).
const tablePath = "/proc/net/arp"

// flagComplete is ATF_COM of linux/if_arp.h: the entry's hardware address is known.
const flagComplete = 0x2

// MAC returns the hardware address that the kernel has for addr, false when it has none.
// IPv4 only. Safe for concurrent use.
func MAC(addr netip.Addr) (inventory.MAC, bool) {
	f, err := os.Open(tablePath)
	if err != nil {
		return inventory.MAC{}, false
	}
	defer func() { _ = f.Close() }()
	return Lookup(f, addr)
}

// Lookup finds addr in a table of the form of /proc/net/arp. When several interfaces know
// it the first one with a complete entry counts.
func Lookup(table io.Reader, addr netip.Addr) (inventory.MAC, bool) {
	want := addr.Unmap()
	s := bufio.NewScanner(table)
	for s.Scan() {
		// IP address  HW type  Flags  HW address  Mask  Device
		f := strings.Fields(s.Text())
		if len(f) < 6 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil || ip != want {
			continue
		}
		flags, err := strconv.ParseUint(f[2], 0, 32)
		if err != nil || flags&flagComplete == 0 {
			continue
		}
		if mac, err := inventory.ParseMAC(f[3]); err == nil {
			return mac, true
		}
	}
	return inventory.MAC{}, false
}
