package server

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// stuckStore is an inventory whose writes hang: no reply may wait for one.
type stuckStore struct {
	inventory.Store
	let chan struct{}
}

func (s stuckStore) Update(fn func(*inventory.Tx) error) error {
	<-s.let
	return s.Store.Update(fn)
}

func TestNoReplyWaitsForTheDiary(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	b := newBench(t, dhcp.RoleServer, func(c *Config) { c.Store = stuckStore{c.Store, let} })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.s.notes.run(ctx) }()
	for i := range 1300 { // more than the queue holds
		b.clock.Add(time.Second)
		b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, pxe(0)))
		b.hear()
	}
	if n := b.s.Status().Counters.NotesDropped; n == 0 {
		t.Error("nothing was dropped although nothing could be written: the queue is not bounded")
	}
	close(let)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(b.hosts()); n == 0 {
		t.Error("what was queued is not written at the end")
	}
}

func TestNetbootersBecomeHostsOthersDoNot(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	laptop := inventory.MAC{2, 0, 0, 0, 0, 77}
	b.dora(laptop)
	ip := b.dora(labMAC, pxe(7))
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(7))) // a retransmission
	b.hear()
	b.dora(labMAC, pxe(7), ipxe)
	b.write()
	hosts := b.hosts()
	if len(hosts) != 1 || hosts[0].MAC != labMAC || hosts[0].State != inventory.StateSeen || hosts[0].IP != ip || hosts[0].Arch != "x86_64" || hosts[0].Firmware != "uefi" {
		t.Fatalf("hosts %+v", hosts)
	}
	want := []string{
		"dhcp.discover firmware: Firmware (x64 UEFI) asks for an address.",
		"dhcp.offer firmware: Firmware (x64 UEFI) was offered " + ip.String() + " and the boot file snponly.efi.",
		"dhcp.ack firmware: Firmware (x64 UEFI) got the address " + ip.String() + " for 1 h and the boot file snponly.efi.",
		"dhcp.discover ipxe: iPXE asks for an address.",
		"dhcp.offer ipxe: iPXE was offered " + ip.String() + " and its boot script.",
		"dhcp.ack ipxe: iPXE got the address " + ip.String() + " for 1 h and its boot script.",
	}
	if diff := cmp.Diff(want, b.diary(hosts[0].ID)); diff != "" {
		t.Error(diff)
	}
}

func TestKnownHostIsKeptCurrent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state inventory.State
		by    string
	}{{inventory.StateReady, "stage-0: Stage-0"}, {inventory.StateInstalled, "host: The running system"}} {
		b := newBench(t, dhcp.RoleServer, nil)
		if err := b.store.Update(func(tx *inventory.Tx) error {
			_, err := tx.PutHost(inventory.Host{ID: "0123456789abcdef", MAC: labMAC, MACs: []inventory.MAC{labMAC}, State: tt.state})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		ip := b.dora(labMAC)
		b.write()
		h := b.hosts()[0]
		if h.IP != ip || !h.LastSeen.Equal(b.clock.Now()) || h.State != tt.state {
			t.Errorf("host %+v", h)
		}
		d := b.diary(h.ID)
		if len(d) != 3 || d[2] != "dhcp.ack "+tt.by+" got the address "+ip.String()+" for 1 h." {
			t.Errorf("diary %q", d)
		}
	}
}

func TestIgnoredHost(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	if err := b.store.Update(func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "0123456789abcdef", MAC: labMAC, MACs: []inventory.MAC{labMAC}, State: inventory.StateIgnored})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(0)))
	if x := b.hear(); x.m.BootFileName != "" || !yiaddr(x.m).IsValid() {
		t.Errorf("got %s, want an address and no boot file", x.m.Summary())
	}
	b.s.setRole(dhcp.RoleProxy, "test")
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(0)))
	b.silence()
}

func TestReservationsAreReadAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	b.leases.version++
	b.leases.reserved = []lease.Reservation{{HW: lease.HW(labMAC), IP: netip.MustParseAddr("10.0.0.50")}}
	if err := b.s.Reload(); err != nil {
		t.Fatal(err)
	}
	if ip := b.dora(labMAC); ip.String() != "10.0.0.50" {
		t.Errorf("got %v", ip)
	}
}

