package dhcp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

var (
	clientMAC = inventory.MAC{0x52, 0x54, 0, 1, 2, 3}
	otherMAC  = inventory.MAC{0x52, 0x54, 0, 9, 9, 9}
	clientIP  = netip.MustParseAddr("10.77.0.120")
	router    = netip.MustParseAddr("10.77.0.1")
	guid      = append([]byte{0}, []byte("0123456789abcdef")...)
)

// opts are raw options of a test message.
type opts map[byte][]byte

// request makes a client's message.
func request(t testing.TB, typ MessageType, edit func(m *dhcpv4.DHCPv4), o opts) Request {
	t.Helper()
	r, err := Classify(message(typ, edit, o))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func message(typ MessageType, edit func(m *dhcpv4.DHCPv4), o opts) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: dhcpv4.TransactionID{1, 2, 3, 4}, ClientHWAddr: clientMAC[:],
		ClientIPAddr: make([]byte, 4), YourIPAddr: make([]byte, 4), ServerIPAddr: make([]byte, 4), GatewayIPAddr: make([]byte, 4), Options: dhcpv4.Options{53: {byte(typ)}}}
	for c, v := range o {
		m.Options[c] = v
	}
	if edit != nil {
		edit(m)
	}
	return m
}

func addrBytes(a netip.Addr) []byte { return a.AsSlice() }

