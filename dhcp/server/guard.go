package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/inventory"
)

// ErrOtherServer says that another DHCP server answers where server mode was asked for.
var ErrOtherServer = errors.New("another DHCP server answers")

// probes is how many DISCOVERs look for other servers at start, over the first 60 % of ProbeFor.
const probes = 3

// chooseRole decides what the appliance is, DESIGN section 3: ProxyDHCP at once, a server only where it
// was asked for or nobody else is one.
func (s *Server) chooseRole(ctx context.Context) error {
	switch {
	case s.cfg.Mode == ModeProxy:
		s.setRole(dhcp.RoleProxy, "ProxyDHCP was asked for: another server gives the addresses, we add boot files.")
	case s.cfg.Mode == ModeServer && s.cfg.Force:
		s.probeOnce(ctx)
		s.setRole(dhcp.RoleServer, "Server mode was asked for, whatever else is on the network (--dhcp-force).")
	case s.cfg.Mode == ModeServer:
		s.setRole("", "Looks for other DHCP servers before it becomes one.")
		found, err := s.lookAround(ctx)
		if err != nil {
			return fmt.Errorf("DHCP server mode: other DHCP servers cannot be looked for: %w. Grant it, or insist with --dhcp-force", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if len(found) > 0 {
			return fmt.Errorf("DHCP server mode: %s gives addresses on this network already. Use --dhcp proxy beside it, switch it off, or insist with --dhcp-force: %w",
				names(found), ErrOtherServer)
		}
		s.setRole(dhcp.RoleServer, "Server mode was asked for, and no other DHCP server answered.")
	default:
		s.setRole(dhcp.RoleProxy, "ProxyDHCP until it is clear that no other server gives addresses.")
		close(s.ready)
		return s.autoRole(ctx)
	}
	if s.cfg.Mode == ModeServer && !s.placed() {
		return fmt.Errorf("DHCP server mode: the range %s is on no interface's subnet: give an interface an address there, or change --dhcp-range", s.cfg.Range)
	}
	close(s.ready)
	return nil
}

// placed reports whether there is a segment to give addresses on.
func (s *Server) placed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) > 0
}

// autoRole is --dhcp auto: it becomes a server once, or stays with ProxyDHCP.
func (s *Server) autoRole(ctx context.Context) error {
	if s.cfg.Range.IsZero() && len(s.cfg.Relayed) == 0 {
		s.setRole(dhcp.RoleProxy, "No range of addresses is configured (--dhcp-range), so another server must give them.")
	}
	for !s.linkUp() { // after a power cut the switch may still be starting: silence on a dead cable proves nothing
		if !wait(ctx, pollEvery) {
			return nil
		}
	}
	found, err := s.lookAround(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		s.setRole(dhcp.RoleProxy, "Other DHCP servers cannot be looked for ("+err.Error()+"), so it stays with ProxyDHCP.")
		return nil
	case s.cfg.Range.IsZero() && len(s.cfg.Relayed) == 0:
		if len(found) == 0 {
			s.log.Warn("no DHCP server answers on this network and no range is configured: machines get a boot file but no address. Give --dhcp-range FIRST-LAST, or switch the router's DHCP on")
			s.setRole(dhcp.RoleProxy, "No range of addresses is configured (--dhcp-range), and no other DHCP server answered: machines get no address.")
		}
		return nil
	case len(found) > 0:
		s.setRole(dhcp.RoleProxy, "ProxyDHCP, because "+names(found)+" gives addresses here.")
		return nil
	}
	s.mu.Lock()
	known := s.rivals()
	s.mu.Unlock()
	if len(known) > 0 {
		s.setRole(dhcp.RoleProxy, fmt.Sprintf("ProxyDHCP, because %s gave addresses here before (last heard %s); use --dhcp server if it is gone for good.",
			names(known), known[0].Last.Format("2006-01-02 15:04")))
		return nil
	}
	if !s.placed() {
		s.setRole(dhcp.RoleProxy, "The range "+s.cfg.Range.String()+" is on no interface's subnet, so it stays with ProxyDHCP.")
		return nil
	}
	s.setRole(dhcp.RoleServer, fmt.Sprintf("A range is configured and no other DHCP server answered within %s.", s.cfg.ProbeFor))
	s.say("dhcp.mode", "", "Became this network's DHCP server: no other one answered.")
	return nil
}

