package server

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"

	"github.com/staged-hive/hatchery/dhcp"
)

// outgoing is a reply on its way to the wire.
type outgoing struct {
	to  dhcp.SendTo
	b   []byte
	err error // why it was not sent
}

// transmit sends replies, as many as possible by one system call: a frame of our own to a client that
// has no address yet, else UDP from the socket the request came to.
func (s *Server) transmit(l *link, out []outgoing) {
	for i := range out {
		o := &out[i]
		switch {
		case !o.to.MAC.IsZero() && l.raw != nil:
			o.err = s.sendFrame(l, o)
		case l.ports[o.to.From] == nil:
			o.err = fmt.Errorf("no socket for port %d", o.to.From)
		}
	}
	for port, c := range l.ports {
		var list []ipv4.Message
		var from []*outgoing
		for i := range out {
			o := &out[i]
			if o.to.From != port || !o.to.MAC.IsZero() && l.raw != nil {
				continue
			}
			dst := o.to.To
			if !o.to.MAC.IsZero() {
				dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dst.Port())
			}
			list = append(list, ipv4.Message{Buffers: [][]byte{o.b}, Addr: net.UDPAddrFromAddrPort(dst)})
			from = append(from, o)
		}
		for len(list) > 0 {
			n, err := c.WriteBatch(list, 0)
			if err != nil {
				n = max(n, 0)
				from[n].err = err
				n++
			}
			list, from = list[n:], from[n:]
		}
	}
}

func (s *Server) sendFrame(l *link, o *outgoing) error {
	s.mu.Lock()
	self := l.self(nil, o.to.To.Addr())
	s.mu.Unlock()
	f := frame(l.mac, o.to.MAC, netip.AddrPortFrom(self, o.to.From), o.to.To, o.b)
	_, err := l.raw.WriteTo(f, &packet.Addr{HardwareAddr: o.to.MAC[:]})
	return err
}
