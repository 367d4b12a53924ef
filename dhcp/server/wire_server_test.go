package server

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// run runs a command in the namespace.
func run(t *testing.T, line string) {
	t.Helper()
	w := strings.Fields(line)
	if out, err := exec.Command(w[0], w[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// wireClient is a machine on the clients' end, with its frames made by hand.
type wireClient struct {
	listener
	mac, srv inventory.MAC
}

var everybody = inventory.MAC{255, 255, 255, 255, 255, 255}

// heard is a reply as it was on the wire.
type heard struct {
	*dhcpv4.DHCPv4
	to       inventory.MAC
	src, dst netip.AddrPort
}

// say sends a message from src to dst; an address of the limited broadcast goes to everybody.
func (c wireClient) say(typ dhcpv4.MessageType, src, dst string, mods ...dhcpv4.Modifier) {
	c.t.Helper()
	to, d := c.srv, netip.MustParseAddrPort(dst)
	if d.Addr() == netip.MustParseAddr("255.255.255.255") {
		to = everybody
	}
	c.send(frame(c.mac, to, netip.MustParseAddrPort(src), d, msg(c.t, typ, c.mac, mods...)), to[:])
}

// answer waits for the next reply of that type to this machine.
func (c wireClient) answer(typ dhcpv4.MessageType) heard {
	c.t.Helper()
	var got heard
	c.hear(typ.String(), func(f []byte) bool {
		m, src, ok := reply(f)
		if !ok || !bytes.Equal(m.ClientHWAddr, c.mac[:]) || m.MessageType() != typ {
			return false
		}
		got = heard{DHCPv4: m, to: inventory.MAC(f[:6]), src: src, dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte(f[30:34])), uint16(f[36])<<8|uint16(f[37]))}
		return true
	})
	return got
}

// expect is where a reply has to go, and with which address in it.
func (h heard) expect(t *testing.T, what string, to inventory.MAC, dst, yiaddr string) {
	t.Helper()
	if h.to != to || h.src.String() != "10.0.0.2:67" || h.dst.String() != dst || h.YourIPAddr.String() != yiaddr {
		t.Errorf("%s: %s for %s from %s to %s at %s; want %s to %s at %s", what, h.MessageType(), h.YourIPAddr, h.src, h.dst, h.to, yiaddr, dst, to)
	}
}

func fromClient(ip string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ip).To4()) }

// TestOnVethServerConversation is RFC 2131 from the first DISCOVER to the last RELEASE, with real sockets.
func TestOnVethServerConversation(t *testing.T) {
	srv, cli := veth(t)
	run(t, "ip neigh replace 10.0.0.150 lladdr "+cli.HardwareAddr.String()+" dev srv")
	cfg := wireConfig(t, ModeServer)
	s := serve(t, cfg)
	c := wireClient{listenOn(t, cli, 0x0800), inventory.MAC(cli.HardwareAddr), inventory.MAC(srv.HardwareAddr)}
	const none, all, us, mine = "0.0.0.0:68", "255.255.255.255:67", "10.0.0.2:67", "10.0.0.150"
	wanted := wants(netip.MustParseAddr(mine))
	unicast := dhcpv4.WithBroadcast(false)

	c.say(dhcpv4.MessageTypeDiscover, none, all, wanted, unicast)
	c.answer(dhcpv4.MessageTypeOffer).expect(t, "INIT", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeDiscover, none, all, wanted, dhcpv4.WithBroadcast(true))
	c.answer(dhcpv4.MessageTypeOffer).expect(t, "INIT, broadcast", everybody, "255.255.255.255:68", mine)
	c.say(dhcpv4.MessageTypeRequest, none, all, wanted, ours, unicast)
	c.answer(dhcpv4.MessageTypeAck).expect(t, "SELECTING", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeRequest, none, all, wanted, unicast)
	c.answer(dhcpv4.MessageTypeAck).expect(t, "INIT-REBOOT", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeRequest, mine+":68", us, fromClient(mine))
	c.answer(dhcpv4.MessageTypeAck).expect(t, "RENEWING", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeRequest, mine+":68", all, fromClient(mine))
	c.answer(dhcpv4.MessageTypeAck).expect(t, "REBINDING", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeRequest, none, all, wants(netip.MustParseAddr("192.168.7.7")), unicast)
	c.answer(dhcpv4.MessageTypeNak).expect(t, "INIT-REBOOT from another network", everybody, "255.255.255.255:68", "0.0.0.0")
	c.say(dhcpv4.MessageTypeInform, mine+":68", us, fromClient(mine))
	if h := c.answer(dhcpv4.MessageTypeAck); h.dst.String() != mine+":68" || !h.YourIPAddr.IsUnspecified() || h.Options[51] != nil || h.SubnetMask() == nil {
		t.Errorf("INFORM: %s to %s", h.Summary(), h.dst)
	}

	c.say(dhcpv4.MessageTypeRelease, mine+":68", us, fromClient(mine), ours)
	until(t, "the lease is released", func() bool { return leaseState(s, mine) == lease.StateReleased })
	c.say(dhcpv4.MessageTypeDiscover, none, all, unicast)
	c.answer(dhcpv4.MessageTypeOffer).expect(t, "after RELEASE", c.mac, mine+":68", mine)
	c.say(dhcpv4.MessageTypeRequest, none, all, wanted, ours, unicast)
	c.answer(dhcpv4.MessageTypeAck)
	c.say(dhcpv4.MessageTypeDecline, none, all, wanted, ours)
	until(t, "the address is in quarantine", func() bool { return leaseState(s, mine) == lease.StateQuarantined })
	c.say(dhcpv4.MessageTypeDiscover, none, all, wanted, unicast)
	if h := c.answer(dhcpv4.MessageTypeOffer); h.YourIPAddr.String() == mine || !cfg.Range.Contains(yiaddr(h.DHCPv4)) {
		t.Errorf("after DECLINE: offered %s", h.YourIPAddr)
	}
}

