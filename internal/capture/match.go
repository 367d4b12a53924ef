package capture

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/staged-hive/hatchery/inventory"
)

// datagram is what is looked at of a frame.
type datagram struct {
	srcMAC, dstMAC inventory.MAC
	src, dst       netip.AddrPort
	payload        []byte // as far as it was kept
	length         int    // of the frame, as its IP header says
}

// parse reads a frame with UDP over IPv4; ok is false for anything else.
func parse(b []byte) (d datagram, ok bool) {
	if len(b) < 14+20+8 || binary.BigEndian.Uint16(b[12:]) != 0x0800 {
		return d, false
	}
	ip := b[14:]
	head := int(ip[0]&15) * 4
	if ip[0]>>4 != 4 || head < 20 || ip[9] != 17 || len(ip) < head+8 || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
		return d, false
	}
	copy(d.dstMAC[:], b[0:6])
	copy(d.srcMAC[:], b[6:12])
	udp := ip[head:]
	d.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp[0:]))
	d.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(udp[2:]))
	d.payload = udp[8:]
	d.length = 14 + int(binary.BigEndian.Uint16(ip[2:]))
	return d, true
}

// client is the machine that a DHCP message is of or for, by its hardware address field; zero when it is none.
func (d *datagram) client() (mac inventory.MAC) {
	if len(d.payload) >= 34 && d.payload[1] == 1 && d.payload[2] == 6 { // Ethernet, six bytes
		copy(mac[:], d.payload[28:34])
	}
	return mac
}

// assigned is the address that a DHCP message gives to its client or says that it has; zero when none.
func (d *datagram) assigned() netip.Addr {
	if len(d.payload) < 20 {
		return netip.Addr{}
	}
	for _, at := range []int{16, 12} { // yiaddr, ciaddr
		if a := netip.AddrFrom4([4]byte(d.payload[at : at+4])); !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// host picks the frames of one machine: by its MACs, and behind a router by its addresses, to which it adds those that
// its own DHCP messages tell of.
type host struct {
	macs []inventory.MAC
	ips  []netip.Addr
}

// dhcp reports whether a frame is a DHCP message of or for the host.
func (h *host) dhcp(b []byte) bool {
	d, ok := parse(b)
	if !ok || !slices.Contains(h.macs, d.client()) {
		return false
	}
	if a := d.assigned(); a.IsValid() && !slices.Contains(h.ips, a) {
		h.ips = append(h.ips, a)
	}
	return true
}

// tftp reports whether a frame is a TFTP packet of or for the host.
func (h *host) tftp(b []byte) bool {
	d, ok := parse(b)
	return ok && (slices.Contains(h.macs, d.srcMAC) || slices.Contains(h.macs, d.dstMAC) || slices.Contains(h.ips, d.src.Addr()) || slices.Contains(h.ips, d.dst.Addr()))
}
