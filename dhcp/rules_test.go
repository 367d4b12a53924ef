package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// answer decides and encodes one message in a role; port 4011 when at4011.
func answer(t *testing.T, role Role, at4011 bool, r Request, edit func(*View)) (Decision, []byte) {
	t.Helper()
	v := labView(t, role)
	if at4011 {
		v.Port, v.Src = PortPXE, netip.MustParseAddrPort("10.77.0.250:4011")
	}
	if edit != nil {
		edit(&v)
	}
	d := Decide(labConfig, v, r, epoch)
	if d.Reply == nil {
		return d, nil
	}
	b, err := d.Reply.Encode(r.Limit)
	if err != nil {
		t.Fatal(err)
	}
	return d, b
}

// TestR1OptionsAreAlwaysThere: edk2 drops an offer without option 54, takes one without 53 for BOOTP.
func TestR1OptionsAreAlwaysThere(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{RoleServer, RoleProxy} {
		for _, typ := range []MessageType{Discover, RequestMsg, Inform} {
			for name, o := range map[string]opts{"plain": {}, "bios": pxe(0), "uefi": pxe(7), "http": httpClient(16), "ipxe": with(pxe(7), opts{77: []byte("iPXE")})} {
				for _, at4011 := range []bool{false, true} {
					o := with(o, opts{50: addrBytes(clientIP)})
					_, b := answer(t, role, at4011, request(t, typ, ciaddr(clientIP), o), nil)
					if b == nil {
						continue
					}
					if !bytes.Equal(b[240:242], []byte{53, 1}) || !bytes.Equal(b[243:249], append([]byte{54, 4}, addrBytes(appliance)...)) {
						t.Errorf("%s %s %s: options start % x", role, typ, name, b[240:250])
					}
					if len(b) < MinReply {
						t.Errorf("%s %s %s: %d bytes, want at least 300 (R12)", role, typ, name, len(b))
					}
				}
			}
		}
	}
}

// TestBootForms holds what each firmware is offered first: option numbers and file field.
func TestBootForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		role   Role
		at4011 bool
		o      opts
		codes  string // boot options in order: 60 43 66 67 175 97
		file   string
	}{
		{"R11 BIOS beside a router: class, discovery control 8, file", RoleProxy, false, pxe(0), "60 43 66 67 97", "undionly.kpxe"},
		{"R11 UEFI beside a router: class, no 43, file only at 4011", RoleProxy, false, pxe(7), "60 97", ""},
		{"R4 UEFI at port 4011: class and file, no 43", RoleProxy, true, pxe(7), "60 66 67 97", "snponly.efi"},
		{"R4 port 4011 answers in server mode as well", RoleServer, true, pxe(7), "60 66 67 97", "snponly.efi"},
		{"R4 BIOS in server mode: no class, so that nobody asks 4011", RoleServer, false, pxe(0), "66 67 97", "undionly.kpxe"},
		{"R4 UEFI in server mode: no class", RoleServer, false, pxe(7), "66 67 97", "snponly.efi"},
		{"R9 HTTP Boot beside a router", RoleProxy, false, httpClient(16), "60 67 97", "http://10.77.0.2:8080/ipxe/snponly.efi"},
		{"R9 HTTP Boot in server mode", RoleServer, false, httpClient(16), "60 67 97", "http://10.77.0.2:8080/ipxe/snponly.efi"},
		{"R17 iPXE beside a router: class, next-server, script, priority (175.1)", RoleProxy, false, with(pxe(7), opts{77: []byte("iPXE")}), "67 60 175 97", ""},
		{"R17 iPXE in server mode: its wait for a proxy ends (175.176)", RoleServer, false, with(pxe(7), opts{77: []byte("iPXE")}), "67 175 97", ""},
		{"R15 no option 97 where none was sent", RoleServer, false, opts{60: []byte("PXEClient"), 93: arch(0)}, "66 67", "undionly.kpxe"},
		{"R15 a GUID with any first byte is echoed", RoleServer, false, with(pxe(0), opts{97: bytes.Repeat([]byte{7}, 17)}), "66 67 97", "undionly.kpxe"},
		{"R15 a GUID of another length is not", RoleServer, false, with(pxe(0), opts{97: make([]byte, 16)}), "66 67", "undionly.kpxe"},
		{"R23 a Raspberry Pi's own loader gets an address alone", RoleServer, false, pxe(0x29), "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ := Discover
			if tt.at4011 {
				typ = RequestMsg
			}
			d, b := answer(t, tt.role, tt.at4011, request(t, typ, nil, tt.o), nil)
			var codes []string
			for _, o := range d.Reply.Options {
				switch o.Code {
				case 60, 43, 66, 67, 175, 97:
					codes = append(codes, fmt.Sprint(o.Code))
				}
			}
			file, _, _ := strings.Cut(string(b[108:236]), "\x00")
			if diff := cmp.Diff([]string{tt.codes, tt.file}, []string{strings.Join(codes, " "), file}); diff != "" {
				t.Error(diff)
			}
			if v := d.Reply.Option(43); v != nil && !bytes.Equal(v, []byte{6, 1, 8, 255}) {
				t.Errorf("option 43 % x", v)
			}
			if v, want := d.Reply.Option(175), map[Role]string{RoleServer: "\xb0\x01\x01", RoleProxy: "\x01\x01\x01"}[tt.role]; v != nil && string(v) != want {
				t.Errorf("option 175 % x", v)
			}
			if v := d.Reply.Option(97); v != nil && !bytes.Equal(v, tt.o[97]) {
				t.Errorf("option 97 % x", v)
			}
			if d.Offered != "" && d.Reply.SIAddr != appliance {
				t.Errorf("R6: next-server %v and server identifier %v differ", d.Reply.SIAddr, d.Reply.ServerID)
			}
			if c := string(d.Reply.Option(60)); c != "" && c != "PXEClient" && c != "HTTPClient" {
				t.Errorf("class %q", c)
			}
		})
	}
}

