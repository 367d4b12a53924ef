package bootfile

import (
	"net/netip"
	"strings"
)

// Base is http://A:PORT of the boot listener, without the port when it is HTTP's own.
func Base(boot netip.AddrPort) string { return base(boot) }

// Autoexec is the script that newer iPXE fetches beside its own file before its own DHCP (R19),
// by TFTP or HTTP. It spares that DHCP where the firmware's lease is known already, and it
// rescues machines behind a router with one fixed boot file name, where iPXE would load
// itself for ever. DHCP is retried for about two minutes: a switch may block its port for
// spanning tree that long (R21). In the end the firmware goes on with its boot order.
func Autoexec(boot netip.AddrPort) string {
	return strings.Join([]string{
		"#!ipxe",
		"echo Hatchery: asking " + base(boot) + " what to boot.",
		"set tries:int32 0",
		":script",
		"isset ${ip} || dhcp || goto failed",
		"chain --replace " + ScriptURL(boot) + " || goto failed",
		":failed",
		"inc tries",
		"iseq ${tries} 24 && goto giveup ||",
		"sleep 3 || shell ||",
		"ifclose ||",
		"dhcp || goto failed",
		"goto script",
		":giveup",
		"echo Hatchery at " + base(boot) + " does not answer: going on with the next boot device.",
		"exit 1",
		"",
	}, "\n")
}