func leaseState(s *Server, ip string) lease.State {
	for _, l := range s.Leases() {
		if l.IP.String() == ip {
			return l.State
		}
	}
	return ""
}

// TestOnVethRelay: a relay's messages are answered to the relay, at port 67, from the pool of the subnet it names.
func TestOnVethRelay(t *testing.T) {
	srv, cli := veth(t)
	run(t, "ip neigh replace 10.0.0.9 lladdr "+cli.HardwareAddr.String()+" dev srv")
	cfg := wireConfig(t, ModeServer)
	rng, err := lease.ParseRange("10.8.0.50-10.8.0.60")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Relayed = []Relayed{{Prefix: netip.MustParsePrefix("10.8.0.0/24"), Range: rng, Router: netip.MustParseAddr("10.8.0.1")}}
	serve(t, cfg)
	c := wireClient{listenOn(t, cli, 0x0800), inventory.MAC(cli.HardwareAddr), inventory.MAC(srv.HardwareAddr)}
	// The relay's address on our segment is 10.0.0.9; it names its clients' subnet in 82.5 (RFC 3527).
	circuit := []byte{1, 4, 'p', 'o', 'r', 't', 5, 4, 10, 8, 0, 0}
	relayed := func(m *dhcpv4.DHCPv4) {
		m.GatewayIPAddr, m.HopCount = net.IP{10, 0, 0, 9}, 1
		raw(82, circuit...)(m)
	}
	check := func(what string, h heard, yiaddr bool) {
		t.Helper()
		if h.to != c.mac || h.dst.String() != "10.0.0.9:67" || !h.GatewayIPAddr.Equal(net.IP{10, 0, 0, 9}) || !bytes.Equal(h.Options[82], circuit) || h.HopCount != 1 {
			t.Errorf("%s: to %s at %s, giaddr %s, option 82 % x", what, h.dst, h.to, h.GatewayIPAddr, h.Options[82])
		}
		if yiaddr && (!rng.Contains(netip.AddrFrom4([4]byte(h.YourIPAddr.To4()))) || h.Router()[0].String() != "10.8.0.1") {
			t.Errorf("%s: address %s, router %s; want the relayed subnet's", what, h.YourIPAddr, h.Router())
		}
	}
	c.say(dhcpv4.MessageTypeDiscover, "10.0.0.9:67", "10.0.0.2:67", relayed)
	offer := c.answer(dhcpv4.MessageTypeOffer)
	check("DISCOVER", offer, true)
	c.say(dhcpv4.MessageTypeRequest, "10.0.0.9:67", "10.0.0.2:67", relayed, wants(yiaddr(offer.DHCPv4)), ours)
	check("REQUEST", c.answer(dhcpv4.MessageTypeAck), true)
	c.say(dhcpv4.MessageTypeRequest, "10.0.0.9:67", "10.0.0.2:67", relayed, wants(netip.MustParseAddr("192.168.7.7")))
	nak := c.answer(dhcpv4.MessageTypeNak)
	check("a wrong address", nak, false)
	if !nak.IsBroadcast() {
		t.Error("a NAK through a relay without the broadcast bit (RFC 2131 §4.3.2)")
	}
}
