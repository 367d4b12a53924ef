package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// TestWire runs the tests below over a real veth pair, in a network namespace that is this test's alone.
func TestWire(t *testing.T) {
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("network test: needs root and a network namespace; set HATCHERY_E2E=1 to run it")
	}
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOnVeth", "-test.v", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), "HATCHERY_WIRE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out, []byte("\n--- PASS: TestOnVeth")); n < 15 {
		t.Fatalf("%d of the tests on the wire ran", n)
	}
}

// veth makes the pair: the server's end srv with 10.0.0.2/24, and the clients' end cli.
func veth(t *testing.T) (srv, cli *net.Interface) {
	t.Helper()
	if os.Getenv("HATCHERY_WIRE") != "1" {
		t.Skip("runs inside TestWire's namespace")
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	ip("link", "add", "srv", "type", "veth", "peer", "name", "cli")
	t.Cleanup(func() { ip("link", "del", "srv") })
	for _, i := range []string{"srv", "cli"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+i+"/accept_dad", []byte("0"), 0o644); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.EROFS) {
			t.Fatal(err)
		}
		ip("link", "set", i, "up")
	}
	ip("addr", "add", "10.0.0.2/24", "dev", "srv")
	for name, i := range map[string]**net.Interface{"srv": &srv, "cli": &cli} {
		f, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		*i = f
	}
	ip("neigh", "replace", "10.0.0.7", "lladdr", cli.HardwareAddr.String(), "dev", "srv")
	ip("-6", "neigh", "replace", "fe80::77", "lladdr", cli.HardwareAddr.String(), "dev", "srv")
	return srv, cli
}