// lookAround sends DISCOVERs on all interfaces and returns the servers that gave an address
// meanwhile. It fails where no raw socket can be had.
func (s *Server) lookAround(ctx context.Context) ([]Other, error) {
	s.setLooking(true)
	defer s.setLooking(false)
	began := s.cfg.Now()
	gap := s.cfg.ProbeFor * 6 / 10 / (probes - 1)
	for i := range probes {
		if err := s.askForServers(); err != nil {
			return nil, err
		}
		if i < probes-1 && !wait(ctx, gap) {
			return nil, nil
		}
	}
	wait(ctx, s.cfg.ProbeFor-gap*(probes-1))
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Other
	for _, x := range s.rivals() {
		if !x.Last.Before(began) {
			found = append(found, x)
		}
	}
	return found, nil
}

func (s *Server) setLooking(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking = on
}

// rivals are the servers ever heard that give addresses where our range is: one on another interface's network is
// nobody's rival.
func (s *Server) rivals() []Other {
	return slices.DeleteFunc(s.others.list(), func(x Other) bool { return !s.isRival(x) })
}

func (s *Server) isRival(x Other) bool {
	if x.Proxy {
		return false
	}
	l := s.links[x.Iface]
	for _, g := range s.segments {
		if !g.relayed {
			return l == nil || l.has(g.Pool.Prefix())
		}
	}
	return true
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// askForServers sends one DISCOVER on every interface.
func (s *Server) askForServers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if err := s.ask(l); err != nil {
			return err
		}
		s.asked++
	}
	return nil
}

// discover sends a DISCOVER as this machine: a frame of our own from port 68, which a DHCP
// client of this machine may have taken. Answers are heard by listenServers.
func (s *Server) discover(l *link) error {
	if l.raw == nil {
		return errors.New("no permission for raw sockets (CAP_NET_RAW)")
	}
	m, err := dhcpv4.NewDiscovery(net.HardwareAddr(l.mac[:]), dhcpv4.WithBroadcast(true))
	if err != nil {
		return fmt.Errorf("DISCOVER: %w", err)
	}
	all := inventory.MAC{255, 255, 255, 255, 255, 255}
	f := frame(l.mac, all, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), m.ToBytes())
	if _, err := l.raw.WriteTo(f, &packet.Addr{HardwareAddr: all[:]}); err != nil {
		s.log.Debug("DISCOVER not sent", "iface", l.name, "err", err) // the link may be down
	}
	return nil
}

// How often other servers are looked for while we are one, or a ProxyDHCP that knows of none: soon after the start, for a switch may hold its
// ports back half a minute (spanning tree), and then more and more rarely.
const (
	lookSoon   = 10 * time.Second
	lookRarely = 5 * time.Minute
	lookEnough = 45 * time.Second // two looks
)

func (s *Server) keepLooking(ctx context.Context) error {
	for d := lookSoon; wait(ctx, d); d = min(2*d, lookRarely) {
		s.lookAgain()
	}
	return nil
}

// linkUp reports whether any interface has a carrier and an address.
func (s *Server) linkUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.up && len(l.addrs) > 0 {
			return true
		}
	}
	return false
}

// lookAgain asks for other servers while we are one, and while nobody is known to give addresses; a rival that is heard is
// dealt with in heardOther.
func (s *Server) lookAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role != dhcp.RoleServer && s.others.give() {
		return
	}
	for _, l := range s.links {
		s.tryAsk(l)
	}
}

func (s *Server) tryAsk(l *link) bool {
	if err := s.ask(l); err != nil {
		s.log.Debug("other DHCP servers not looked for", "iface", l.name, "err", err)
		return false
	}
	s.asked++
	return true
}

// serverFilter lets IPv4 UDP from port 67 to port 68 or 67 through: what servers say to
// clients and relays.
var serverFilter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0800, SkipTrue: 8}, // IPv4
	bpf.LoadAbsolute{Off: 23, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 17, SkipTrue: 6}, // UDP
	bpf.LoadAbsolute{Off: 20, Size: 2}, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4}, // first fragment
	bpf.LoadMemShift{Off: 14}, bpf.LoadIndirect{Off: 16, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 68, SkipTrue: 1}, // to port 68
	bpf.RetConstant{Val: dhcp.MaxMessage + 100},
	bpf.RetConstant{Val: 0},
}

