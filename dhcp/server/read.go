package server

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/dhcp"
)

// readAtOnce is how many packets one system call takes in at most.
const readAtOnce = 32

// arrival is how a packet came in.
type arrival struct {
	link *link
	port uint16 // ours
	src  netip.AddrPort
	// toUs says that it was sent to an address of ours rather than broadcast: a client that
	// renews through a router.
	toUs bool
}

// read answers every packet of a socket until the socket is closed.
func (s *Server) read(l *link, port uint16, c *ipv4.PacketConn) {
	list := make([]ipv4.Message, readAtOnce)
	for i := range list {
		list[i].Buffers, list[i].OOB = [][]byte{make([]byte, dhcp.MaxMessage)}, ipv4.NewControlMessage(ipv4.FlagInterface|ipv4.FlagDst)
	}
	var now, stored []*answer // those that can leave, those whose leases are to be stored first
	for {
		n, err := c.ReadBatch(list, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Debug("socket", "iface", l.name, "err", err)
			continue
		}
		for _, m := range list[:n] {
			index, dst := packetInfo(m.OOB[:m.NN])
			if index != 0 && index != l.index {
				continue // SO_BINDTODEVICE already sees to that
			}
			a := s.take(arrival{link: l, port: port, src: addrPort(m.Addr), toUs: dst != broadcast}, m.Buffers[0][:m.N])
			switch {
			case a == nil:
			case a.d.Lease != nil:
				stored = append(stored, a)
			default:
				now = append(now, a)
			}
		}
		if len(stored) > 0 {
			s.storeFirst(stored, n == 1)
		}
		s.finish(now)
		clear(now)
		clear(stored)
		now, stored = now[:0], stored[:0]
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// packetInfo is the interface that a packet came in by (0 = the kernel does not say) and the address that it was sent to (ip(7), IP_PKTINFO).
func packetInfo(oob []byte) (index int, dst netip.Addr) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0, dst
		}
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo {
			return int(int32(binary.NativeEndian.Uint32(data))), netip.AddrFrom4([4]byte(data[8:12]))
		}
		oob = rest
	}
	return 0, dst
}