func wireConfig(t *testing.T, mode Mode) Config {
	t.Helper()
	rng, err := lease.ParseRange("10.0.0.100-10.0.0.199")
	if err != nil {
		t.Fatal(err)
	}
	return Config{Interfaces: []string{"srv"}, Mode: mode, Range: rng, HTTPPort: 8080, ProbeFor: 500 * time.Millisecond, RouterAdv: true,
		Store: inventorytest.NewStore(t), Leases: &memLeases{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// serve runs a server until the test ends and waits until it is ready.
func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- nil
		t.Fatal("Run ended:", err)
	}
	return s
}

// until polls a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatal("not within a minute: ", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestOnVethClientsGetAddresses(t *testing.T) {
	_, cli := veth(t)
	cfg := wireConfig(t, ModeServer)
	s := serve(t, cfg)
	for name, mods := range map[string][]dhcpv4.Modifier{
		"straight to the client": {dhcpv4.WithBroadcast(false)},
		"broadcast":              {dhcpv4.WithBroadcast(true)},
	} {
		mac := net.HardwareAddr{2, 0, 0, 0, 1, byte(len(name))}
		if name == "straight to the client" {
			mac = cli.HardwareAddr
		}
		c, err := nclient4.New("cli", nclient4.WithHWAddr(mac), nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(2))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Request(t.Context(), mods...)
		if err != nil {
			t.Fatalf("%s: %v; decisions %+v", name, err, s.Status().Decisions)
		}
		if ip := yiaddr(got.ACK); !cfg.Range.Contains(ip) || got.ACK.ServerIdentifier().String() != "10.0.0.2" {
			t.Errorf("%s: %s", name, got.ACK.Summary())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	until(t, "both ACKs are counted, which is after they left", func() bool { return s.Status().Counters.Acks >= 2 })
	if st := s.Status(); len(s.Leases()) != 2 || st.Counters.Acks != 2 || len(st.Interfaces) != 1 || !st.Interfaces[0].Raw || st.Interfaces[0].Why == "" {
		t.Errorf("status %+v", st)
	}
}

// listener hears frames on the clients' end.
type listener struct {
	t *testing.T
	c *packet.Conn
}

func listenOn(t *testing.T, i *net.Interface, ethertype int) listener {
	t.Helper()
	c, err := packet.Listen(i, packet.Raw, ethertype, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return listener{t, c}
}

func (l listener) send(b []byte, to net.HardwareAddr) {
	l.t.Helper()
	if _, err := l.c.WriteTo(b, &packet.Addr{HardwareAddr: to}); err != nil {
		l.t.Fatal(err)
	}
}

// hear waits for a frame that want accepts.
func (l listener) hear(what string, want func(f []byte) bool) {
	l.t.Helper()
	if err := l.c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		n, _, err := l.c.ReadFrom(buf)
		if err != nil {
			l.t.Fatalf("%s: %v", what, err)
		}
		if want(buf[:n]) {
			return
		}
	}
}

func reply(f []byte) (*dhcpv4.DHCPv4, netip.AddrPort, bool) {
	_, src, payload, ok := unframe(f)
	if !ok || len(payload) < 240 || payload[0] != 2 {
		return nil, src, false
	}
	m, err := dhcpv4.FromBytes(payload)
	return m, src, err == nil
}

func TestOnVethProxyAnswersOnBothPorts(t *testing.T) {
	srv, cli := veth(t)
	serve(t, wireConfig(t, ModeProxy))
	l := listenOn(t, cli, 0x0800)
	mac := inventory.MAC(cli.HardwareAddr)
	all := inventory.MAC{255, 255, 255, 255, 255, 255}
	l.send(frame(mac, all, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"),
		msg(t, dhcpv4.MessageTypeDiscover, mac, pxe(7))), all[:])
	l.hear("a proxy offer", func(f []byte) bool {
		m, src, ok := reply(f)
		return ok && src.String() == "10.0.0.2:67" && m.YourIPAddr.IsUnspecified() && string(m.Options[60]) == "PXEClient" && m.ServerIPAddr.String() == "10.0.0.2"
	})
	l.send(frame(mac, inventory.MAC(srv.HardwareAddr), netip.MustParseAddrPort("10.0.0.7:4011"), netip.MustParseAddrPort("10.0.0.2:4011"),
		msg(t, dhcpv4.MessageTypeRequest, mac, pxe(7), raw(54, 10, 0, 0, 2))), srv.HardwareAddr)
	l.hear("an answer at port 4011", func(f []byte) bool {
		m, src, ok := reply(f)
		return ok && src.String() == "10.0.0.2:4011" && binary.BigEndian.Uint16(f[36:]) == 4011 && m.BootFileName == "snponly.efi"
	})
}

func TestOnVethTakenPortIsNamed(t *testing.T) {
	veth(t)
	serve(t, wireConfig(t, ModeProxy))
	s, err := New(wireConfig(t, ModeProxy))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "UDP port 67 on srv is taken by") || !strings.Contains(err.Error(), "(pid ") {
		t.Errorf("got %v", err)
	}
}

func TestOnVethMissingInterfaceIsNamed(t *testing.T) {
	veth(t)
	cfg := wireConfig(t, ModeProxy)
	cfg.Interfaces = []string{"srv", "eth77"}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "eth77") {
		t.Errorf("got %v", err)
	}
}

// routerOn answers every DISCOVER on the interface as a home router would.
func routerOn(t *testing.T, cli *net.Interface) {
	t.Helper()
	l := listenOn(t, cli, 0x0800)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, _, err := l.c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _, payload, ok := unframe(buf[:n])
			if !ok || len(payload) < 240 || payload[0] != 1 {
				continue
			}
			m, err := dhcpv4.FromBytes(payload)
			if err != nil || m.MessageType() != dhcpv4.MessageTypeDiscover {
				continue
			}
			r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(net.IP{10, 0, 0, 30}), raw(54, 10, 0, 0, 1))
			if err != nil {
				continue
			}
			all := inventory.MAC{255, 255, 255, 255, 255, 255}
			_, _ = l.c.WriteTo(frame(inventory.MAC(cli.HardwareAddr), all, netip.MustParseAddrPort("10.0.0.1:67"), netip.MustParseAddrPort("255.255.255.255:68"), r.ToBytes()),
				&packet.Addr{HardwareAddr: all[:]})
		}
	}()
}

