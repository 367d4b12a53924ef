package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLeases is a small LeaseStore: what Commit stored, Leases reads.
type memLeases struct {
	mu       sync.Mutex
	leases   map[netip.Addr]lease.Lease
	reserved []lease.Reservation
	commit   func(lease.Lease) error // called outside the lock; nil = at once
}

func (m *memLeases) CommitLease(_ context.Context, l lease.Lease) error {
	if m.commit != nil {
		if err := m.commit(l); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leases == nil {
		m.leases = map[netip.Addr]lease.Lease{}
	}
	m.leases[l.IP] = l
	return nil
}

func (m *memLeases) Leases() ([]lease.Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []lease.Lease
	for _, l := range m.leases {
		out = append(out, l)
	}
	return out, nil
}

func (m *memLeases) Reservations() ([]lease.Reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.reserved), nil
}

// sent is a reply on the fake wire.
type sent struct {
	to dhcp.SendTo
	m  *dhcpv4.DHCPv4
}

// bench is a server without sockets on a fake wire, with a clock of its own.
type bench struct {
	t      *testing.T
	s      *Server
	l      *link
	store  inventory.Store
	leases *memLeases
	mu     sync.Mutex
	now    time.Time
	wire   chan sent
}

var (
	self    = netip.MustParseAddr("10.0.0.2")
	labMAC  = inventory.MAC{0x52, 0x54, 0, 1, 2, 3}
	testNet = netip.MustParsePrefix("10.0.0.2/24")
)

func newBench(t *testing.T, role dhcp.Role, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, store: inventorytest.NewStore(t), leases: &memLeases{}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), wire: make(chan sent, 10000)}
	rng, err := lease.ParseRange("10.0.0.100-10.0.0.199")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Mode: ModeServer, Range: rng, HTTPPort: 8080, Store: b.store, Leases: b.leases, Log: slog.New(slog.DiscardHandler), Now: b.clock}
	if edit != nil {
		edit(&cfg)
	}
	if b.s, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := b.s.load(); err != nil {
		t.Fatal(err)
	}
	b.l = &link{name: "eth0", index: 1, mac: inventory.MAC{2, 0, 0, 0, 0, 2}, addrs: []netip.Prefix{testNet}, stop: func() {}}
	b.s.links["eth0"] = b.l
	if err := b.s.placeRange(); err != nil {
		t.Fatal(err)
	}
	b.s.setRole(role, "test")
	b.s.send = func(_ *link, to dhcp.SendTo, raw []byte) error {
		m, err := dhcpv4.FromBytes(raw)
		if err != nil {
			return err
		}
		b.wire <- sent{to, m}
		return nil
	}
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// write carries out what waits for the diary.
func (b *bench) write() {
	for batch := b.s.notes.more(nil); len(batch) > 0; batch = b.s.notes.more(nil) {
		b.s.notes.write(batch)
	}
}

func (b *bench) hosts() []inventory.Host {
	b.t.Helper()
	var out []inventory.Host
	if err := b.store.View(func(tx *inventory.Tx) (err error) {
		out, _, err = tx.Hosts("", 1000)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bench) diary(id inventory.HostID) []string {
	b.t.Helper()
	var out []string
	if err := b.store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary(id, 0, 1000)
		for _, e := range es {
			out = append(out, fmt.Sprintf("%s %s: %s", e.Kind, e.By, e.Text))
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// msg makes a client's message.
func msg(t testing.TB, typ dhcpv4.MessageType, mac inventory.MAC, mods ...dhcpv4.Modifier) []byte {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac[:]), dhcpv4.WithMessageType(typ)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.ToBytes()
}

func raw(code uint8, v ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), v))
}

func pxe(arch byte) dhcpv4.Modifier {
	return func(m *dhcpv4.DHCPv4) { raw(93, 0, arch)(m); raw(60, []byte("PXEClient:Arch")...)(m) }
}

func ipxe(m *dhcpv4.DHCPv4) { raw(77, []byte("iPXE")...)(m) }

func wants(ip netip.Addr) dhcpv4.Modifier { return raw(50, ip.AsSlice()...) }

func ours(m *dhcpv4.DHCPv4) { raw(54, self.AsSlice()...)(m) }

func (b *bench) say(m []byte) {
	b.s.handle(arrival{link: b.l, port: 67, src: netip.MustParseAddrPort("0.0.0.0:68")}, m)
}

