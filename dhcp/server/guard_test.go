package server

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

var rival = Other{IP: netip.MustParseAddr("10.0.0.1"), MAC: inventory.MAC{2, 0, 0, 0, 0, 1}, Iface: "eth0"}

// TestRoles plays the guard of DESIGN section 3 on a clock of its own: which role is chosen, with
// another server that answers at once, later, in an earlier run, or never.
func TestRoles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		mode     Mode
		force    bool
		rng      string
		before   bool          // the rival was seen in an earlier run
		answers  time.Duration // when the rival answers after the start; 0 = never
		proxy    bool          // the rival gives boot files only
		atOnce   dhcp.Role
		after    dhcp.Role // 60 s later
		err      error
		why, log string
	}{
		{name: "auto, nobody else, a range", mode: ModeAuto, rng: "10.0.0.100-150", atOnce: dhcp.RoleProxy, after: dhcp.RoleServer, why: "no other DHCP server answered"},
		{name: "auto, nobody else, no range", mode: ModeAuto, atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "machines get no address"},
		{name: "auto, a router", mode: ModeAuto, rng: "10.0.0.100-150", answers: 4 * time.Second, atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "10.0.0.1 (02:00:00:00:00:01) gives addresses here"},
		{name: "auto, a router and no range", mode: ModeAuto, answers: time.Second, atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "another server must give them"},
		{name: "auto, a router seen before a power cut", mode: ModeAuto, rng: "10.0.0.100-150", before: true, atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "gave addresses here before"},
		{name: "auto, a router that comes later", mode: ModeAuto, rng: "10.0.0.100-150", answers: 30 * time.Second, atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "Stepped back"},
		{name: "auto, another ProxyDHCP is no server", mode: ModeAuto, rng: "10.0.0.100-150", answers: 2 * time.Second, proxy: true, atOnce: dhcp.RoleProxy, after: dhcp.RoleServer},
		{name: "auto, a range on no interface", mode: ModeAuto, rng: "192.168.9.100-150", atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "on no interface's subnet"},
		{name: "proxy", mode: ModeProxy, rng: "10.0.0.100-150", atOnce: dhcp.RoleProxy, after: dhcp.RoleProxy, why: "was asked for"},
		{name: "server, nobody else", mode: ModeServer, rng: "10.0.0.100-150", after: dhcp.RoleServer, why: "no other DHCP server answered"},
		{name: "server beside a router", mode: ModeServer, rng: "10.0.0.100-150", answers: 4 * time.Second, err: ErrOtherServer},
		{name: "server beside a router, insisting", mode: ModeServer, force: true, rng: "10.0.0.100-150", answers: 4 * time.Second, atOnce: dhcp.RoleServer, after: dhcp.RoleServer, why: "--dhcp-force"},
		{name: "server, a router comes later", mode: ModeServer, rng: "10.0.0.100-150", answers: 30 * time.Second, after: dhcp.RoleServer, log: "A second DHCP server"},
		{name: "server where a router was seen before", mode: ModeServer, rng: "10.0.0.100-150", before: true, after: dhcp.RoleServer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := inventorytest.NewStore(t)
				cfg := Config{Mode: tt.mode, Force: tt.force, HTTPPort: 8080, Store: store, Leases: &memLeases{}, Log: slog.New(slog.DiscardHandler)}
				if tt.rng != "" {
					var err error
					if cfg.Range, err = lease.ParseRange(tt.rng); err != nil {
						t.Fatal(err)
					}
				}
				if tt.before {
					old := newServer(t, cfg)
					old.heardOther(rival)
					time.Sleep(time.Hour)
				}
				s := newServer(t, cfg)
				done := make(chan error, 1)
				go func() { done <- s.chooseRole(t.Context()) }()
				go func() { _ = s.keepLooking(t.Context()) }() // it never fails
				if tt.answers > 0 {
					time.AfterFunc(tt.answers, func() {
						x := rival
						x.Proxy = tt.proxy
						s.heardOther(x)
					})
				}
				synctest.Wait()
				if got := dhcp.Role(strings.Replace(s.Status().Role, "probing", "", 1)); got != tt.atOnce {
					t.Errorf("at once %q, want %q", got, tt.atOnce)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				err := <-done
				if !errors.Is(err, tt.err) {
					t.Fatalf("got %v, want %v", err, tt.err)
				}
				if tt.err != nil {
					return
				}
				if st := s.Status(); st.Role != string(tt.after) || !strings.Contains(st.Why, tt.why) {
					t.Errorf("a minute later %q (%s), want %q, %q", st.Role, st.Why, tt.after, tt.why)
				}
				if nobody := tt.answers == 0 && !tt.before; s.Status().NoServer != (nobody && tt.after == dhcp.RoleProxy) {
					t.Errorf("no server: %v as %s", s.Status().NoServer, tt.after)
				}
				if heard := tt.answers > 0 && !tt.proxy; (len(s.Status().Rivals) == 1) != (heard && tt.after == dhcp.RoleServer) {
					t.Errorf("rivals %v as %s", s.Status().Rivals, tt.after)
				}
				var diary string
				if err := store.View(func(tx *inventory.Tx) error {
					es, err := tx.Diary("", 0, 100)
					for _, e := range es {
						diary += e.Text
					}
					return err
				}); err != nil || !strings.Contains(diary, tt.log) {
					t.Errorf("the appliance's diary: %q, %v", diary, err)
				}
			})
		})
	}
}

