package server

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// Probing of addresses ahead of need: a stock of addresses that were found unused is kept, so
// that no OFFER waits for a probe. A range of up to 1024 addresses is all known before long; of a larger one more
// than probeBatch new machines a second would find addresses that nobody asked about.
const (
	probeStock = 1024
	probeBatch = 256         // probes a second, 60 bytes each
	probeWait  = time.Second // RFC 5227 §1.1: ANNOUNCE_WAIT and PROBE_MAX are of this order
)

// probeAddresses keeps the stock filled while we are a server, or may be one in a moment.
func (s *Server) probeAddresses(ctx context.Context) error {
	for wait(ctx, probeWait) {
		s.mu.Lock()
		serving := s.role == dhcp.RoleServer || s.looking
		s.mu.Unlock()
		if serving {
			s.probeOnce(ctx)
		}
	}
	return nil
}

// probeOnce probes the next addresses. It takes a second when there are any.
func (s *Server) probeOnce(ctx context.Context) {
	l, g, list := s.probeTarget()
	if len(list) == 0 {
		return
	}
	used, err := s.probe(ctx, l, list)
	if err != nil || ctx.Err() != nil {
		s.log.Debug("addresses not probed", "iface", l.name, "err", err)
		return
	}
	if mac, ok := answersForAll(used, len(list)); ok {
		s.sayProxyARP.Do(func() {
			s.log.Warn("one machine answers ARP for nearly every address of the range (proxy ARP): whether addresses are in use cannot be found out", "iface", l.name, "mac", mac)
		})
		return
	}
	s.proved(ctx, g, list, used)
}

// answersForAll reports whether one machine claims most of the probed addresses, as a router with proxy ARP does: that
// says nothing of who uses them.
func answersForAll(used map[netip.Addr]inventory.MAC, probed int) (inventory.MAC, bool) {
	claims := map[inventory.MAC]int{}
	for _, mac := range used {
		if claims[mac]++; claims[mac] >= 8 && claims[mac]*2 > probed {
			return mac, true
		}
	}
	return inventory.MAC{}, false
}

// probeTarget is our own segment, the interface it is on and the addresses to probe there.
func (s *Server) probeTarget() (*link, *segment, []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		for _, l := range s.links {
			if !g.relayed && l.raw != nil && l.up && l.has(g.Pool.Prefix()) {
				return l, g, g.Pool.Unproved(probeStock, probeBatch, s.cfg.Now())
			}
		}
	}
	return nil, nil, nil
}

// proved takes in what a probe found.
func (s *Server) proved(ctx context.Context, g *segment, list []netip.Addr, used map[netip.Addr]inventory.MAC) {
	now := s.cfg.Now()
	for _, ip := range list {
		mac, taken := used[ip]
		s.mu.Lock()
		if !slices.Contains(s.segments, g) {
			s.mu.Unlock()
			return // the interface moved to another subnet
		}
		conflict := taken && g.Pool.Conflicts(ip, lease.HW(mac), now)
		if !taken {
			g.Pool.Proved(ip, now)
		}
		if !conflict { // or it was given out meanwhile, and the answer is its holder's
			s.mu.Unlock()
			continue
		}
		q := g.Pool.Quarantine(ip, lease.HW{}, now, time.Hour)
		g.Pool.Claim(ip, lease.HW{})
		s.mu.Unlock()
		s.log.Warn("address is in use by somebody who did not get it from us: kept out for an hour", "ip", ip, "mac", mac)
		if s.commit([]lease.Lease{q}) == nil {
			s.say("dhcp.conflict", "warn", "Address "+ip.String()+" is used by "+mac.String()+", which did not get it from us. It is given to nobody for an hour.")
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// probeARP asks for each address with an ARP probe (RFC 5227 §2.1.1: sender address 0.0.0.0) and
// returns who answered within a second.
func probeARP(ctx context.Context, l *link, list []netip.Addr) (map[netip.Addr]inventory.MAC, error) {
	c, err := packet.Listen(&net.Interface{Index: l.index, Name: l.name}, packet.Raw, 0x0806, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	all := inventory.MAC{255, 255, 255, 255, 255, 255}
	for _, ip := range list {
		if _, err := c.WriteTo(arpProbe(l.mac, ip), &packet.Addr{HardwareAddr: all[:]}); err != nil {
			return nil, err
		}
	}
	deadline := time.Now().Add(probeWait)
	if err := c.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	used := map[netip.Addr]inventory.MAC{}
	buf := make([]byte, 128)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return used, nil // the second is over
		}
		if mac, ip, ok := arpSender(buf[:n]); ok && mac != l.mac {
			used[ip] = mac
		}
	}
}

func arpProbe(mac inventory.MAC, ip netip.Addr) []byte {
	b := make([]byte, 42)
	copy(b, []byte{255, 255, 255, 255, 255, 255})
	copy(b[6:], mac[:])
	copy(b[12:], []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1}) // ARP; Ethernet, IPv4, request
	copy(b[22:], mac[:])
	copy(b[38:], ip.AsSlice())
	return b
}

// arpSender is who an ARP packet says has which address.
func arpSender(b []byte) (inventory.MAC, netip.Addr, bool) {
	if len(b) < 42 || binary.BigEndian.Uint16(b[12:]) != 0x0806 || binary.BigEndian.Uint16(b[14:]) != 1 || binary.BigEndian.Uint16(b[16:]) != 0x0800 {
		return inventory.MAC{}, netip.Addr{}, false
	}
	ip := netip.AddrFrom4([4]byte(b[28:32]))
	return inventory.MAC(b[22:28]), ip, !ip.IsUnspecified()
}