// hear waits for the next reply.
func (b *bench) hear() sent {
	b.t.Helper()
	select {
	case x := <-b.wire:
		return x
	case <-time.After(10 * time.Second):
		b.t.Fatal("no reply within 10 s")
		return sent{}
	}
}

// silence settles everything and fails when something was sent.
func (b *bench) silence() {
	b.t.Helper()
	b.s.pending.Wait()
	select {
	case x := <-b.wire:
		b.t.Fatalf("sent %s to %v, want silence", x.m.Summary(), x.to)
	default:
	}
}

func yiaddr(m *dhcpv4.DHCPv4) netip.Addr {
	a, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	return a
}

// dora goes through the four messages.
func (b *bench) dora(mac inventory.MAC, mods ...dhcpv4.Modifier) netip.Addr {
	b.t.Helper()
	b.say(msg(b.t, dhcpv4.MessageTypeDiscover, mac, mods...))
	ip := yiaddr(b.hear().m)
	b.say(msg(b.t, dhcpv4.MessageTypeRequest, mac, append(mods, wants(ip), ours)...))
	ack := b.hear()
	if ack.m.MessageType() != dhcpv4.MessageTypeAck || yiaddr(ack.m) != ip {
		b.t.Fatalf("got %s, want an ACK of %s", ack.m.Summary(), ip)
	}
	return ip
}

func TestAckLeavesAfterItsLeaseIsStored(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	begun, let := make(chan lease.Lease, 10), make(chan struct{})
	b.leases.commit = func(l lease.Lease) error {
		begun <- l
		<-let
		return nil
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC))
	ip := yiaddr(b.hear().m)
	b.say(msg(t, dhcpv4.MessageTypeRequest, labMAC, wants(ip), ours))
	l := <-begun
	if l.IP != ip || l.HW != lease.HW(labMAC) || !l.Live(b.now) {
		t.Errorf("stores %+v", l)
	}
	select {
	case x := <-b.wire:
		t.Fatalf("%s left before the lease was stored", x.m.Summary())
	default:
	}
	// Meanwhile the address is nobody else's, and a repeat of the request is not stored twice.
	b.say(msg(t, dhcpv4.MessageTypeRequest, inventory.MAC{2, 9}, wants(ip), ours))
	if nak := b.hear(); nak.m.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("another client got %s", nak.m.Summary())
	}
	b.say(msg(t, dhcpv4.MessageTypeRequest, labMAC, wants(ip), ours))
	close(let)
	if ack := b.hear(); ack.m.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("got %s", ack.m.Summary())
	}
	b.silence()
	if got, ok := b.s.LeaseOf(labMAC); !ok || got != ip {
		t.Errorf("lease of the client: %v, %v", got, ok)
	}
}

func TestNoAckWithoutStoredLease(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	fail := true
	b.leases.commit = func(lease.Lease) error {
		if fail {
			return errors.New("disk full")
		}
		return nil
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC))
	ip := yiaddr(b.hear().m)
	b.say(msg(t, dhcpv4.MessageTypeRequest, labMAC, wants(ip), ours))
	b.silence()
	if n := b.s.Status().Counters.CommitErrors; n != 1 || len(b.s.Leases()) != 0 {
		t.Errorf("%d errors counted, leases %v", n, b.s.Leases())
	}
	fail = false
	b.say(msg(t, dhcpv4.MessageTypeRequest, labMAC, wants(ip), ours))
	if ack := b.hear(); ack.m.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("the client's repeat got %s", ack.m.Summary())
	}
	b.s.pending.Wait()
}

func TestManyLeasesWaitForTheDiskTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	all := make(chan struct{})
	var mu sync.Mutex
	waiting := 0
	b.leases.commit = func(lease.Lease) error {
		mu.Lock()
		if waiting++; waiting == 50 {
			close(all)
		}
		mu.Unlock()
		<-all // nobody goes on before fifty wait: one at a time would hang here
		return nil
	}
	for i := range 50 {
		mac := inventory.MAC{2, 0, 0, 0, 0, byte(i)}
		b.say(msg(t, dhcpv4.MessageTypeRequest, mac, wants(netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})), ours))
	}
	seen := map[netip.Addr]bool{}
	for range 50 {
		seen[yiaddr(b.hear().m)] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d addresses, want 50", len(seen))
	}
	b.s.pending.Wait()
}

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
		b.pass(time.Second)
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
		if h.IP != ip || !h.LastSeen.Equal(b.now) || h.State != tt.state {
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

func TestLeasesSurviveARestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	ip := b.dora(labMAC)
	b.s.pending.Wait()
	again := newBench(t, dhcp.RoleServer, func(c *Config) { c.Leases = b.leases })
	again.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC))
	if got := yiaddr(again.hear().m); got != ip {
		t.Errorf("offers %v, had %v", got, ip)
	}
	again.say(msg(t, dhcpv4.MessageTypeRequest, inventory.MAC{2, 9}, wants(ip), ours))
	if x := again.hear(); x.m.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("another client got %s", x.m.Summary())
	}
}

func TestReservationsAreReadAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	b.leases.reserved = []lease.Reservation{{HW: lease.HW(labMAC), IP: netip.MustParseAddr("10.0.0.50")}}
	if err := b.s.Reload(); err != nil {
		t.Fatal(err)
	}
	if ip := b.dora(labMAC); ip.String() != "10.0.0.50" {
		t.Errorf("got %v", ip)
	}
}

func TestRelayedClientRenewsDirectly(t *testing.T) {
	t.Parallel()
	far := netip.MustParsePrefix("10.8.0.0/24")
	b := newBench(t, dhcp.RoleServer, func(c *Config) {
		c.Relayed = []Relayed{{Prefix: far, Range: lease.Range{First: netip.MustParseAddr("10.8.0.50"), Last: netip.MustParseAddr("10.8.0.60")}, Router: netip.MustParseAddr("10.8.0.1")}}
	})
	behind := func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = []byte{10, 8, 0, 1} }
	ip := b.dora(labMAC, behind)
	if !far.Contains(ip) {
		t.Fatalf("got %v for a client behind the relay", ip)
	}
	renew := msg(t, dhcpv4.MessageTypeRequest, labMAC, func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = ip.AsSlice() })
	b.s.handle(arrival{link: b.l, port: 67, src: netip.AddrPortFrom(ip, 68), toUs: true}, renew)
	if x := b.hear(); x.m.MessageType() != dhcpv4.MessageTypeAck || x.to.To.Addr() != ip || x.m.Router()[0].String() != "10.8.0.1" {
		t.Errorf("renewal got %s to %v", x.m.Summary(), x.to)
	}
	// The same machine carried to our segment and broadcasting there is told that its address is of no use.
	b.say(renew)
	if x := b.hear(); x.m.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a moved machine got %s", x.m.Summary())
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 9}, raw(118, 10, 8, 0, 0)))
	if x := b.hear(); !far.Contains(yiaddr(x.m)) {
		t.Errorf("a client that names its subnet (RFC 3011) got %v", yiaddr(x.m))
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 10}, func(m *dhcpv4.DHCPv4) { m.GatewayIPAddr = []byte{10, 99, 0, 1} }))
	b.silence()
}

func TestRivalThatAClientNamesIsLookedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	asked := 0
	b.s.ask = func(*link) error { asked++; return nil }
	for i := range 5 {
		b.say(msg(t, dhcpv4.MessageTypeRequest, inventory.MAC{2, byte(i)}, wants(netip.MustParseAddr("10.0.0.30")), raw(54, 10, 0, 0, 1)))
	}
	if asked != 1 || len(b.s.Status().Servers) != 0 {
		t.Errorf("asked %d times, servers %v: want one look, and no server made of a client's word", asked, b.s.Status().Servers)
	}
	b.s.lookAgain()
	if asked != 2 {
		t.Error("a server does not look again from time to time")
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
	b.pass(time.Second)
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
	b.pass(10 * time.Second)
	b.dora(labMAC, pxe(0), ipxe)
	b.write()
	if n := len(b.hosts()); n < 100 || n > strangersAtOnce+1 {
		t.Errorf("%d hosts, want at most %d", n, strangersAtOnce+1)
	}
	for _, h := range b.hosts() {
		if h.MAC == labMAC && !h.LastSeen.Equal(b.now) {
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
	for name, edit := range map[string]func(*Config){
		"no store":                   func(c *Config) { c.Store = nil },
		"no port":                    func(c *Config) { c.HTTPPort = 0 },
		"a mode nobody knows":        func(c *Config) { c.Mode = "both" },
		"server mode without range":  func(c *Config) { c.Mode = ModeServer },
		"a lease of a second":        func(c *Config) { c.LeaseTime = time.Second },
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