func arch(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func pxe(n uint16) opts {
	return opts{60: []byte("PXEClient:Arch:00000:UNDI:002001"), 93: arch(n), 97: guid}
}

func httpClient(n uint16) opts {
	return opts{60: []byte("HTTPClient:Arch:00016:UNDI:003001"), 93: arch(n), 97: guid}
}

func with(o opts, more opts) opts {
	out := opts{}
	for c, v := range o {
		out[c] = v
	}
	for c, v := range more {
		out[c] = v
	}
	return out
}

func TestKinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		mac  inventory.MAC
		o    opts
		kind Kind
		file string // offered by ProxyDHCP or at 4011; "" = nothing
	}{
		{"an operating system", clientMAC, opts{60: []byte("MSFT 5.0")}, KindPlain, ""},
		{"BIOS", clientMAC, pxe(0), KindPXE, "undionly.kpxe"},
		{"a ROM without option 93", clientMAC, opts{60: []byte("PXEClient")}, KindPXE, "undionly.kpxe"},
		{"x64 as firmware numbers it (R13)", clientMAC, pxe(7), KindPXE, "snponly.efi"},
		{"x64 as the RFC numbers it (R13)", clientMAC, pxe(9), KindPXE, "snponly.efi"},
		{"a laptop that says Itanium (R13)", clientMAC, pxe(2), KindPXE, "snponly.efi"},
		{"a laptop that says Xscale (R13)", clientMAC, pxe(8), KindPXE, "snponly.efi"},
		{"32-bit UEFI", clientMAC, pxe(6), KindPXE, ""},
		{"32-bit ARM UEFI", clientMAC, pxe(10), KindPXE, ""},
		{"arm64 UEFI", clientMAC, pxe(11), KindPXE, "ipxe-arm64.efi"},
		{"the architecture comes from option 93, not from the class", clientMAC, with(pxe(11), opts{60: []byte("PXEClient:Arch:00007")}), KindPXE, "ipxe-arm64.efi"},
		{"HTTP Boot x64", clientMAC, httpClient(16), KindHTTP, "http://10.77.0.2:8080/ipxe/snponly.efi"},
		{"HTTP Boot x64, numbered as EBC", clientMAC, httpClient(17), KindHTTP, "http://10.77.0.2:8080/ipxe/snponly.efi"},
		{"HTTP Boot arm64", clientMAC, httpClient(19), KindHTTP, "http://10.77.0.2:8080/ipxe/ipxe-arm64.efi"},
		{"HTTP Boot 32-bit x86", clientMAC, httpClient(15), KindHTTP, ""},
		{"HTTP Boot 32-bit ARM", clientMAC, httpClient(18), KindHTTP, ""},
		{"iPXE by its raw user class (R18)", clientMAC, with(pxe(0), opts{77: []byte("iPXE")}), KindIPXE, "script"},
		{"iPXE by a wrapped user class", clientMAC, with(pxe(0), opts{77: []byte("\x04iPXE")}), KindIPXE, "script"},
		{"iPXE by option 175", clientMAC, with(pxe(7), opts{175: {0x15, 1, 1, 0x13, 1, 1}}), KindIPXE, "script"},
		{"a built-in iPXE without HTTP (R18)", clientMAC, with(pxe(0), opts{77: []byte("iPXE"), 175: {0x15, 1, 1, 0x21, 1, 1}}), KindSmallIPXE, "undionly.kpxe"},
		{"another user class is not iPXE", clientMAC, with(pxe(0), opts{77: []byte("iPXEfoo")}), KindPXE, "undionly.kpxe"},
		{"Raspberry Pi 4 by its MAC (R23)", inventory.MAC{0xdc, 0xa6, 0x32, 1, 2, 3}, pxe(0), KindPi, ""},
		{"Raspberry Pi 5 by its GUID (R23)", clientMAC, with(pxe(0), opts{97: append([]byte{0}, []byte("RPi5bbbbccccdddd")...)}), KindPi, ""},
		{"Raspberry Pi that says rpiboot", clientMAC, pxe(0x29), KindPi, ""},
		{"a Pi with UEFI firmware is an arm64 machine", inventory.MAC{0xdc, 0xa6, 0x32, 1, 2, 3}, pxe(11), KindPXE, "ipxe-arm64.efi"},
		{"U-Boot on arm64", clientMAC, opts{60: []byte("U-Boot.armv8"), 93: arch(0x16)}, KindUBoot, "ipxe-arm64.efi"},
		{"U-Boot on 32-bit ARM", clientMAC, opts{60: []byte("U-Boot.armv7"), 93: arch(0x15)}, KindUBoot, ""},
		{"something unheard of", clientMAC, pxe(999), KindPXE, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, RequestMsg, func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = tt.mac[:] }, tt.o)
			if r.Kind != tt.kind {
				t.Errorf("kind %s, want %s", r.Kind, tt.kind)
			}
			v := labView(t, RoleProxy)
			v.Port, v.Src = PortPXE, netip.MustParseAddrPort("10.77.0.250:4011")
			want := strings.Replace(tt.file, "script", bootfile.ScriptURL(netip.MustParseAddrPort("10.77.0.2:8080")), 1)
			if d := Decide(labConfig, v, r, epoch); d.Offered != want {
				t.Errorf("offered %q, want %q: %s", d.Offered, want, d.Reason)
			}
			if tt.kind != KindPlain {
				disc := request(t, Discover, func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = tt.mac[:] }, tt.o)
				sv := labView(t, RoleServer)
				if d := Decide(labConfig, sv, disc, epoch); d.Reply == nil || !d.Reply.YIAddr.IsValid() || d.Offered != want {
					t.Errorf("server mode: offered %q, want an address and %q: %s", d.Offered, want, d.Reason)
				}
			}
		})
	}
}

func TestForeignMessagesAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(m *dhcpv4.DHCPv4)
	}{
		{"a reply", func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }},
		{"not Ethernet", func(m *dhcpv4.DHCPv4) { m.HWType = 32 }},
		{"a hardware address of 16 bytes", func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = make([]byte, 16) }},
		{"a hardware address of nobody", func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = make([]byte, 6) }},
		{"a multicast hardware address", func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = []byte{1, 0, 0x5e, 0, 0, 1} }},
		{"BOOTP", func(m *dhcpv4.DHCPv4) { delete(m.Options, 53) }},
		{"a type nobody knows", func(m *dhcpv4.DHCPv4) { m.Options[53] = []byte{77} }},
		{"an empty type", func(m *dhcpv4.DHCPv4) { m.Options[53] = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if r, err := Classify(message(Discover, tt.edit, nil)); err == nil {
				t.Errorf("read as %+v", r)
			}
		})
	}
	if _, err := Parse(make([]byte, 100)); err == nil {
		t.Error("a packet of 100 bytes was read")
	}
}