func TestFloodIsLimited(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	m := msg(t, dhcpv4.MessageTypeDiscover, labMAC)
	for range 500 {
		b.say(m)
	}
	c := b.s.Status().Counters
	if c.Offers != perMAC || c.Limited != 500-perMAC {
		t.Errorf("%d offers, %d limited; want %d, the rest", c.Offers, c.Limited, perMAC)
	}
	b.clock.Add(time.Second)
	b.say(m)
	if c := b.s.Status().Counters; c.Offers != perMAC+1 {
		t.Error("the limit does not end with its second")
	}
	for range 10000 {
		b.say([]byte("garbage"))
	}
	if c := b.s.Status().Counters; c.Malformed != 10000 {
		t.Errorf("%d malformed", c.Malformed)
	}
}

func TestFloodOfStrangersMakesFewHosts(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	b.dora(labMAC, pxe(0))
	b.write()
	for i := range 900 {
		b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, pxe(0)))
		b.hear()
	}
	b.clock.Add(10 * time.Second)
	b.dora(labMAC, pxe(0), ipxe)
	b.write()
	if n := len(b.hosts()); n < 100 || n > strangersAtOnce+1 {
		t.Errorf("%d hosts, want at most %d", n, strangersAtOnce+1)
	}
	for _, h := range b.hosts() {
		if h.MAC == labMAC && !h.LastSeen.Equal(b.clock.Now()) {
			t.Error("a known host was drowned in strangers")
		}
	}
}

func TestDecisionsAreKeptWithReasons(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleProxy, nil)
	for range 3 {
		b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, 0, 0, 1}))
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(0)))
	d := b.s.Status().Decisions
	if len(d) != 2 || d[0].Reply != "OFFER" || d[0].Boot != "undionly.kpxe" || d[1].Reply != "" || d[1].Times != 3 || !strings.Contains(d[1].Why, "ordinary client") {
		t.Errorf("decisions %+v", d)
	}
	for i := range 300 {
		b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, 0, 1, byte(i)}))
	}
	if n := len(b.s.Status().Decisions); n != keepDecisions {
		t.Errorf("%d kept", n)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	store, leases := inventorytest.NewStore(t), &memLeases{}
	ok := Config{Store: store, Leases: leases, HTTPPort: 8080}
	far := Relayed{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Range: lease.Range{First: netip.MustParseAddr("10.1.0.5"), Last: netip.MustParseAddr("10.1.0.9")}}
	for name, edit := range map[string]func(*Config){
		"no store":                   func(c *Config) { c.Store = nil },
		"no port":                    func(c *Config) { c.HTTPPort = 0 },
		"a mode nobody knows":        func(c *Config) { c.Mode = "both" },
		"server mode without range":  func(c *Config) { c.Mode = ModeServer },
		"a lease of a second":        func(c *Config) { c.LeaseTime = time.Second },
		"a relayed segment twice":    func(c *Config) { c.Relayed = []Relayed{far, far} },
		"its own range relayed":      func(c *Config) { c.Relayed, c.Range = []Relayed{far}, far.Range },
		"a relayed range off subnet": func(c *Config) { c.Relayed = []Relayed{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}} },
	} {
		c := ok
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(ok); err != nil {
		t.Error(err)
	}
}

func TestHolderNamesTheProgram(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("net/udp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"+
		" 1: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0\n")
	write("77/comm", "dnsmasq\n")
	if err := os.MkdirAll(filepath.Join(root, "77/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[4711]", filepath.Join(root, "77/fd/4")); err != nil {
		t.Fatal(err)
	}
	if got := holder(root, 67); got != "dnsmasq (pid 77)" {
		t.Errorf("got %q", got)
	}
	if got := holder(root, 4011); got != "" {
		t.Errorf("port nobody has: %q", got)
	}
}

func TestHostSettingsAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	route, resolv := filepath.Join(dir, "route"), filepath.Join(dir, "resolv.conf")
	for f, text := range map[string]string{
		route:  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\neth1\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
		resolv: "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver fe80::1\nsearch lan\n",
	} {
		if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := defaultGateway(route, "eth0").String(); got != "10.0.0.1" {
		t.Errorf("gateway %s", got)
	}
	if got := defaultGateway(route, "eth9"); got.IsValid() {
		t.Errorf("gateway of an interface without one: %s", got)
	}
	if got := resolvers(resolv); len(got) != 1 || got[0].String() != "10.0.0.1" {
		t.Errorf("resolvers %v", got)
	}
}
