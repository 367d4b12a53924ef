package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLeases is a small LeaseStore: what Commit stored, Leases reads.
type memLeases struct {
	mu       sync.Mutex
	leases   map[netip.Addr]lease.Lease
	reserved []lease.Reservation
	version  uint64
	commit   func(lease.Lease) error // of each; called outside the lock; nil = at once
	commits  func([]lease.Lease)     // the same of all at once
}

func (m *memLeases) CommitLeases(list ...lease.Lease) error {
	if m.commits != nil {
		m.commits(list)
	}
	for _, l := range list {
		if m.commit != nil {
			if err := m.commit(l); err != nil {
				return err
			}
		}
		m.mu.Lock()
		if m.leases == nil {
			m.leases = map[netip.Addr]lease.Lease{}
		}
		l.ClientID = slices.Clone(l.ClientID)
		m.leases[l.IP] = l
		m.mu.Unlock()
	}
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

func (m *memLeases) ReservationsVersion() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
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
	clock  *clocktest.Clock
	wire   chan sent
}

var (
	self    = netip.MustParseAddr("10.0.0.2")
	labMAC  = inventory.MAC{0x52, 0x54, 0, 1, 2, 3}
	testNet = netip.MustParsePrefix("10.0.0.2/24")
)

func newBench(t *testing.T, role dhcp.Role, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, store: inventorytest.NewStore(t), leases: &memLeases{}, clock: clocktest.New(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), wire: make(chan sent, 10000)}
	rng, err := lease.ParseRange("10.0.0.100-10.0.0.199")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Mode: ModeServer, Range: rng, HTTPPort: 8080, Store: b.store, Leases: b.leases, Log: slog.New(slog.DiscardHandler), Now: b.clock.Now}
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
	b.s.send = func(_ *link, out []outgoing) {
		for i := range out {
			m, err := dhcpv4.FromBytes(out[i].b)
			if out[i].err = err; err == nil {
				b.wire <- sent{out[i].to, m}
			}
		}
	}
	return b
}

// write carries out what waits for the diary, when all that was sent is noted.
func (b *bench) write() {
	b.s.pending.Wait()
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
	handle(b.s, arrival{link: b.l, port: 67, src: netip.MustParseAddrPort("0.0.0.0:68")}, m)
}

// hear waits for the next reply. An ACK is counted, listed and put into the diary's queue after it has left.
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

// dora goes through the four messages, until they are counted and listed.
func (b *bench) dora(mac inventory.MAC, mods ...dhcpv4.Modifier) netip.Addr {
	b.t.Helper()
	b.say(msg(b.t, dhcpv4.MessageTypeDiscover, mac, mods...))
	ip := yiaddr(b.hear().m)
	b.say(msg(b.t, dhcpv4.MessageTypeRequest, mac, append(mods, wants(ip), ours)...))
	ack := b.hear()
	if ack.m.MessageType() != dhcpv4.MessageTypeAck || yiaddr(ack.m) != ip {
		b.t.Fatalf("got %s, want an ACK of %s", ack.m.Summary(), ip)
	}
	b.s.pending.Wait()
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
	if l.IP != ip || l.HW != lease.HW(labMAC) || !l.Live(b.clock.Now()) {
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

func TestManyLeasesShareASync(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	begun, let := make(chan struct{}), make(chan struct{})
	var batches []int
	b.leases.commits = func(list []lease.Lease) {
		if batches = append(batches, len(list)); len(batches) == 1 {
			close(begun)
			<-let
		}
	}
	for i := range 50 {
		mac := inventory.MAC{2, 0, 0, 0, 0, byte(i)}
		b.say(msg(t, dhcpv4.MessageTypeRequest, mac, wants(netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})), ours))
		if i == 0 {
			<-begun
		}
	}
	close(let)
	seen := map[netip.Addr]bool{}
	for range 50 {
		seen[yiaddr(b.hear().m)] = true
	}
	b.s.pending.Wait()
	if !slices.Equal(batches, []int{1, 49}) || len(seen) != 50 {
		t.Errorf("leases were stored in batches of %v for %d addresses: want one, then the 49 that gathered meanwhile", batches, len(seen))
	}
}

// TestALoneLeaseIsStoredAtOnce: by who read the request, and those that come meanwhile are not forgotten.
func TestALoneLeaseIsStoredAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	alone := func(n byte) {
		a := b.s.take(arrival{link: b.l, port: 67}, msg(t, dhcpv4.MessageTypeRequest, inventory.MAC{2, 0, 0, 0, 0, n}, wants(netip.AddrFrom4([4]byte{10, 0, 0, 100 + n})), ours))
		b.s.storeFirst([]*answer{a}, true)
	}
	var batches []int
	b.leases.commits = func(list []lease.Lease) {
		if batches = append(batches, len(list)); len(batches) == 1 {
			alone(2) // while the first one is on its way to the disk
			alone(3)
		}
	}
	alone(1)
	if len(b.wire) == 0 {
		t.Error("not answered when its lease was stored")
	}
	b.s.pending.Wait()
	for n := byte(1); n <= 3; n++ {
		if got, want := yiaddr(b.hear().m), netip.AddrFrom4([4]byte{10, 0, 0, 100 + n}); got != want {
			t.Errorf("answer %d: got %s, want %s", n, got, want)
		}
	}
	if alone(4); !slices.Equal(batches, []int{1, 2, 1}) {
		t.Errorf("stored in batches of %v, want 1, 2, 1", batches)
	}
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
	handle(b.s, arrival{link: b.l, port: 67, src: netip.AddrPortFrom(ip, 68), toUs: true}, renew)
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