// listenServers hears what other servers send on the interface, until ctx ends: answers to our own
// DISCOVERs, and broadcasts to clients at any time.
func (s *Server) listenServers(ctx context.Context, l *link) {
	filter, err := bpf.Assemble(serverFilter)
	if err != nil {
		s.log.Error("packet filter", "err", err)
		return
	}
	c, err := packet.Listen(&net.Interface{Index: l.index, Name: l.name}, packet.Raw, 0x0800, &packet.Config{Filter: filter})
	if err != nil {
		return // said once where the sending socket is opened
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	buf := make([]byte, dhcp.MaxMessage+100)
	for ctx.Err() == nil {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			if ctx.Err() == nil && !wait(ctx, time.Second) { // the link went down: try again, not in a circle
				return
			}
			continue
		}
		s.heardServer(l, buf[:n])
	}
}

// heardServer takes in a frame from port 67.
func (s *Server) heardServer(l *link, f []byte) {
	mac, src, payload, ok := unframe(f)
	if !ok || mac == l.mac || src.Port() != dhcp.PortServer || len(payload) < 240 {
		return
	}
	m, err := dhcpv4.FromBytes(append(payload[:len(payload):len(payload)], 255))
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
		return
	}
	t := m.MessageType()
	if t != dhcpv4.MessageTypeOffer && t != dhcpv4.MessageTypeAck {
		return
	}
	id, ok := netip.AddrFromSlice(m.ServerIdentifier().To4())
	if !ok {
		id = src.Addr()
	}
	x := Other{IP: id, MAC: mac, Iface: l.name, Proxy: m.YourIPAddr.IsUnspecified(), Answers: bytes.Equal(m.ClientHWAddr, l.mac[:])}
	s.heardOther(x)
}

// heardOther records another server and reacts: auto mode steps back, a plain server warns.
func (s *Server) heardOther(x Other) {
	now := s.cfg.Now()
	s.mu.Lock()
	for _, a := range s.selves() {
		if a == x.IP {
			s.mu.Unlock()
			return
		}
	}
	fresh, learned := s.others.heard(x, now)
	returned := !x.Proxy && s.heardGiver(x.Iface, now)
	list := s.others.list()
	role, back := s.role, false
	rival := s.isRival(x)
	if rival && role == dhcp.RoleServer && s.cfg.Mode == ModeAuto {
		s.role, back = dhcp.RoleProxy, true
		s.why = "Stepped back to ProxyDHCP, because " + x.String() + " started to give addresses on this network."
	}
	s.mu.Unlock()
	if returned {
		s.log.Info("the DHCP server answers again", "ip", x.IP, "mac", x.MAC, "iface", x.Iface)
		s.say("dhcp.mode", "", "The DHCP server "+x.String()+" answers again: machines get addresses.")
	}
	if !fresh && !back && !learned {
		return
	}
	if err := s.cfg.Store.Update(func(tx *inventory.Tx) error { return tx.PutJSON(inventory.BucketMeta, metaServers, list) }); err != nil {
		s.log.Error("other DHCP servers cannot be remembered", "err", err)
	}
	switch {
	case back:
		s.log.Error("another DHCP server appeared: stepped back to ProxyDHCP. Leases given until now run out", "ip", x.IP, "mac", x.MAC, "iface", x.Iface)
		s.say("dhcp.mode", "error", "Stepped back to ProxyDHCP: the DHCP server "+x.String()+" appeared. Switch one of the two off; --dhcp server makes us the server again.")
	case rival && role == dhcp.RoleServer && fresh:
		s.log.Warn("another DHCP server answers on this network: two servers give addresses", "ip", x.IP, "mac", x.MAC, "iface", x.Iface)
		s.say("dhcp.mode", "warn", "A second DHCP server answers on this network: "+x.String()+". Machines may get addresses from either; switch one off.")
	case fresh:
		s.log.Info("another server answers on this network", "ip", x.IP, "mac", x.MAC, "iface", x.Iface)
	}
}

// say writes a line into the appliance's own diary.
func (s *Server) say(kind, level, text string) {
	err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: s.cfg.Now(), Kind: kind, Level: level, Text: text})
	})
	if err != nil {
		s.log.Error("diary cannot be written", "err", err)
	}
}