// step is one message of a conversation in server mode and what must come of it.
type step struct {
	typ    MessageType
	mac    inventory.MAC // zero = clientMAC
	edit   func(m *dhcpv4.DHCPv4)
	o      opts
	view   func(v *View)
	after  time.Duration // passes before it
	reply  MessageType   // 0 = silence
	ip     netip.Addr
	reason string // contained
	lease  lease.State
}

func ciaddr(a netip.Addr) func(m *dhcpv4.DHCPv4) {
	return func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = addrBytes(a) }
}

func reserve(mac inventory.MAC, ip netip.Addr) func(v *View) {
	return func(v *View) { v.Segment.Pool.Reserve([]lease.Reservation{{HW: lease.HW(mac), IP: ip}}) }
}

func TestServerConversations(t *testing.T) {
	t.Parallel()
	want := func(a netip.Addr) opts { return opts{50: addrBytes(a)} }
	sel := func(a, server netip.Addr) opts { return opts{50: addrBytes(a), 54: addrBytes(server)} }
	get := step{typ: RequestMsg, o: sel(clientIP, appliance), reply: Ack, ip: clientIP, lease: lease.StateBound}
	notAlone := func(v *View) { v.Alone = false }
	tests := []struct {
		name  string
		steps []step
	}{
		{"SELECTING", []step{{typ: Discover, o: want(clientIP), reply: Offer, ip: clientIP}, get}},
		{"SELECTING names the address in ciaddr", []step{{typ: RequestMsg, edit: ciaddr(clientIP), o: opts{54: addrBytes(appliance)}, reply: Ack, ip: clientIP, lease: lease.StateBound}}},
		{"SELECTING without an address", []step{{typ: RequestMsg, o: opts{54: addrBytes(appliance)}, reason: "names no address"}}},
		{"another server was chosen, the offer ends", []step{
			{typ: Discover, o: want(clientIP), reply: Offer, ip: clientIP},
			{typ: RequestMsg, o: sel(router, router), reason: "chose the server 10.77.0.1"},
			{typ: Discover, mac: otherMAC, o: want(clientIP), reply: Offer, ip: clientIP},
		}},
		{"an address on offer to another is refused", []step{
			{typ: Discover, o: want(clientIP), reply: Offer, ip: clientIP},
			{typ: RequestMsg, mac: otherMAC, o: sel(clientIP, appliance), reply: Nak, reason: "on offer to"},
		}},
		{"INIT-REBOOT of a known client", []step{get, {typ: RequestMsg, o: want(clientIP), reply: Ack, ip: clientIP, lease: lease.StateBound, reason: "it starts again"}}},
		{"INIT-REBOOT of an unknown client whose address is free", []step{{typ: RequestMsg, o: want(clientIP), reply: Ack, ip: clientIP, lease: lease.StateBound}}},
		{"INIT-REBOOT from another network", []step{{typ: RequestMsg, o: want(netip.MustParseAddr("192.168.1.5")), reply: Nak, reason: "not an address of the subnet"}}},
		{"INIT-REBOOT from another network beside another server", []step{{typ: RequestMsg, o: want(netip.MustParseAddr("192.168.1.5")), view: notAlone, reason: "may be another server's"}}},
		{"INIT-REBOOT of another server's address", []step{{typ: RequestMsg, o: want(netip.MustParseAddr("10.77.0.30")), view: notAlone, reason: "may be another server's"}}},
		{"INIT-REBOOT of a client that is unknown, beside another server", []step{{typ: RequestMsg, o: want(clientIP), view: notAlone, reason: "another server may have given it"}}},
		{"RENEWING by a client that is unknown, beside another server", []step{{typ: RequestMsg, edit: ciaddr(clientIP), view: notAlone, reason: "another server may have given it"}}},
		{"RENEWING by a client of ours, beside another server", []step{get, {typ: RequestMsg, edit: ciaddr(clientIP), view: notAlone, reply: Ack, ip: clientIP, lease: lease.StateBound}}},
		{"INIT-REBOOT of an address leased to another", []step{get, {typ: RequestMsg, mac: otherMAC, o: want(clientIP), view: notAlone, reply: Nak, reason: "leased to 52:54:00:01:02:03"}}},
		{"RENEWING", []step{get, {typ: RequestMsg, edit: ciaddr(clientIP), after: 30 * time.Minute, reply: Ack, ip: clientIP, lease: lease.StateBound, reason: "because it extends its lease"}}},
		{"an offer says why it is that address", []step{
			{typ: Discover, o: want(clientIP), reply: Offer, ip: clientIP, reason: "which it asked for"},
			{typ: Discover, mac: otherMAC, o: want(clientIP), reply: Offer, reason: "the next free one"},
			{typ: RequestMsg, o: sel(clientIP, appliance), reply: Ack, reason: "because it chose our offer", lease: lease.StateBound},
			{typ: Discover, reply: Offer, ip: clientIP, reason: "which it had before"},
			{typ: Discover, mac: otherMAC, reply: Offer, view: reserve(otherMAC, clientIP), reason: "as its reserved address is not to be had (10.77.0.120: it is leased to 52:54:00:01:02:03"},
			{typ: Discover, mac: otherMAC, reply: Offer, ip: router.Next().Next(), view: reserve(otherMAC, router.Next().Next()), reason: "reserved for it"}}},
		{"RENEWING after the lease ended and nobody else took it", []step{get, {typ: RequestMsg, edit: ciaddr(clientIP), after: 3 * time.Hour, reply: Ack, ip: clientIP, lease: lease.StateBound}}},
		{"RENEWING an address that another has now", []step{get,
			{typ: RequestMsg, mac: otherMAC, o: sel(clientIP, appliance), after: 3 * time.Hour, reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: RequestMsg, edit: ciaddr(clientIP), reply: Nak, reason: "leased to"}}},
		{"REQUEST without any address", []step{{typ: RequestMsg, reason: "names no address"}}},
		{"RELEASE gives the address back and the same client gets it again", []step{get,
			{typ: ReleaseMsg, edit: ciaddr(clientIP), o: opts{54: addrBytes(appliance)}, reason: "released", lease: lease.StateReleased},
			{typ: Discover, reply: Offer, ip: clientIP}}},
		{"RELEASE of another's address", []step{get, {typ: ReleaseMsg, mac: otherMAC, edit: ciaddr(clientIP), reason: "which it does not have"}}},
		{"RELEASE to another server", []step{get, {typ: ReleaseMsg, edit: ciaddr(clientIP), o: opts{54: addrBytes(router)}, reason: "another server's"}}},
		{"DECLINE quarantines, the client gets another", []step{get,
			{typ: Decline, o: sel(clientIP, appliance), reason: "kept from everybody", lease: lease.StateQuarantined},
			{typ: Discover, o: want(clientIP), reply: Offer},
			{typ: RequestMsg, o: sel(clientIP, appliance), reply: Nak, reason: "somebody else was found to use it"}}},
		{"DECLINE of an address that is not the client's", []step{get, {typ: Decline, mac: otherMAC, o: sel(clientIP, appliance), reason: "does not have"}}},
		{"DECLINE to another server", []step{{typ: Decline, o: sel(clientIP, router), reason: "another server's"}}},
		{"INFORM gets settings and no address", []step{{typ: Inform, edit: ciaddr(netip.MustParseAddr("10.77.0.40")), reply: Ack, reason: "settings"}}},
		{"INFORM without an address", []step{{typ: Inform, reason: "without an address"}}},
		{"INFORM from another network", []step{{typ: Inform, edit: ciaddr(netip.MustParseAddr("192.168.1.5")), reason: "not of this network"}}},
		{"the same MAC keeps its address whatever client id it sends", []step{
			{typ: RequestMsg, o: with(sel(clientIP, appliance), opts{61: {1, 2, 3}}), reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: Discover, o: opts{61: []byte("\xff another id of the installed system")}, reply: Offer, ip: clientIP},
			{typ: Discover, reply: Offer, ip: clientIP}}},
		{"a system that is restarted is one machine, whatever its firmware says", []step{
			{typ: RequestMsg, o: with(sel(clientIP, appliance), opts{61: {1, 2, 3}}), reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: RequestMsg, edit: ciaddr(clientIP), o: opts{61: {1, 2, 3}}, reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: RequestMsg, o: with(sel(clientIP, appliance), opts{61: {9}}), reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: RequestMsg, o: with(want(clientIP), opts{61: {1, 2, 3}}), reply: Ack, ip: clientIP, lease: lease.StateBound},
			{typ: RequestMsg, edit: ciaddr(clientIP), o: opts{61: {1, 2, 3}}, reply: Ack, ip: clientIP, lease: lease.StateBound}}},
		{"a server's message is nobody's question", []step{{typ: Offer, reason: "a server's message"}}},
		{"a relay that names us", []step{{typ: Discover, edit: func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = addrBytes(appliance) }, reason: "as the relay"}}},
		{"no range for the segment", []step{{typ: Discover, view: func(v *View) { v.Segment = nil }, reason: "no range of addresses is configured"}}},
		{"no range for the segment, but a boot file", []step{{typ: Discover, o: pxe(7), view: func(v *View) { v.Segment = nil }, reply: Offer, reason: "no address"}}},
		{"no address of our own", []step{{typ: Discover, view: func(v *View) { v.Self = netip.Addr{} }, reason: "has no IPv4 address"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, now := labView(t, RoleServer), epoch
			for i, s := range tt.steps {
				now = now.Add(s.after)
				r := request(t, s.typ, func(m *dhcpv4.DHCPv4) {
					if !s.mac.IsZero() {
						m.ClientHWAddr = s.mac[:]
					}
					if s.edit != nil {
						s.edit(m)
					}
				}, s.o)
				view := v
				if s.view != nil {
					s.view(&view)
				}
				d := Decide(labConfig, view, r, now)
				carry(&view, r, d, now)
				checkStep(t, i, s, d)
			}
		})
	}
}