// TestR12NamesEnd: old ROMs read on past names without a zero byte; TestR24: a Pi 3 chokes on one in 66.
func TestR12NamesEnd(t *testing.T) {
	t.Parallel()
	d, b := answer(t, RoleServer, false, request(t, Discover, nil, pxe(0)), nil)
	if got := string(d.Reply.Option(67)); got != "undionly.kpxe\x00" {
		t.Errorf("option 67 %q", got)
	}
	if got := string(d.Reply.Option(66)); got != "10.77.0.2" {
		t.Errorf("option 66 %q", got)
	}
	long := Reply{SName: strings.Repeat("s", 200), File: strings.Repeat("f", 200), ServerID: appliance}
	if b, err := long.Encode(0); err != nil || b[44+63] != 0 || b[108+127] != 0 {
		t.Errorf("a long name fills its field to the end: %v", err)
	}
	if b[44+len("10.77.0.2")] != 0 {
		t.Error("server name without an end")
	}
}

// TestR12ProxyOffersAreBroadcast: there is no address to send them to.
func TestR12ProxyOffersAreBroadcast(t *testing.T) {
	t.Parallel()
	d, b := answer(t, RoleProxy, false, request(t, Discover, nil, pxe(0)), nil)
	if b[10] != 0x80 || d.SendTo.To.String() != "255.255.255.255:68" || !bytes.Equal(b[16:20], make([]byte, 4)) {
		t.Errorf("flags %x to %v, address % x", b[10], d.SendTo.To, b[16:20])
	}
}