func TestOnVethGuard(t *testing.T) {
	_, cli := veth(t)
	t.Run("auto without a router becomes a server", func(t *testing.T) {
		s := serve(t, wireConfig(t, ModeAuto))
		until(t, "server", func() bool { return s.Status().Role == "server" })
	})
	t.Run("auto steps back when a router appears, and stays a proxy after a restart without it", func(t *testing.T) {
		cfg := wireConfig(t, ModeAuto)
		log := &warnings{}
		cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		t.Run("first run", func(t *testing.T) {
			s := serve(t, cfg)
			until(t, "server", func() bool { return s.Status().Role == "server" })
			routerOn(t, cli)
			c := wireClient{listener: listenOn(t, cli, 0x0800), mac: inventory.MAC(cli.HardwareAddr)}
			// A machine that chooses the router's offer gives it away: we ask, and the router answers.
			c.say(dhcpv4.MessageTypeRequest, "0.0.0.0:68", "255.255.255.255:67", wants(netip.MustParseAddr("10.0.0.30")), raw(54, 10, 0, 0, 1))
			until(t, "proxy", func() bool { st := s.Status(); return st.Role == "proxy" && strings.Contains(st.Why, "Stepped back") })
			if n := log.count("level=ERROR msg=\"another DHCP server appeared: stepped back to ProxyDHCP"); n != 1 {
				t.Errorf("said %d times in the log, want once and loudly", n)
			}
			if got := s.Status().Servers; len(got) != 1 || got[0].IP.String() != "10.0.0.1" || got[0].MAC != c.mac {
				t.Errorf("servers %+v", got)
			}
		})
		t.Run("second run, nobody answers", func(t *testing.T) {
			s := serve(t, cfg)
			until(t, "the role is explained", func() bool { return strings.Contains(s.Status().Why, "gave addresses here before") })
			if got := s.Status().Role; got != "proxy" {
				t.Errorf("role %s", got)
			}
		})
	})
	routerOn(t, cli)
	t.Run("auto beside a router stays a proxy", func(t *testing.T) {
		s := serve(t, wireConfig(t, ModeAuto))
		until(t, "the router is seen", func() bool { return len(s.Status().Servers) == 1 })
		until(t, "the role is explained", func() bool {
			return strings.Contains(s.Status().Why, "10.0.0.1 ("+cli.HardwareAddr.String()+") gives addresses")
		})
	})
	t.Run("server mode beside a router refuses", func(t *testing.T) {
		s, err := New(wireConfig(t, ModeServer))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); !errors.Is(err, ErrOtherServer) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("server mode insists", func(t *testing.T) {
		cfg := wireConfig(t, ModeServer)
		cfg.Force = true
		if s := serve(t, cfg); s.Status().Role != string(dhcp.RoleServer) {
			t.Errorf("status %+v", s.Status())
		}
	})
}

func TestOnVethAddressesInUseAreKeptOut(t *testing.T) {
	_, cli := veth(t)
	if out, err := exec.Command("ip", "addr", "add", "10.0.0.101/32", "dev", "cli").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cfg := wireConfig(t, ModeServer)
	cfg.Force = true // the shortest start
	s := serve(t, cfg)
	if l := s.Leases(); len(l) != 1 || l[0].IP.String() != "10.0.0.101" || l[0].State != lease.StateQuarantined {
		t.Errorf("records %+v: want the address in use known before the first message is answered", l)
	}
	// The very address that is asked for: it was looked at ahead of the question, so the offer of another one comes at once. A
	// server that waited for a probe would be late for each of the clients, a busy machine is not.
	l, all := listenOn(t, cli, 0x0800), inventory.MAC{255, 255, 255, 255, 255, 255}
	least := time.Hour
	for n := byte(0); n < 8 && least >= probeWait; n++ {
		mac, began := inventory.MAC{2, 0, 0, 0, 9, n}, time.Now()
		l.send(frame(mac, all, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"),
			msg(t, dhcpv4.MessageTypeDiscover, mac, dhcpv4.WithBroadcast(true), wants(netip.MustParseAddr("10.0.0.101")))), all[:])
		l.hear("an offer of another address", func(f []byte) bool {
			m, _, ok := reply(f)
			return ok && inventory.MAC(m.ClientHWAddr) == mac && yiaddr(m) != netip.MustParseAddr("10.0.0.101") && cfg.Range.Contains(yiaddr(m))
		})
		least = min(least, time.Since(began))
	}
	if least >= probeWait {
		t.Errorf("no offer took less than %v: they waited for a probe", least)
	}
}

// TestOnVethFollowsTheInterface: an interface that is unplugged and comes back, as a USB adapter does.
func TestOnVethFollowsTheInterface(t *testing.T) {
	_, cli := veth(t)
	s := serve(t, wireConfig(t, ModeProxy))
	l := listenOn(t, cli, 0x0800)
	mac, all := inventory.MAC(cli.HardwareAddr), inventory.MAC{255, 255, 255, 255, 255, 255}
	ask := func(server string) {
		t.Helper()
		l.send(frame(mac, all, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), msg(t, dhcpv4.MessageTypeDiscover, mac, pxe(7))), all[:])
		l.hear("an offer of "+server, func(f []byte) bool {
			m, _, ok := reply(f)
			return ok && m.ServerIPAddr.String() == server && m.ServerIdentifier().String() == server
		})
	}
	ask("10.0.0.2")
	run(t, "ip link del srv")
	until(t, "the interface is gone", func() bool { return len(s.Status().Interfaces) == 0 })
	run(t, "ip link add srv type veth peer name cli")
	until(t, "the interface is back", func() bool { return len(s.Status().Interfaces) == 1 })
	for _, line := range []string{"ip addr add 10.0.0.3/24 dev srv", "ip link set srv up", "ip link set cli up"} {
		run(t, line)
	}
	until(t, "its address is seen", func() bool { got := s.Status().Interfaces; return len(got[0].Addrs) == 1 && got[0].Note == "" })
	again, err := net.InterfaceByName("cli")
	if err != nil {
		t.Fatal(err)
	}
	l, mac = listenOn(t, again, 0x0800), inventory.MAC(again.HardwareAddr)
	ask("10.0.0.3")
	// A bridge takes another hardware address when ports come and go: what is sent must come from that one.
	other := inventory.MAC{2, 0xab, 0, 0, 0, 7}
	run(t, "ip link set srv address "+other.String())
	until(t, "its hardware address is seen", func() bool { got := s.Status().Interfaces; return len(got) == 1 && got[0].MAC == other })
	ask("10.0.0.3")
	l.send(frame(mac, all, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), msg(t, dhcpv4.MessageTypeDiscover, mac, pxe(7))), all[:])
	l.hear("an offer from the new hardware address", func(f []byte) bool {
		_, _, ok := reply(f)
		return ok && inventory.MAC(f[6:12]) == other
	})
}