// TestAutoWaitsForTheCable: silence on a link that is down proves nothing.
func TestAutoWaitsForTheCable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng, err := lease.ParseRange("10.0.0.100-150")
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(t, Config{Mode: ModeAuto, Range: rng, HTTPPort: 8080, Store: inventorytest.NewStore(t), Leases: &memLeases{}})
		s.links["eth0"].up = false
		done := make(chan error, 1)
		go func() { done <- s.chooseRole(t.Context()) }()
		time.Sleep(time.Minute)
		if st := s.Status(); st.Role != "proxy" {
			t.Errorf("role %q with the cable out", st.Role)
		}
		s.mu.Lock()
		s.links["eth0"].up = true
		s.mu.Unlock()
		time.Sleep(15 * time.Second)
		if err := <-done; err != nil || s.Status().Role != "server" {
			t.Errorf("role %q with the cable in, %v", s.Status().Role, err)
		}
	})
}

// TestRivalOnAnotherNetworkIsNone: a box between the house's LAN, where a router gives addresses, and a
// network of its own, where the range is.
func TestRivalOnAnotherNetworkIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng, err := lease.ParseRange("10.0.0.100-150")
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(t, Config{Mode: ModeAuto, Range: rng, HTTPPort: 8080, Store: inventorytest.NewStore(t), Leases: &memLeases{}})
		s.links["eth1"] = &link{name: "eth1", index: 2, mac: inventory.MAC{2, 0, 0, 0, 0, 3}, addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/24")}, up: true, stop: func() {}}
		router := rival
		router.Iface, router.IP = "eth1", netip.MustParseAddr("192.168.1.1")
		done := make(chan error, 1)
		go func() { done <- s.chooseRole(t.Context()) }()
		time.Sleep(2 * time.Second)
		s.heardOther(router)
		if err := <-done; err != nil || s.Status().Role != "server" {
			t.Errorf("role %q (%s), %v", s.Status().Role, s.Status().Why, err)
		}
		router.MAC[5]++
		router.IP = netip.MustParseAddr("192.168.1.2")
		s.heardOther(router)
		if s.Status().Role != "server" {
			t.Error("stepped back for a server on another network")
		}
		s.heardOther(rival)
		if s.Status().Role != "proxy" {
			t.Error("did not step back for a server on the range's network")
		}
	})
}

// newServer is a server with an interface but no sockets: what it sends goes nowhere.
func newServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	s.links["eth0"] = &link{name: "eth0", index: 1, mac: inventory.MAC{2, 0, 0, 0, 0, 2}, addrs: []netip.Prefix{testNet}, up: true, stop: func() {}}
	s.ask = func(*link) error { return nil }
	if err := s.placeRange(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOtherServersAreHeardOnTheWire(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	answer := func(mac inventory.MAC, src string, mods ...dhcpv4.Modifier) []byte {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(labMAC[:]), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer),
			func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }}, mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		return frame(mac, inventory.MAC{255, 255, 255, 255, 255, 255}, netip.MustParseAddrPort(src), netip.MustParseAddrPort("255.255.255.255:68"), m.ToBytes())
	}
	gives := dhcpv4.WithYourIP([]byte{10, 0, 0, 77})
	for name, f := range map[string][]byte{
		"our own":        answer(b.l.mac, "10.0.0.2:67", gives, ours),
		"a client":       answer(rival.MAC, "10.0.0.1:68", gives),
		"our other port": answer(inventory.MAC{2, 7}, "10.0.0.2:67", gives, ours),
		"garbage":        frame(rival.MAC, labMAC, netip.MustParseAddrPort("10.0.0.1:67"), netip.MustParseAddrPort("10.0.0.9:68"), make([]byte, 300)),
		"too short":      {1, 2, 3},
	} {
		b.s.heardServer(b.l, f)
		if got := b.s.Status().Servers; len(got) != 0 {
			t.Errorf("%s: taken for %v", name, got)
		}
	}
	b.s.heardServer(b.l, answer(rival.MAC, "10.0.0.1:67", gives))
	b.s.heardServer(b.l, answer(inventory.MAC{2, 0, 0, 0, 0, 9}, "10.0.0.9:67", raw(54, 10, 0, 0, 9)))
	got := b.s.Status().Servers
	if len(got) != 2 || got[0].IP != rival.IP || got[0].MAC != rival.MAC || got[0].Proxy || !got[1].Proxy {
		t.Errorf("servers %+v", got)
	}
	if got[0].Answers {
		t.Error("what it said to a machine counts as an answer to us")
	}
	b.s.heardServer(b.l, answer(rival.MAC, "10.0.0.1:67", gives, dhcpv4.WithHwAddr(b.l.mac[:])))
	b.s.heardServer(b.l, answer(rival.MAC, "10.0.0.1:67", gives))
	if again := newServer(t, b.s.cfg); !again.Status().Servers[0].Answers {
		t.Error("that it answers us is forgotten over a restart")
	}
	for i := range 100 { // a forger's
		b.s.heardServer(b.l, answer(inventory.MAC{2, 3, 0, 0, 0, byte(i)}, "10.0.0.1:67", gives, raw(54, 10, 9, 0, byte(i))))
	}
	if n := len(b.s.Status().Servers); n > maxOthers {
		t.Errorf("%d servers are remembered", n)
	}
}