func TestWhereRepliesGo(t *testing.T) {
	t.Parallel()
	relay := netip.MustParseAddr("10.78.0.1")
	agent := []byte{1, 4, 'p', 'o', 'r', 't'}
	behind := func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = addrBytes(relay) }
	seg := func(v *View) { v.Segment = &Segment{Pool: newPool(t, relayNet)} }
	tests := []struct {
		name   string
		r      Request
		role   Role
		at4011 bool
		view   func(*View)
		to     string
		mac    inventory.MAC
		flag   bool
	}{
		{"a client without an address: straight to its interface", request(t, Discover, nil, nil), RoleServer, false, nil, "10.77.0.120:68", clientMAC, false},
		{"a client that asks for a broadcast", request(t, Discover, func(m *dhcpv4.DHCPv4) { m.Flags = 0x8000 }, nil), RoleServer, false, nil, "255.255.255.255:68", inventory.MAC{}, true},
		{"a client that renews: to its address", request(t, RequestMsg, ciaddr(clientIP), nil), RoleServer, false, nil, "10.77.0.120:68", inventory.MAC{}, false},
		{"a relay: to its address, port 67", request(t, Discover, behind, opts{82: agent}), RoleServer, false, seg, "10.78.0.1:67", inventory.MAC{}, false},
		{"a NAK through a relay has the broadcast bit", request(t, RequestMsg, behind, opts{82: agent, 50: addrBytes(clientIP)}), RoleServer, false, seg, "10.78.0.1:67", inventory.MAC{}, true},
		{"a proxy offer through a relay", request(t, Discover, behind, with(pxe(7), opts{82: agent})), RoleProxy, false, nil, "10.78.0.1:67", inventory.MAC{}, false},
		{"port 4011: back to the port it came from", request(t, RequestMsg, ciaddr(clientIP), pxe(7)), RoleProxy, true, nil, "10.77.0.250:4011", inventory.MAC{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := tt.r
			if !r.Wanted.IsValid() && r.Type == Discover {
				r.Wanted = clientIP
			}
			d, b := answer(t, tt.role, tt.at4011, r, tt.view)
			if d.SendTo.To.String() != tt.to || d.SendTo.MAC != tt.mac || (b[10] == 0x80) != tt.flag {
				t.Errorf("to %v at %v, flags %x; want %s at %v, %v (%s)", d.SendTo.To, d.SendTo.MAC, b[10], tt.to, tt.mac, tt.flag, d.Reason)
			}
			if r.Relay.IsValid() {
				if !bytes.Equal(b[24:28], addrBytes(relay)) || !bytes.Contains(b, append([]byte{82, 6}, agent...)) {
					t.Error("giaddr or option 82 were not echoed (RFC 3046 §2.2)")
				}
			}
		})
	}
}

func TestIgnoredHostsGetAnAddressAndNoBootFile(t *testing.T) {
	t.Parallel()
	ignored := func(v *View) { v.Ignored = true }
	for name, o := range map[string]opts{"bios": pxe(0), "http": httpClient(16), "ipxe": with(pxe(7), opts{77: []byte("iPXE")})} {
		d, _ := answer(t, RoleServer, false, request(t, Discover, nil, o), ignored)
		if d.Reply == nil || !d.Reply.YIAddr.IsValid() || d.Reply.File != "" || d.Reply.Option(67) != nil || d.Reply.SIAddr.IsValid() || !strings.Contains(d.Reason, "ignored") {
			t.Errorf("%s, server: %+v", name, d)
		}
		for _, at4011 := range []bool{false, true} {
			if d, _ := answer(t, RoleProxy, at4011, request(t, Discover, nil, o), ignored); d.Reply != nil || !strings.Contains(d.Reason, "ignored") {
				t.Errorf("%s, proxy: %+v", name, d)
			}
		}
	}
}

