package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/inventory"
)

// secondVeth is another pair, srv2 with 10.1.0.2/24 and cli2.
func secondVeth(t *testing.T) (srv, cli *net.Interface) {
	t.Helper()
	run(t, "ip link add srv2 type veth peer name cli2")
	t.Cleanup(func() { run(t, "ip link del srv2") })
	run(t, "ip addr add 10.1.0.2/24 dev srv2")
	run(t, "ip link set srv2 up")
	run(t, "ip link set cli2 up")
	var err error
	if srv, err = net.InterfaceByName("srv2"); err != nil {
		t.Fatal(err)
	}
	if cli, err = net.InterfaceByName("cli2"); err != nil {
		t.Fatal(err)
	}
	return srv, cli
}

// TestOnVethSeveralInterfaces: each is answered on where the question came, with the address there; addresses are given
// only on the range's own.
func TestOnVethSeveralInterfaces(t *testing.T) {
	_, cli := veth(t)
	_, cli2 := secondVeth(t)
	cfg := wireConfig(t, ModeServer)
	cfg.Interfaces = []string{"srv", "srv2"}
	s := serve(t, cfg)
	one := wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
	two := wireClient{listener: listenOn(t, cli2, 0x0800), mac: inventory.MAC(cli2.HardwareAddr)}
	for _, c := range []wireClient{one, two} {
		c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67", pxe(7))
	}
	if h := one.answer(dhcpv4.MessageTypeOffer); !cfg.Range.Contains(yiaddr(h.DHCPv4)) || h.ServerIPAddr.String() != "10.0.0.2" {
		t.Errorf("on the range's interface: %s", h.Summary())
	}
	if h := two.answer(dhcpv4.MessageTypeOffer); !h.YourIPAddr.IsUnspecified() || h.ServerIPAddr.String() != "10.1.0.2" || h.ServerIdentifier().String() != "10.1.0.2" {
		t.Errorf("on the other: %s; want a boot offer from its own address, and no address of a foreign subnet", h.Summary())
	}
	if got := s.Status().Interfaces; len(got) != 2 || got[0].Name != "srv" || got[1].Name != "srv2" {
		t.Errorf("interfaces %+v", got)
	}
}

// TestOnVethNoLinkOpensAfterTheEnd: a look at the interfaces that ends after the program's stop leaves no socket that nobody closes.
func TestOnVethNoLinkOpensAfterTheEnd(t *testing.T) {
	veth(t)
	s, err := New(wireConfig(t, ModeServer))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s.closeLinks()
	if err := s.pollLinks(ctx, false); err != nil {
		t.Error(err)
	}
	if len(s.links) != 0 {
		t.Error("an interface is served after the end")
	}
	s.closeLinks()
	s.sockets.Wait()
}

// TestOnVethLinkDownAndUp: a cable that is pulled is shown, and served again once it is back.
func TestOnVethLinkDownAndUp(t *testing.T) {
	_, cli := veth(t)
	s := serve(t, wireConfig(t, ModeServer))
	c := wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
	c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67")
	before := c.answer(dhcpv4.MessageTypeOffer).YourIPAddr
	run(t, "ip link set cli down")
	until(t, "the page says that the link is down", func() bool { return strings.Contains(s.Status().Interfaces[0].Note, "link is down") })
	run(t, "ip link set cli up")
	until(t, "the note is gone", func() bool { return s.Status().Interfaces[0].Note == "" })
	c = wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
	c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67")
	if after := c.answer(dhcpv4.MessageTypeOffer).YourIPAddr; !after.Equal(before) {
		t.Errorf("offered %s before the link went down and %s after", before, after)
	}
	if got := s.Status().Role; got != "server" {
		t.Errorf("role %s", got)
	}
}