// TestTwoMachinesWithOneMAC: only when both run at once, which shows in both extending one lease, does the client
// identifier tell them apart.
func TestTwoMachinesWithOneMAC(t *testing.T) {
	t.Parallel()
	v, now := labView(t, RoleServer), epoch
	say := func(typ MessageType, id byte, edit func(m *dhcpv4.DHCPv4), o opts) Decision {
		t.Helper()
		now = now.Add(time.Minute)
		r := request(t, typ, edit, with(o, opts{61: {0, id}}))
		d := Decide(labConfig, v, r, now)
		carry(&v, r, d, now)
		if d.Reply == nil || !bytes.Equal(d.Reply.Option(61), []byte{0, id}) {
			t.Fatalf("%s of %c: %+v; want a reply with its client id (RFC 6842)", typ, id, d)
		}
		return d
	}
	take := opts{50: addrBytes(clientIP), 54: addrBytes(appliance)}
	for _, id := range []byte("ab") {
		if d := say(RequestMsg, id, nil, take); d.Reply.YIAddr != clientIP {
			t.Fatalf("%c got %v", id, d.Reply.YIAddr)
		}
	}
	if d := say(RequestMsg, 'a', ciaddr(clientIP), nil); d.Reply.Type != Ack {
		t.Errorf("the first that extends: %s", d.Reason)
	}
	d := say(RequestMsg, 'b', ciaddr(clientIP), nil)
	if d.Reply.Type != Nak || !d.Split || !strings.Contains(d.Reason, "another running machine with the same MAC") || !strings.Contains(d.Events[0].Text, "give one of them another MAC") {
		t.Errorf("the second that extends: %+v", d)
	}
	second := say(Discover, 'b', nil, opts{50: addrBytes(clientIP)}).Reply.YIAddr
	if second == clientIP {
		t.Fatal("both have one address")
	}
	d = say(RequestMsg, 'b', nil, opts{50: addrBytes(second), 54: addrBytes(appliance)})
	if d.Reply.Type != Ack || d.Lease.HW != lease.HW(clientMAC) || d.Lease.Key() == d.Lease.HW {
		t.Errorf("the second's lease: %+v (%s)", d.Lease, d.Reason)
	}
	again := newPool(t, labNet) // a restart: all there is are the records
	for _, l := range v.Segment.Pool.Leases() {
		again.Put(l)
	}
	v.Segment.Pool = again
	for id, ip := range map[byte]netip.Addr{'a': clientIP, 'b': second} {
		if d := say(RequestMsg, id, ciaddr(ip), nil); d.Reply.Type != Ack || d.Reply.YIAddr != ip {
			t.Errorf("%c extends %v: %s", id, ip, d.Reason)
		}
		if d := say(Discover, id, nil, nil); d.Reply.YIAddr != ip {
			t.Errorf("%c asks anew: %v, want %v", id, d.Reply.YIAddr, ip)
		}
	}
}

