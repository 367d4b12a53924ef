package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// link is one interface that is served. Its fields are written under Server.mu; what the
// readers use (name, index, sockets) does not change while the sockets are open.
type link struct {
	name  string
	index int
	mac   inventory.MAC
	addrs []netip.Prefix // IPv4, not link-local
	up    bool           // it has a carrier
	why   string
	note  string
	ports map[uint16]*ipv4.PacketConn
	raw   *packet.Conn       // to send frames; nil without CAP_NET_RAW
	stop  context.CancelFunc // ends what runs beside the readers
}

// has reports whether the interface is on the subnet.
func (l *link) has(p netip.Prefix) bool {
	return slices.ContainsFunc(l.addrs, func(a netip.Prefix) bool { return a.Masked() == p })
}

// self is our address on the interface as the client should know it: in its segment's subnet, in
// the subnet of the address it has, else the first.
func (l *link) self(seg *segment, client netip.Addr) netip.Addr {
	for _, a := range l.addrs {
		if seg != nil && seg.Pool.Prefix().Contains(a.Addr()) {
			return a.Addr()
		}
	}
	for _, a := range l.addrs {
		if client.IsValid() && a.Contains(client) {
			return a.Addr()
		}
	}
	if len(l.addrs) > 0 {
		return l.addrs[0].Addr()
	}
	return netip.Addr{}
}

// pollLinks compares the interfaces with what is served: opens new ones, follows addresses, closes
// what is gone. The first time a port that cannot be opened is an error; later it is noted.
func (s *Server) pollLinks(ctx context.Context, first bool) error {
	found, err := interfaces(s.cfg.Interfaces, first)
	if err != nil {
		return err
	}
	s.mu.Lock()
	var stale []*link
	for name, l := range s.links {
		i := slices.IndexFunc(found, func(f iface) bool { return f.name == name && f.index == l.index })
		if i < 0 || found[i].mac != l.mac { // sockets, probes and frames are made for a hardware address: they are opened anew
			stale = append(stale, l)
			delete(s.links, name)
			continue
		}
		if !slices.Equal(l.addrs, found[i].addrs) {
			s.log.Info("interface address changed", "iface", name, "ip", found[i].addrs)
			l.addrs = found[i].addrs
		}
		l.up, l.note = found[i].up, found[i].note()
	}
	s.mu.Unlock()
	for _, l := range stale {
		s.log.Warn("network interface is gone, or has another hardware address", "iface", l.name, "mac", l.mac)
		l.close()
	}
	for _, f := range found {
		s.mu.Lock()
		_, known := s.links[f.name]
		s.mu.Unlock()
		if known {
			continue
		}
		l, err := s.open(ctx, f)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && first {
			return err
		}
		if err != nil {
			s.log.Error("network interface cannot be served", "iface", f.name, "err", err)
			continue
		}
		s.log.Info("serving DHCP", "iface", l.name, "ip", l.addrs)
	}
	return s.placeRange()
}

// placeRange makes the pool of Config.Range once an interface on its subnet is there, makes it anew when that subnet
// changes, and keeps our own addresses out of all pools.
func (s *Server) placeRange() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.selves()
	for _, g := range s.segments {
		g.Pool.Exclude(slices.Concat(own, []netip.Addr{g.Router}, g.DNS, s.cfg.DNS))
	}
	old := slices.IndexFunc(s.segments, func(g *segment) bool { return !g.relayed })
	if s.cfg.Range.IsZero() || old >= 0 && (s.onLink(s.segments[old]) || s.segments[old].Pool.Busy()) {
		return nil
	}
	for _, l := range s.links {
		for _, a := range l.addrs {
			if !a.Contains(s.cfg.Range.First) || !a.Contains(s.cfg.Range.Last) {
				continue
			}
			router := s.cfg.Router
			if !router.IsValid() {
				router = defaultGateway("/proc/net/route", l.name)
			}
			if !a.Contains(router) {
				router = netip.Addr{}
			}
			if old >= 0 {
				s.log.Info("the subnet of the range changed", "iface", l.name, "ip", a)
				s.segments = slices.Delete(s.segments, old, old+1)
			}
			pc := lease.Config{Prefix: a.Masked(), Range: s.cfg.Range, Exclude: slices.Concat(own, []netip.Addr{router}, s.cfg.DNS)}
			return s.addSegment(pc, router, nil, false)
		}
	}
	return nil
}

// onLink reports whether an interface is on the segment's subnet.
func (s *Server) onLink(g *segment) bool {
	for _, l := range s.links {
		if l.has(g.Pool.Prefix()) {
			return true
		}
	}
	return false
}

