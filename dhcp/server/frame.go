package server

import (
	"encoding/binary"
	"net/netip"

	"github.com/staged-hive/hatchery/inventory"
)

// frame is an Ethernet frame with one IPv4 UDP datagram. It is written by hand because a client
// without an address answers no ARP: the kernel's own UDP would wait for it in vain.
func frame(srcMAC, dstMAC inventory.MAC, src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 14+20+8+len(payload))
	copy(b[0:], dstMAC[:])
	copy(b[6:], srcMAC[:])
	binary.BigEndian.PutUint16(b[12:], 0x0800) // IPv4
	ip := b[14:34]
	ip[0], ip[8], ip[9] = 0x45, 64, 17                    // version 4, 20 bytes of header; TTL; UDP
	ip[1] = 0x10                                          // low delay, as dhcpd and dnsmasq send it
	binary.BigEndian.PutUint16(ip[2:], uint16(len(b)-14)) // total length
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], fold(sum(0, ip)))
	udp := b[34:]
	binary.BigEndian.PutUint16(udp[0:], src.Port())
	binary.BigEndian.PutUint16(udp[2:], dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[8:], payload)
	pseudo := sum(uint32(17)+uint32(len(udp)), ip[12:20]) // RFC 768: addresses, protocol, length
	c := fold(sum(pseudo, udp))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], c)
	return b
}

// sum adds b as big-endian 16-bit words to s (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// unframe is the reverse, for frames the raw socket's filter let through: it reports the
// sender's MAC and address and the UDP payload.
func unframe(b []byte) (mac inventory.MAC, src netip.AddrPort, payload []byte, ok bool) {
	if len(b) < 14+20+8 || binary.BigEndian.Uint16(b[12:]) != 0x0800 {
		return mac, src, nil, false
	}
	copy(mac[:], b[6:12])
	ip := b[14:]
	ihl := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || ihl < 20 || ip[9] != 17 || total > len(ip) || total < ihl+8 {
		return mac, src, nil, false
	}
	udp := ip[ihl:total]
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < 8 || n > len(udp) {
		return mac, src, nil, false
	}
	src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(udp))
	return mac, src, udp[8:n], true
}