// TestFrame holds our frames against somebody else's decoder, checksums included.
func TestFrame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 0, 1400).Draw(t, "payload")
		src, dst := netip.MustParseAddrPort("10.0.0.2:67"), netip.AddrPortFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "dst"))), 68)
		b := frame(inventory.MAC{2, 1}, labMAC, src, dst, payload)
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if ip == nil || udp == nil || fold(sum(0, b[14:34])) != 0 {
			t.Fatalf("bad header: %v", p)
		}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		again := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, udp, gopacket.Payload(payload)); err != nil {
			t.Fatal(err)
		}
		want := binary.BigEndian.Uint16(again.Bytes()[6:])
		if want == 0 {
			want = 0xffff // RFC 768: zero means "no checksum"
		}
		if got := binary.BigEndian.Uint16(b[40:]); got != want {
			t.Fatalf("UDP checksum %04x, want %04x", got, want)
		}
		mac, from, got, ok := unframe(b)
		if !ok || mac != (inventory.MAC{2, 1}) || from != src || string(got) != string(payload) {
			t.Fatal("our own frame is not read back")
		}
	})
}

func FuzzUnframe(f *testing.F) {
	f.Add(frame(labMAC, labMAC, netip.MustParseAddrPort("10.0.0.2:67"), netip.MustParseAddrPort("10.0.0.9:68"), []byte("x")))
	f.Add(make([]byte, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, p, ok := unframe(b); ok && len(p) > len(b) {
			t.Error("payload longer than the frame")
		}
		arpSender(b)
	})
}

func TestARPProbe(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("10.0.0.9")
	b := arpProbe(labMAC, ip)
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if arp == nil || arp.Operation != 1 || string(arp.SourceProtAddress) != "\x00\x00\x00\x00" || string(arp.DstProtAddress) != string(ip.AsSlice()) || string(arp.SourceHwAddress) != string(labMAC[:]) {
		t.Errorf("probe %+v (RFC 5227 §2.1.1)", arp)
	}
	if _, _, ok := arpSender(b); ok {
		t.Error("a probe was taken for an answer")
	}
	copy(b[28:], ip.AsSlice())
	if mac, got, ok := arpSender(b); !ok || mac != labMAC || got != ip {
		t.Errorf("answer read as %v %v %v", mac, got, ok)
	}
}

// TestProxyARPTakesNoAddressAway: a router that answers for everybody must not empty the range.
func TestProxyARPTakesNoAddressAway(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	b.l.up, b.l.raw = true, new(packet.Conn)
	claimed := 0
	b.s.probe = func(_ context.Context, _ *link, list []netip.Addr) (map[netip.Addr]inventory.MAC, error) {
		used := map[netip.Addr]inventory.MAC{}
		for _, ip := range list[:min(claimed, len(list))] {
			used[ip] = rival.MAC
		}
		return used, nil
	}
	for _, tt := range []struct{ claimed, kept int }{{100, 0}, {51, 0}, {7, 7}} {
		claimed = tt.claimed
		b.s.probeOnce(t.Context())
		if got := b.s.Status().Pools[0].Quarantined; got != tt.kept {
			t.Errorf("one machine answers for %d of 100 addresses: %d are kept out, want %d", tt.claimed, got, tt.kept)
		}
	}
}

func TestProbeFindingsReachThePool(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	g := b.s.segments[0]
	list := g.Pool.Unproved(3, 3, b.clock.Now())
	b.s.proved(context.Background(), g, list, map[netip.Addr]inventory.MAC{list[1]: {2, 5}})
	if l, ok := g.Pool.Lease(list[1]); !ok || l.State != lease.StateQuarantined {
		t.Errorf("address that answered: %+v", l)
	}
	if got := b.dora(labMAC); got != list[0] {
		t.Errorf("offers %v, want the probed %v", got, list[0])
	}
	if st := b.s.Status().Pools[0]; st.Quarantined != 1 || st.Live != 1 {
		t.Errorf("pool %+v", st)
	}
}