func TestOnVethRouterSolicitationIsAnsweredWithNothing(t *testing.T) {
	srv, cli := veth(t)
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/srv"); err != nil {
		t.Skip("this kernel has no IPv6")
	}
	s := serve(t, wireConfig(t, ModeProxy))
	l := listenOn(t, cli, 0x86dd)
	solicit := func() { l.send(solicitation(cli.HardwareAddr), []byte{0x33, 0x33, 0, 0, 0, 2}) }
	// The server joins the group a moment after it is ready.
	until(t, "a solicitation is answered", func() bool { solicit(); return s.Status().Counters.RouterAdvs > 0 })
	l.hear("an advertisement", func(f []byte) bool {
		if len(f) < 70 || f[20] != 58 || f[54] != 134 || !bytes.Equal(f[38:54], net.ParseIP("fe80::77")) {
			return false
		}
		if f[21] != 255 || f[59] != 0 || f[60] != 0 || f[61] != 0 || len(f) != 70 || !bytes.Equal(f[6:12], srv.HardwareAddr) {
			t.Errorf("advertisement % x: want hop limit 255, no flags, lifetime 0, no options", f[14:])
		}
		return true
	})
}

// solicitation is an Ethernet frame with a router solicitation from fe80::77 (RFC 4861 §4.1).
func solicitation(mac net.HardwareAddr) []byte {
	b := make([]byte, 14+40+8)
	copy(b, []byte{0x33, 0x33, 0, 0, 0, 2})
	copy(b[6:], mac)
	binary.BigEndian.PutUint16(b[12:], 0x86dd)
	b[14], b[19], b[20], b[21] = 0x60, 8, 58, 255
	copy(b[22:], net.ParseIP("fe80::77"))
	copy(b[38:], net.ParseIP("ff02::2"))
	b[54] = 133
	binary.BigEndian.PutUint16(b[56:], fold(sum(sum(8+58, b[22:54]), b[54:])))
	return b
}