func TestProxyNeverGivesAnAddress(t *testing.T) {
	t.Parallel()
	silent := map[string]Request{
		"a plain DISCOVER":             request(t, Discover, nil, nil),
		"a plain renewal":              request(t, RequestMsg, ciaddr(clientIP), nil),
		"REQUEST to the router":        request(t, RequestMsg, nil, with(pxe(7), opts{54: addrBytes(router), 50: addrBytes(clientIP)})),
		"RELEASE":                      request(t, ReleaseMsg, ciaddr(clientIP), pxe(7)),
		"DECLINE":                      request(t, Decline, nil, pxe(7)),
		"an INFORM of a plain client":  request(t, Inform, ciaddr(clientIP), nil),
		"a REQUEST that names nobody":  request(t, RequestMsg, nil, pxe(7)),
		"an INFORM nothing boots from": request(t, Inform, ciaddr(clientIP), pxe(6)),
	}
	for name, r := range silent {
		if d, _ := answer(t, RoleProxy, false, r, nil); d.Reply != nil || d.Reason == "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d, _ := answer(t, RoleProxy, false, silent["REQUEST to the router"], nil); d.Other != router {
		t.Errorf("other server %v, want the router", d.Other)
	}
	at4011 := map[string]Request{
		"a plain client":          request(t, RequestMsg, nil, nil),
		"RELEASE":                 request(t, ReleaseMsg, nil, pxe(7)),
		"another boot server":     request(t, RequestMsg, nil, with(pxe(7), opts{54: addrBytes(router)})),
		"an architecture unheard": request(t, RequestMsg, nil, pxe(6)),
	}
	for name, r := range at4011 {
		if d, _ := answer(t, RoleProxy, true, r, nil); d.Reply != nil || d.Reason == "" {
			t.Errorf("4011, %s: %+v", name, d)
		}
	}
	for _, r := range []Request{request(t, RequestMsg, nil, with(pxe(7), opts{54: addrBytes(appliance)})), request(t, Inform, ciaddr(clientIP), pxe(7))} {
		if d, _ := answer(t, RoleProxy, false, r, nil); d.Reply == nil || d.Reply.YIAddr.IsValid() || d.Reply.File != "snponly.efi" {
			t.Errorf("%s that means us: %+v", r.Type, d)
		}
	}
}

// TestBootServerDiscovery: a client that chose an item of a boot menu is told the same item (PXE 2.1 §2.4.4).
func TestBootServerDiscovery(t *testing.T) {
	t.Parallel()
	r := request(t, RequestMsg, nil, with(pxe(0), opts{43: {71, 4, 0, 0, 0, 0, 255}}))
	d, _ := answer(t, RoleProxy, true, r, nil)
	if got := d.Reply.Option(43); !bytes.Equal(got, []byte{71, 4, 0, 0, 0, 0, 255}) {
		t.Errorf("option 43 % x", got)
	}
}

func TestReservationsNameTheHost(t *testing.T) {
	t.Parallel()
	d, _ := answer(t, RoleServer, false, request(t, Discover, nil, nil), func(v *View) {
		v.Segment.Pool.Reserve([]lease.Reservation{{HW: lease.HW(clientMAC), IP: netip.MustParseAddr("10.77.0.9"), Name: "alpha"}})
	})
	if d.Reply.YIAddr.String() != "10.77.0.9" || string(d.Reply.Option(12)) != "alpha" {
		t.Errorf("got %v, name %q", d.Reply.YIAddr, d.Reply.Option(12))
	}
}

