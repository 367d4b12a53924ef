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
	p, ok := s.post.Get().(*post)
	if !ok {
		p = new(post)
	}
	for port, c := range l.ports {
		for i := range out {
			if o := &out[i]; o.to.From == port && (o.to.MAC.IsZero() || l.raw == nil) {
				p.add(o)
			}
		}
		p.send(c)
	}
	s.post.Put(p)
}

// post is room for what one system call sends.
type post struct {
	list []ipv4.Message
	from []*outgoing
	room []*postRoom
}

// postRoom is what a message points to.
type postRoom struct {
	b    [1][]byte
	ip   [4]byte
	addr net.UDPAddr
}

func (p *post) add(o *outgoing) {
	i := len(p.list)
	if i == len(p.room) {
		p.room = append(p.room, new(postRoom))
	}
	m := p.room[i]
	m.b[0], m.ip = o.b, broadcast.As4()
	if o.to.MAC.IsZero() && o.to.To.Addr().Is4() {
		m.ip = o.to.To.Addr().As4()
	}
	m.addr = net.UDPAddr{IP: m.ip[:], Port: int(o.to.To.Port())}
	p.list, p.from = append(p.list, ipv4.Message{Buffers: m.b[:], Addr: &m.addr}), append(p.from, o)
}

// send sends what was added.
func (p *post) send(c *ipv4.PacketConn) {
	list, from := p.list, p.from
	for len(list) > 0 {
		n, err := c.WriteBatch(list, 0)
		if err != nil {
			n = max(n, 0)
			from[n].err = err
			n++
		}
		list, from = list[n:], from[n:]
	}
	clear(p.list)
	clear(p.from)
	p.list, p.from = p.list[:0], p.from[:0]
}

func (s *Server) sendFrame(l *link, o *outgoing) error {
	s.mu.Lock()
	self := l.self(nil, o.to.To.Addr())
	s.mu.Unlock()
	f := frame(l.mac, o.to.MAC, netip.AddrPortFrom(self, o.to.From), o.to.To, o.b)
	_, err := l.raw.WriteTo(f, &packet.Addr{HardwareAddr: o.to.MAC[:]})
	return err
}
