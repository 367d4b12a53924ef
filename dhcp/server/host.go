package server

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
)

// defaultGateway is the gateway of the default route over an interface, from a table in the
// form of /proc/net/route; zero when there is none.
func defaultGateway(table, iface string) netip.Addr {
	b, err := os.ReadFile(table)
	if err != nil {
		return netip.Addr{}
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] != iface || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(f[2]) // in the machine's byte order
		if err != nil || len(raw) != 4 {
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(raw))
		if gw := netip.AddrFrom4(a); !gw.IsUnspecified() {
			return gw
		}
	}
	return netip.Addr{}
}

// resolvers are the IPv4 name servers of a resolv.conf that others can use as well.
func resolvers(file string) []netip.Addr {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() && !a.IsLoopback() && len(out) < 3 {
			out = append(out, a)
		}
	}
	return out
}
