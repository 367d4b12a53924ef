package server

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// routerQuiet is how long after another router's advertisement we stay silent.
const routerQuiet = 30 * time.Minute

// routerAdv is an advertisement that says nothing: router lifetime 0, no prefix, no flags
// and hop limit left open (RFC 4861 §4.2). The body starts after type, code and checksum.
var routerAdv = []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// advertise answers router solicitations on the interface with an advertisement of nothing, sent to the
// one that asks only. iPXE ROMs of 2019 wait 13 to 16 s after their ACK for a router that never
// answers; this ends the wait at once (captures/bios-tuned against bios-server). Where a
// router advertises it keeps out of the way.
func (s *Server) advertise(ctx context.Context, l *link) {
	c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		s.log.Info("IPv6 router solicitations are not answered: old iPXE ROMs wait some seconds longer", "iface", l.name, "err", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	p := c.IPv6PacketConn()
	ifi := &net.Interface{Index: l.index, Name: l.name}
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterSolicitation)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	for _, err := range []error{
		p.SetICMPFilter(&f), p.SetControlMessage(ipv6.FlagInterface|ipv6.FlagHopLimit, true), p.SetHopLimit(255), p.SetMulticastHopLimit(255),
		p.JoinGroup(ifi, &net.UDPAddr{IP: net.IPv6linklocalallrouters}), p.JoinGroup(ifi, &net.UDPAddr{IP: net.IPv6linklocalallnodes}),
	} {
		if err != nil {
			s.log.Info("IPv6 router solicitations are not answered: old iPXE ROMs wait some seconds longer", "iface", l.name, "err", err)
			_ = c.Close()
			return
		}
	}
	s.advertiseOn(ctx, l, p)
}

func (s *Server) advertiseOn(ctx context.Context, l *link, p *ipv6.PacketConn) {
	// Ask once ourselves, to know whether there is a router before the first machine asks.
	all := &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: l.name}
	s.sendICMP(l, p, ipv6.ICMPTypeRouterSolicitation, make([]byte, 4), all)
	var router time.Time
	buf := make([]byte, 1500)
	for {
		n, cm, src, err := p.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil || !wait(ctx, time.Second) {
				return
			}
			continue
		}
		// RFC 4861 §6.1: a hop limit of 255 proves that no router passed it on.
		if cm == nil || cm.IfIndex != l.index || cm.HopLimit != 255 || n < 8 {
			continue
		}
		from, ok := src.(*net.IPAddr)
		now := s.cfg.Now()
		if ipv6.ICMPType(buf[0]) == ipv6.ICMPTypeRouterAdvertisement {
			router = now // ours are never sent to ourselves: a router runs here, perhaps on this very machine
			continue
		}
		if !ok || from.IP.IsUnspecified() || now.Sub(router) < routerQuiet || s.ownV6(l, from.IP) {
			continue
		}
		if s.sendICMP(l, p, ipv6.ICMPTypeRouterAdvertisement, routerAdv, &net.IPAddr{IP: from.IP, Zone: l.name}) {
			s.count.routerAdvs.Add(1)
			s.log.Debug("router solicitation answered with nothing", "iface", l.name, "ip", from.IP)
		}
	}
}

// sendICMP reports whether the message was sent: an interface that has just come up may not have an IPv6 address yet.
func (s *Server) sendICMP(l *link, p *ipv6.PacketConn, t ipv6.ICMPType, body []byte, dst net.Addr) bool {
	b, err := (&icmp.Message{Type: t, Body: &icmp.RawBody{Data: body}}).Marshal(nil) // the kernel adds the checksum
	if err == nil {
		_, err = p.WriteTo(b, &ipv6.ControlMessage{HopLimit: 255, IfIndex: l.index}, dst)
	}
	if err != nil {
		s.log.Debug("ICMPv6 not sent", "iface", l.name, "err", err)
	}
	return err == nil
}

// ownV6 reports whether the address is one of the interface's own.
func (s *Server) ownV6(l *link, ip net.IP) bool {
	ifi, err := net.InterfaceByIndex(l.index)
	if err != nil {
		return false
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().WithZone("") == netip.AddrFrom16([16]byte(ip.To16())) {
			return true
		}
	}
	return false
}