// TestOnVethAddressMoves: the interface's address changes inside the subnet, the subnet grows, and at last the
// interface leaves it.
func TestOnVethAddressMoves(t *testing.T) {
	_, cli := veth(t)
	s := serve(t, wireConfig(t, ModeServer))
	c := wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
	move := func(addr string) {
		t.Helper()
		run(t, "ip addr flush dev srv")
		run(t, "ip addr add "+addr+" dev srv")
		want := []netip.Prefix{netip.MustParsePrefix(addr)}
		until(t, addr+" is seen", func() bool {
			got := s.Status().Interfaces
			return len(got) == 1 && len(got[0].Addrs) == 1 && got[0].Addrs[0] == want[0]
		})
	}
	offer := func(server, mask string) string {
		t.Helper()
		c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67", pxe(7))
		h := c.answer(dhcpv4.MessageTypeOffer)
		if h.ServerIdentifier().String() != server || h.ServerIPAddr.String() != server || net.IP(h.SubnetMask()).String() != mask {
			t.Errorf("server %s, next-server %s, mask %s; want %s, %s", h.ServerIdentifier(), h.ServerIPAddr, net.IP(h.SubnetMask()), server, mask)
		}
		return h.YourIPAddr.String()
	}
	ip := offer("10.0.0.2", "255.255.255.0")
	c.say(dhcpv4.MessageTypeRequest, "0.0.0.0:68", "255.255.255.255:67", wants(netip.MustParseAddr(ip)), ours)
	c.answer(dhcpv4.MessageTypeAck)
	move("10.0.0.9/24")
	if got := offer("10.0.0.9", "255.255.255.0"); got != ip {
		t.Errorf("offered %s, had %s", got, ip)
	}
	move("10.0.0.9/16")
	if got := offer("10.0.0.9", "255.255.0.0"); got != ip {
		t.Errorf("offered %s, had %s", got, ip)
	}
	move("192.168.9.9/24")
	c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67", pxe(7))
	if h := c.answer(dhcpv4.MessageTypeOffer); !h.YourIPAddr.IsUnspecified() || h.ServerIPAddr.String() != "192.168.9.9" {
		t.Errorf("on a subnet without a range: %s", h.Summary())
	}
	if why := s.Status().Why; !strings.Contains(why, "on no interface's subnet") {
		t.Errorf("the page says %q", why)
	}
}

// warnings counts what is logged.
type warnings struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *warnings) count(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.b.String(), text)
}

// TestOnVethWithoutRawSockets: without CAP_NET_RAW replies to clients without an address are broadcast, which is
// said once; other servers cannot be looked for, so server mode has to be insisted on.
func TestOnVethWithoutRawSockets(t *testing.T) {
	_, cli := veth(t)
	secondVeth(t)
	log := &warnings{}
	c := wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
	begin := func(force bool) (*Server, chan error) {
		cfg := wireConfig(t, ModeServer)
		cfg.Interfaces, cfg.Force, cfg.Log = []string{"srv", "srv2"}, force, slog.New(slog.NewTextHandler(log, nil))
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread without the capability ends with this goroutine
			dropNetRaw(t)
			done <- s.Run(t.Context())
		}()
		return s, done
	}
	_, done := begin(false)
	if err := <-done; err == nil || errors.Is(err, ErrOtherServer) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Fatalf("server mode that cannot look for others: %v", err)
	}
	s, done := begin(true)
	t.Cleanup(func() { <-done })
	<-s.Ready()
	c.say(dhcpv4.MessageTypeDiscover, "0.0.0.0:68", "255.255.255.255:67", dhcpv4.WithBroadcast(false))
	h := c.answer(dhcpv4.MessageTypeOffer)
	h.expect(t, "a client without an address", everybody, "255.255.255.255:68", h.YourIPAddr.String())
	if s.Status().Interfaces[0].Raw {
		t.Error("the status claims raw sockets")
	}
	if n := log.count("no raw socket (CAP_NET_RAW)"); n != 2 { // once for each of the two runs, not for each interface
		t.Errorf("said %d times in two runs", n)
	}
}

// dropNetRaw takes CAP_NET_RAW from the present thread.
func dropNetRaw(t *testing.T) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		t.Error(err)
	}
	d[0].Effective &^= 1 << unix.CAP_NET_RAW
	if err := unix.Capset(&h, &d[0]); err != nil {
		t.Error(err)
	}
}