// TestReservedMachineIsNeverSplit: whose address a person fixed keeps it.
func TestReservedMachineIsNeverSplit(t *testing.T) {
	t.Parallel()
	v := labView(t, RoleServer)
	v.Segment.Pool.Reserve([]lease.Reservation{{HW: lease.HW(clientMAC), IP: clientIP}})
	for i := range 4 {
		r := request(t, RequestMsg, ciaddr(clientIP), opts{61: {0, byte(i % 2)}})
		d := Decide(labConfig, v, r, epoch)
		if carry(&v, r, d, epoch); d.Reply == nil || d.Reply.Type != Ack {
			t.Errorf("renewal %d: %s", i, d.Reason)
		}
	}
}

func checkStep(t *testing.T, i int, s step, d Decision) {
	t.Helper()
	if !strings.Contains(d.Reason, s.reason) || d.Reason == "" {
		t.Errorf("step %d: reason %q, want %q in it", i, d.Reason, s.reason)
	}
	if (d.Lease != nil) != (s.lease != "") || d.Lease != nil && d.Lease.State != s.lease {
		t.Errorf("step %d: lease %+v, want state %q", i, d.Lease, s.lease)
	}
	if s.reply == 0 {
		if d.Reply != nil {
			t.Errorf("step %d: answered %s, want silence", i, d.Reply.Type)
		}
		return
	}
	if d.Reply == nil {
		t.Fatalf("step %d: silence (%s), want %s", i, d.Reason, s.reply)
	}
	if d.Reply.Type != s.reply || s.ip.IsValid() && d.Reply.YIAddr != s.ip {
		t.Errorf("step %d: got %s %v, want %s %v (%s)", i, d.Reply.Type, d.Reply.YIAddr, s.reply, s.ip, d.Reason)
	}
	if s.reply == Nak && (d.Reply.YIAddr.IsValid() || d.SendTo.To.Addr() != broadcast || d.Reply.Option(51) != nil) {
		t.Errorf("step %d: a NAK with an address or to one client: %+v", i, d)
	}
	if s.typ == Inform && (d.Reply.Option(51) != nil || d.Reply.YIAddr.IsValid()) {
		t.Errorf("step %d: INFORM was answered with a lease", i)
	}
}