func TestNetworkOptions(t *testing.T) {
	t.Parallel()
	cfg := labConfig
	cfg.NTP = []netip.Addr{router}
	cfg.Routes = []Route{{To: netip.MustParsePrefix("10.9.0.0/17"), Via: netip.MustParseAddr("10.77.0.5")}, {To: netip.MustParsePrefix("10.8.7.6/32"), Via: netip.MustParseAddr("10.77.0.6")}}
	v := labView(t, RoleServer)
	v.Segment.DNS = []netip.Addr{netip.MustParseAddr("9.9.9.9")}
	d := Decide(cfg, v, request(t, Discover, nil, opts{55: {1, 3, 6, 15, 28, 33, 42, 121}}), epoch)
	want := map[byte]string{1: "\xff\xff\xff\x00", 3: "\x0aM\x00\x01", 6: "\x09\x09\x09\x09", 15: "lab.example", 28: "\x0aM\x00\xff", 42: "\x0aM\x00\x01",
		51: "\x00\x00\x0e\x10", 58: "\x00\x00\x07\x08", 59: "\x00\x00\x0c\x4e", 33: "\x0a\x08\x07\x06\x0aM\x00\x06",
		121: "\x11\x0a\x09\x00\x0aM\x00\x05\x20\x0a\x08\x07\x06\x0aM\x00\x06\x00\x0aM\x00\x01"}
	got := map[byte]string{}
	for _, o := range d.Reply.Options {
		got[o.Code] = string(o.Value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	d = Decide(cfg, v, request(t, Discover, nil, opts{55: {1, 3, 6}}), epoch)
	for _, c := range []byte{15, 28, 33, 42, 121} {
		if d.Reply.Option(c) != nil {
			t.Errorf("option %d was sent though not asked for", c)
		}
	}
}

func TestRepliesFitTheClient(t *testing.T) {
	t.Parallel()
	cfg := labConfig
	for range 60 {
		cfg.DNS = append(cfg.DNS, router)
	}
	cfg.Domain = strings.Repeat("d", 200)
	for _, tt := range []struct{ limit, room int }{{0, 548}, {300, 548}, {576, 548}, {600, 572}, {1500, 1472}, {65535, 1472}} {
		r := request(t, Discover, nil, with(pxe(7), opts{57: arch(uint16(tt.limit)), 82: make([]byte, 200)}))
		d := Decide(cfg, labView(t, RoleServer), r, epoch)
		b, err := d.Reply.Encode(r.Limit)
		if err != nil || len(b) > tt.room {
			t.Errorf("limit %d: %d bytes, %v; want at most %d", tt.limit, len(b), err, tt.room)
		}
		m, err := dhcpv4.FromBytes(b)
		if err != nil || len(m.Options[82]) != 200 || len(m.Options[51]) != 4 || m.BootFileName != "snponly.efi" {
			t.Errorf("limit %d: what matters was left out: %v", tt.limit, err)
		}
	}
	rep := Reply{Type: Offer, ServerID: appliance, Agent: make([]byte, 400)}
	if _, err := rep.Encode(0); err == nil {
		t.Error("a reply longer than the client takes was made")
	}
}

// TestFormsChange: R14, each try has another form, all of them different, first the one that most firmware takes.
func TestFormsChange(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{RoleServer, RoleProxy} {
		for _, o := range []opts{pxe(0), pxe(7), pxe(11)} {
			seen := map[string]bool{}
			r := request(t, Discover, nil, o)
			n := len(Forms(role, r.Arch))
			for try := range n {
				_, b := answer(t, role, false, r, func(v *View) { v.Try = try })
				_, at4011 := answer(t, role, true, r, func(v *View) { v.Try = try })
				b = append(b, at4011...)
				if seen[string(b)] {
					t.Errorf("%s, %s: try %d repeats an earlier reply", role, r.Arch, try)
				}
				seen[string(b)] = true
			}
			if len(seen) < 3 {
				t.Errorf("%s, %s: %d forms", role, r.Arch, len(seen))
			}
		}
	}
}

// TestShims holds that firmware gets the shim that is served for its boot file, and iPXE its script all the same.
func TestShims(t *testing.T) {
	t.Parallel()
	cfg := labConfig
	cfg.Shims = []string{"snponly-shim.efi"}
	for _, c := range []struct {
		name string
		o    opts
		try  int
		want string
	}{
		{"x64", pxe(7), 0, "snponly-shim.efi"},
		{"x64 by HTTP", httpClient(16), 0, "http://10.77.0.2:8080/ipxe/snponly-shim.efi"},
		{"its second choice has no shim here", pxe(7), len(Forms(RoleServer, 7)) / 2, "ipxe.efi"},
		{"arm64 has none either", pxe(11), 0, "ipxe-arm64.efi"},
		{"BIOS", pxe(0), 0, "undionly.kpxe"},
		{"iPXE", with(pxe(7), opts{77: []byte("iPXE")}), 0, ""},
	} {
		v := labView(t, RoleServer)
		v.Try = c.try
		d := Decide(cfg, v, request(t, Discover, nil, c.o), epoch)
		if d.Reply == nil || d.Reply.File != c.want {
			t.Errorf("%s: got %+v, want %s", c.name, d.Reply, c.want)
		}
	}
}
