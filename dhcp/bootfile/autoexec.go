package bootfile

import (
	"net/netip"
	"strings"
)

// Base is http://A:PORT of the boot listener, without the port when it is HTTP's own.
func Base(boot netip.AddrPort) string { return base(boot) }

// Autoexec is the script that newer iPXE fetches beside its own file before its own DHCP (R19),
// by TFTP or HTTP. The firmware's lease is known to iPXE at that time, only its interface is
// not open yet (seen with trixie's snponly.efi: "Network unreachable" without ifopen), so a
// DHCP round of its own, about 3 s, is spared. It also rescues machines behind a router
// with one fixed boot file name, where iPXE would load itself for ever. When that does not
// work DHCP is tried for about two minutes: a switch may block its port for spanning tree
// that long (R21). In the end the firmware goes on with its boot order.
func Autoexec(boot netip.AddrPort) string {
	chain := "chain --replace " + ScriptURL(boot)
	return strings.Join([]string{
		"#!ipxe",
		"echo Hatchery: asking " + base(boot) + " what to boot.",
		"set tries:int32 0",
		"isset ${ip} || goto dhcp",
		"ifopen || goto dhcp",
		chain + " || goto dhcp",
		":dhcp",
		"ifclose ||",
		"dhcp || goto failed",
		chain + " || goto failed",
		":failed",
		"inc tries",
		"iseq ${tries} 24 && goto giveup ||",
		"sleep 3 || shell ||",
		"goto dhcp",
		":giveup",
		"echo Hatchery at " + base(boot) + " does not answer: going on with the next boot device.",
		"exit 1",
		"",
	}, "\n")
}