// open opens the ports of an interface and starts its readers.
func (s *Server) open(ctx context.Context, f iface) (*link, error) {
	ctx, stop := context.WithCancel(ctx)
	l := &link{name: f.name, index: f.index, mac: f.mac, addrs: f.addrs, up: f.up, why: f.why, note: f.note(), ports: map[uint16]*ipv4.PacketConn{}, stop: stop}
	for _, port := range []uint16{dhcp.PortServer, dhcp.PortPXE} {
		c, err := listen(ctx, f.name, port)
		if err != nil {
			l.close()
			return nil, err
		}
		l.ports[port] = c
	}
	raw, err := packet.Listen(&net.Interface{Index: f.index, Name: f.name}, packet.Raw, 0, nil) // protocol 0: send only
	if err == nil {
		l.raw = raw
	} else {
		s.sayBroadcast.Do(func() {
			s.log.Warn("no raw socket (CAP_NET_RAW): replies to clients without an address are broadcast, and other DHCP servers cannot be looked for", "iface", f.name, "err", err)
		})
	}
	s.mu.Lock()
	over := ctx.Err() // closeLinks may have been here already: nobody would close these any more
	if over == nil {
		s.links[f.name] = l
	}
	s.mu.Unlock()
	if over != nil {
		l.close()
		return nil, over
	}
	for port, c := range l.ports {
		s.sockets.Go(func() { s.read(l, port, c) })
	}
	s.sockets.Go(func() { s.listenServers(ctx, l) })
	if s.cfg.RouterAdv {
		s.sockets.Go(func() { s.advertise(ctx, l) })
	}
	return l, nil
}

func (l *link) close() {
	l.stop()
	for _, c := range l.ports {
		_ = c.Close() // only a closed socket's error is possible
	}
	if l.raw != nil {
		_ = l.raw.Close()
	}
}

func (s *Server) closeLinks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.links {
		l.close()
		delete(s.links, name)
	}
}

// iface is what the system says of an interface.
type iface struct {
	name  string
	index int
	mac   inventory.MAC
	addrs []netip.Prefix
	up    bool
	why   string // why it is served
}

func (f *iface) note() string {
	switch {
	case !f.up:
		return "The link is down: check the cable."
	case len(f.addrs) == 0:
		return "It has no IPv4 address yet."
	}
	return ""
}

// virtual are name prefixes of interfaces that lead to containers, tunnels and virtual machines of
// this box, where no machine netboots.
var virtual = []string{"docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "tun", "tap", "wg", "tailscale", "zt", "podman", "lxc", "kube"}

// sites are the networks beside RFC 1918 whose addresses are no stranger's: shared (RFC 6598), benchmarks (RFC 2544) and
// documentation (RFC 5737), which laboratories use.
var sites = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24")}

// inside reports whether an interface with the address leads to a network of one's own. One with a public address may lead to
// the provider, whose customers are nobody we answer unasked.
func inside(a netip.Prefix) bool {
	return a.Addr().IsPrivate() || slices.ContainsFunc(sites, func(p netip.Prefix) bool { return p.Contains(a.Addr()) })
}

// interfaces finds the ones to serve: those named, or all Ethernet ones with a private address that are backed by
// hardware, or, when no hardware shows (a container, a namespace), those that do not look virtual.
// must says that a named one that does not exist is an error.
func interfaces(names []string, must bool) ([]iface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	var named, hard, soft []iface
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagPointToPoint != 0 || len(i.HardwareAddr) != 6 || i.Flags&net.FlagBroadcast == 0 {
			continue
		}
		f := iface{name: i.Name, index: i.Index, mac: inventory.MAC(i.HardwareAddr), up: i.Flags&net.FlagRunning != 0, addrs: ipv4Addrs(&i)}
		_, noHardware := os.Stat(filepath.Join("/sys/class/net", i.Name, "device"))
		switch {
		case slices.Contains(names, i.Name):
			f.why = "It was named (--interface)."
			named = append(named, f)
		case noHardware == nil:
			f.why = "It is a network card with a private IPv4 address."
			hard = append(hard, f)
		case !slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(i.Name, p) }):
			f.why = "It has a private IPv4 address and does not lead to containers or tunnels."
			soft = append(soft, f)
		}
	}
	if len(names) == 0 {
		if len(hard) > 0 {
			// A bridge over the hardware has the address then, and is what clients are behind.
			soft = slices.Concat(hard, soft)
		}
		return slices.DeleteFunc(soft, func(f iface) bool { return !slices.ContainsFunc(f.addrs, inside) }), nil
	}
	if len(named) < len(names) && must {
		for _, n := range names {
			if !slices.ContainsFunc(named, func(f iface) bool { return f.name == n }) {
				return nil, fmt.Errorf("interface %s: there is no such Ethernet interface; see `ip link` for the names", n)
			}
		}
	}
	return named, nil
}

func ipv4Addrs(i *net.Interface) []netip.Prefix {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out
}
