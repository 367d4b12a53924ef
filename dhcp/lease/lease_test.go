package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	t0     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	subnet = netip.MustParsePrefix("10.0.0.0/24")
	byAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
)

func ip(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}) }

func hw(n int) HW { return HW{2, 0, 0, 0, byte(n >> 8), byte(n)} }

func pool(t testing.TB, first, last int) *Pool {
	t.Helper()
	p, err := NewPool(Config{Prefix: subnet, Range: Range{ip(first), ip(last)}, Exclude: []netip.Addr{ip(1), ip(2)}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bound(a netip.Addr, h HW, until time.Time) Lease {
	return Lease{IP: a, HW: h, State: StateBound, Granted: t0, Renewed: t0, Expires: until}
}

func TestPick(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		setup func(p *Pool)
		hw    HW
		want  netip.Addr // option 50
		now   time.Time
		got   netip.Addr
		err   error
	}{
		{name: "a reservation comes first", setup: func(p *Pool) {
			p.Reserve([]Reservation{{HW: hw(1), IP: ip(50)}})
			p.Put(bound(ip(11), hw(1), t0.Add(time.Hour)))
		}, hw: hw(1), got: ip(50)},
		{name: "a reserved address that is still lent is not taken away", setup: func(p *Pool) {
			p.Put(bound(ip(12), hw(2), t0.Add(time.Hour)))
			p.Reserve([]Reservation{{HW: hw(1), IP: ip(12)}})
			p.Put(bound(ip(11), hw(1), t0.Add(time.Hour)))
		}, hw: hw(1), got: ip(11)},
		{name: "its live lease", setup: func(p *Pool) { p.Put(bound(ip(12), hw(1), t0.Add(time.Hour))) }, hw: hw(1), want: ip(10), got: ip(12)},
		{name: "its expired lease", setup: func(p *Pool) { p.Put(bound(ip(12), hw(1), t0.Add(-time.Hour))) }, hw: hw(1), got: ip(12)},
		{name: "its released lease", setup: func(p *Pool) {
			p.Put(Lease{IP: ip(12), HW: hw(1), State: StateReleased, Expires: t0})
		}, hw: hw(1), got: ip(12)},
		{name: "what was offered to it", setup: func(p *Pool) { p.Hold(ip(13), hw(1), t0) }, hw: hw(1), got: ip(13)},
		{name: "what it asks for when free", setup: func(*Pool) {}, hw: hw(1), want: ip(12), got: ip(12)},
		{name: "not what it asks for when that was not probed and others were", setup: func(p *Pool) { p.Proved(ip(13), t0) }, hw: hw(1), want: ip(12), got: ip(13)},
		{name: "what it asks for when that was probed", setup: func(p *Pool) { p.Proved(ip(13), t0); p.Proved(ip(12), t0) }, hw: hw(1), want: ip(12), got: ip(12)},
		{name: "an address that was probed", setup: func(p *Pool) { p.Proved(ip(13), t0) }, hw: hw(1), got: ip(13)},
		{name: "not one whose probe is old", setup: func(p *Pool) {
			p.Proved(ip(13), t0.Add(-time.Hour))
			for _, a := range []int{10, 11, 12} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
		}, hw: hw(1), got: ip(13)},
		{name: "the one free longest when all were used", setup: func(p *Pool) {
			for i, a := range []int{10, 11, 12, 13} {
				p.Put(bound(ip(a), hw(a), t0.Add(-time.Duration(i+1)*time.Minute)))
			}
		}, hw: hw(1), got: ip(13)},
		{name: "one on offer to another rather than none", setup: func(p *Pool) {
			for _, a := range []int{10, 11, 12} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
			p.Hold(ip(13), hw(13), t0)
		}, hw: hw(1), got: ip(13)},
		{name: "none when all are live", setup: func(p *Pool) {
			for _, a := range []int{10, 11, 12, 13} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
		}, hw: hw(1), err: ErrPoolFull},
		{name: "none when the last is being stored for another", setup: func(p *Pool) {
			for _, a := range []int{10, 11, 12} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
			p.Claim(ip(13), hw(13))
		}, hw: hw(1), err: ErrPoolFull},
		{name: "not its own while quarantined", setup: func(p *Pool) {
			p.Put(bound(ip(12), hw(1), t0.Add(time.Hour)))
			p.Put(p.Quarantine(ip(12), hw(1), t0, time.Minute))
			for _, a := range []int{10, 11} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
		}, hw: hw(1), got: ip(13)},
		{name: "a quarantined one when its time is over", setup: func(p *Pool) {
			for _, a := range []int{10, 11, 13} {
				p.Put(bound(ip(a), hw(a), t0.Add(time.Hour)))
			}
			p.Put(p.Quarantine(ip(12), HW{}, t0, time.Minute))
		}, hw: hw(1), now: t0.Add(2 * time.Minute), got: ip(12)},
		{name: "never another's reservation", setup: func(p *Pool) {
			p.Reserve([]Reservation{{HW: hw(9), IP: ip(10)}, {HW: hw(8), IP: ip(11)}, {HW: hw(7), IP: ip(12)}, {HW: hw(6), IP: ip(13)}})
		}, hw: hw(1), err: ErrPoolFull},
		{name: "never the router's", setup: func(p *Pool) { p.Exclude([]netip.Addr{ip(10), ip(11), ip(12)}) }, hw: hw(1), want: ip(10), got: ip(13)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := pool(t, 10, 13)
			tt.setup(p)
			now := tt.now
			if now.IsZero() {
				now = t0
			}
			got, err := p.Pick(tt.hw, tt.want, now)
			if !errors.Is(err, tt.err) || got != tt.got {
				t.Errorf("got %v, %v; want %v, %v", got, err, tt.got, tt.err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 20)
	p.Reserve([]Reservation{{HW: hw(1), IP: ip(50)}, {HW: hw(2), IP: ip(50)}})
	p.Put(bound(ip(11), hw(1), t0.Add(time.Hour)))
	p.Hold(ip(12), hw(2), t0)
	p.Claim(ip(13), hw(3))
	tests := []struct {
		name string
		hw   HW
		ip   netip.Addr
		why  string // "" = may have it
	}{
		{"its own lease", hw(1), ip(11), ""},
		{"another's lease", hw(2), ip(11), "leased to 02:00:00:00:00:01"},
		{"its own offer", hw(2), ip(12), ""},
		{"another's offer", hw(1), ip(12), "on offer to 02:00:00:00:00:02"},
		{"what is being given to another", hw(1), ip(13), "being given to 02:00:00:00:00:03"},
		{"its reservation outside the range", hw(1), ip(50), ""},
		{"a reservation made twice belongs to the first", hw(2), ip(50), "reserved for 02:00:00:00:00:01"},
		{"outside the range", hw(1), ip(60), "outside the range"},
		{"another network", hw(1), netip.MustParseAddr("10.9.0.1"), "not an address of the subnet"},
		{"the router", hw(1), ip(1), "the network's own"},
		{"the broadcast address", hw(1), ip(255), "the network's own"},
		{"a free one", hw(1), ip(20), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := p.Check(tt.hw, tt.ip, t0)
			if tt.why == "" && err != nil || tt.why != "" && (!errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), tt.why)) {
				t.Errorf("got %v, want %q", err, tt.why)
			}
		})
	}
	if !p.MustMove(hw(1), ip(11), t0) || p.MustMove(hw(1), ip(50), t0) || p.MustMove(hw(2), ip(12), t0) {
		t.Error("who has a reservation must move to it, nobody else")
	}
}

func TestHoldsAreBoundedAndEnd(t *testing.T) {
	t.Parallel()
	p, err := NewPool(Config{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Range: Range{ip(10), netip.MustParseAddr("10.0.200.0")}, MaxHolds: 100})
	if err != nil {
		t.Fatal(err)
	}
	known := bound(ip(77), hw(60000), t0.Add(time.Hour))
	p.Put(known)
	for i := range 10000 { // a flood of DISCOVERs from as many addresses
		a, err := p.Pick(hw(i), netip.Addr{}, t0)
		if err != nil {
			t.Fatal(err)
		}
		p.Hold(a, hw(i), t0)
	}
	if u := p.Usage(t0); u.Held != 100 || entries(p) > 101 || len(p.owner) > 101 {
		t.Errorf("%d offers, %d entries, %d owners: want at most 101", u.Held, entries(p), len(p.owner))
	}
	if a, err := p.Pick(known.HW, netip.Addr{}, t0); err != nil || a != known.IP {
		t.Errorf("known client got %v, %v", a, err)
	}
	a, _ := p.Pick(hw(3), netip.Addr{}, t0)
	b, _ := p.Pick(hw(3), netip.Addr{}, t0)
	if a != b {
		t.Errorf("a forgotten offer is made anew with another address: %v, %v", a, b)
	}
	if u := p.Usage(t0.Add(2 * time.Minute)); u.Held != 0 || entries(p) != 1 {
		t.Errorf("%d offers and %d entries left after their time", u.Held, entries(p))
	}
}

func TestUnprovedKeepsAStock(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 20)
	list := p.Unproved(3, 99, t0)
	if diff := cmp.Diff([]netip.Addr{ip(10), ip(11), ip(12)}, list, byAddr); diff != "" {
		t.Error(diff)
	}
	for _, a := range list {
		p.Proved(a, t0)
	}
	if more := p.Unproved(3, 99, t0); len(more) != 0 {
		t.Errorf("asks for %v though the stock is full", more)
	}
	got, err := p.Pick(hw(1), netip.Addr{}, t0)
	if err != nil || got != ip(10) {
		t.Errorf("got %v, %v; want the first probed one", got, err)
	}
	p.Put(bound(got, hw(1), t0.Add(time.Hour)))
	if diff := cmp.Diff([]netip.Addr{ip(13)}, p.Unproved(3, 99, t0), byAddr); diff != "" {
		t.Error(diff)
	}
	if again := p.Unproved(3, 99, t0.Add(time.Hour)); len(again) != 3 {
		t.Errorf("%d addresses to probe after an hour, want 3: old findings do not count", len(again))
	}
}

// TestProbesCoverReservedAndEndedAddresses: those are offered too.
func TestProbesCoverReservedAndEndedAddresses(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 13)
	p.Reserve([]Reservation{{HW: hw(1), IP: ip(50)}, {HW: hw(2), IP: ip(51)}})
	p.Put(bound(ip(51), hw(2), t0.Add(time.Hour)))
	p.Put(bound(ip(10), hw(3), t0.Add(time.Hour)))
	p.Put(bound(ip(11), hw(4), t0.Add(-time.Minute)))
	p.Hold(ip(12), hw(5), t0)
	if diff := cmp.Diff([]netip.Addr{ip(50), ip(13), ip(11)}, p.Unproved(9, 9, t0), byAddr); diff != "" {
		t.Error(diff)
	}
	if got := p.Unproved(9, 2, t0); len(got) != 2 {
		t.Errorf("%v at once, want 2", got)
	}
	for _, a := range []int{50, 13, 11} {
		p.Proved(ip(a), t0)
	}
	if got := p.Unproved(9, 9, t0.Add(time.Minute)); len(got) != 0 {
		t.Errorf("%v are probed again after a minute", got)
	}
	for _, tt := range []struct {
		name string
		ip   int
		by   HW
		want bool
	}{
		{"a free address", 13, hw(9), true},
		{"a reserved address that another uses", 50, hw(9), true},
		{"a reserved address that its machine uses", 50, hw(1), false},
		{"an address whose lease ended", 11, hw(4), true},
		{"a lease's own", 10, hw(3), false},
		{"an address that was offered meanwhile", 12, hw(5), false},
		{"an address outside the range", 99, hw(9), false},
	} {
		if got := p.Conflicts(ip(tt.ip), tt.by, t0); got != tt.want {
			t.Errorf("%s: conflict %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestUsage counts what a person wants to know of a range: above all, whether a new machine gets an address.
func TestUsage(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 15)
	p.Reserve([]Reservation{{HW: hw(1), IP: ip(50)}, {HW: hw(2), IP: ip(15)}})
	p.Put(bound(ip(50), hw(1), t0.Add(time.Hour)))  // outside the range
	p.Put(bound(ip(10), hw(3), t0.Add(time.Hour)))  // leased
	p.Put(bound(ip(11), hw(4), t0.Add(-time.Hour))) // ended
	p.Put(p.Quarantine(ip(12), HW{}, t0, time.Hour))
	p.Hold(ip(13), hw(5), t0)
	if diff := cmp.Diff(Usage{Size: 6, Live: 1, Free: 2, Held: 1, Quarantined: 1, Reserved: 2}, p.Usage(t0)); diff != "" {
		t.Error(diff)
	}
}

func TestQuarantineIsShortWhenHalfOfTheRangeIsIn(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 13)
	for _, a := range []int{10, 11} {
		l := p.Quarantine(ip(a), hw(a), t0, time.Hour)
		if !l.Expires.Equal(t0.Add(time.Hour)) {
			t.Fatalf("expires %v", l.Expires)
		}
		p.Put(l)
	}
	if l := p.Quarantine(ip(12), hw(12), t0, time.Hour); !l.Expires.Equal(t0.Add(time.Minute)) {
		t.Errorf("expires %v, want in a minute", l.Expires)
	}
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, want string
		size     int
		ok       bool
	}{
		{"10.0.0.10-10.0.0.20", "10.0.0.10-10.0.0.20", 11, true},
		{"10.0.0.10 - 20", "10.0.0.10-10.0.0.20", 11, true},
		{"10.0.0.10-10.0.0.10", "10.0.0.10-10.0.0.10", 1, true},
		{in: "10.0.0.20-10.0.0.10"}, {in: "10.0.0.10"}, {in: "10.0.0.0-10.255.0.0"}, {in: "::1-::2"}, {in: "x-y"}, {in: ""}, {in: "10.0.0.1-"}, {in: "-"},
	}
	for _, tt := range tests {
		r, err := ParseRange(tt.in)
		if (err == nil) != tt.ok || r.String() != tt.want || r.Size() != tt.size {
			t.Errorf("%q: got %v (%d), %v", tt.in, r, r.Size(), err)
		}
	}
	if _, err := NewPool(Config{Prefix: subnet, Range: Range{ip(10), netip.MustParseAddr("10.0.1.10")}}); err == nil {
		t.Error("a range that leaves the subnet was accepted")
	}
}

func TestLeaseSurvivesJSON(t *testing.T) {
	t.Parallel()
	want := Lease{IP: ip(9), HW: hw(1), ClientID: []byte{1, 2, 3}, Hostname: "a", State: StateBound, Granted: t0, Renewed: t0, Expires: t0, Relay: ip(1), Reserved: true}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Lease
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, byAddr); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(b), `"hw":"02:00:00:00:00:01"`) {
		t.Errorf("hardware address is unreadable: %s", b)
	}
	var bad HW
	if bad.UnmarshalText([]byte("02:00")) == nil || bad.UnmarshalText([]byte("zz:00:00:00:00:01")) == nil {
		t.Error("a bad hardware address was accepted")
	}
}

// client is what one machine believes, for the property below.
type client struct {
	offered netip.Addr
	has     netip.Addr
	until   time.Time
}

// TestNoTwoLiveLeasesShareAnAddress plays arbitrary interleavings of offers, requests, slow commits,
// releases, declines, crashes and changes of configuration, and asks after each step what
// the clients were told.
func TestNoTwoLiveLeasesShareAnAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 6).Draw(t, "size")
		cfg := Config{Prefix: subnet, Range: Range{ip(10), ip(9 + size)}, MaxHolds: rapid.IntRange(1, 4).Draw(t, "holds"), HoldFor: 10 * time.Second}
		p, err := NewPool(cfg)
		if err != nil {
			t.Fatal(err)
		}
		now, disk, clients := t0, map[netip.Addr]Lease{}, make([]client, 5)
		var flight []Lease // claimed, not yet on disk
		var reserved []Reservation
		check := func() {
			seen := map[netip.Addr]int{}
			for i, c := range clients {
				if !c.has.IsValid() || !now.Before(c.until) {
					continue
				}
				if j, dup := seen[c.has]; dup {
					t.Fatalf("clients %d and %d both have %s", i, j, c.has)
				}
				seen[c.has] = i
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
			},
			"discover": func(t *rapid.T) {
				i := rapid.IntRange(0, 4).Draw(t, "client")
				a, err := p.Pick(hw(i), netip.Addr{}, now)
				if err != nil {
					return
				}
				p.Hold(a, hw(i), now)
				clients[i].offered = a
			},
			"request": func(t *rapid.T) {
				i := rapid.IntRange(0, 4).Draw(t, "client")
				a := clients[i].offered
				if rapid.Bool().Draw(t, "renew") {
					a = clients[i].has
				}
				if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
					a = ip(rapid.IntRange(9, 17).Draw(t, "wild"))
				}
				if !a.IsValid() || p.Claimed(a, hw(i)) || p.Check(hw(i), a, now) != nil {
					return
				}
				p.Claim(a, hw(i))
				flight = append(flight, bound(a, hw(i), now.Add(time.Minute)))
			},
			"commit ends": func(t *rapid.T) {
				if len(flight) == 0 {
					t.Skip("nothing to store")
				}
				n := rapid.IntRange(0, len(flight)-1).Draw(t, "which")
				l := flight[n]
				flight = append(flight[:n:n], flight[n+1:]...)
				if rapid.IntRange(0, 4).Draw(t, "fails") > 0 {
					disk[l.IP] = l
					p.Put(l)
					if l.State == StateBound { // the ACK leaves
						clients[int(l.HW[5])].has, clients[int(l.HW[5])].until = l.IP, l.Expires
					}
				}
				p.Settle(l.IP)
			},
			"release": func(t *rapid.T) {
				i := rapid.IntRange(0, 4).Draw(t, "client")
				old, ok := p.Lease(clients[i].has)
				clients[i].until = now // it stops using it whatever we think
				if !ok || old.HW != hw(i) || !old.Live(now) || p.Claimed(old.IP, hw(i)) {
					return
				}
				old.State, old.Expires = StateReleased, now
				p.Claim(old.IP, hw(i))
				flight = append(flight, old)
			},
			"decline": func(t *rapid.T) {
				i := rapid.IntRange(0, 4).Draw(t, "client")
				a := clients[i].has
				if !p.Held(a, hw(i), now) || p.Claimed(a, hw(i)) {
					return
				}
				clients[i].until = now
				p.Claim(a, hw(i))
				flight = append(flight, p.Quarantine(a, hw(i), now, time.Minute))
			},
			"crash": func(t *rapid.T) {
				flight = nil
				if p, err = NewPool(cfg); err != nil {
					t.Fatal(err)
				}
				p.Reserve(reserved)
				for _, l := range disk {
					p.Put(l)
				}
			},
			"reserve": func(t *rapid.T) {
				reserved = []Reservation{{HW: hw(rapid.IntRange(0, 4).Draw(t, "client")), IP: ip(rapid.IntRange(9, 17).Draw(t, "ip"))}}
				p.Reserve(reserved)
			},
			"exclude": func(t *rapid.T) { p.Exclude([]netip.Addr{ip(rapid.IntRange(9, 17).Draw(t, "ip"))}) },
			"probe": func(t *rapid.T) {
				for _, a := range p.Unproved(2, 99, now) {
					p.Proved(a, now)
				}
			},
		})
	})
}

func TestExhaustionEvictsNobody(t *testing.T) {
	t.Parallel()
	p := pool(t, 10, 12)
	for i := range 3 {
		a, err := p.Pick(hw(i), netip.Addr{}, t0)
		if err != nil {
			t.Fatal(err)
		}
		p.Put(bound(a, hw(i), t0.Add(time.Hour)))
	}
	before := p.Leases()
	for i := 3; i < 50; i++ {
		if _, err := p.Pick(hw(i), ip(10), t0); !errors.Is(err, ErrPoolFull) {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	if diff := cmp.Diff(before, p.Leases(), byAddr); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{10, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, err := NewPool(Config{Prefix: netip.MustParsePrefix("10.0.0.0/15"), Range: Range{netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.255.255")}})
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				a, _ := p.Pick(hw(i), netip.Addr{}, t0)
				p.Put(bound(a, hw(i), t0.Add(time.Hour)))
			}
			for b.Loop() {
				a, _ := p.Pick(HW{6, 6, 6, 6, 6, 6}, netip.Addr{}, t0)
				p.Hold(a, HW{6, 6, 6, 6, 6, 6}, t0)
			}
		})
	}
}

// entries counts what a pool knows something of.
func entries(p *Pool) (n int) {
	for range p.table.all() {
		n++
	}
	return n
}

func TestAppendJSONIsWhatTheLibraryWrites(t *testing.T) {
	t.Parallel()
	if n := reflect.TypeFor[Lease]().NumField(); n != 12 {
		t.Errorf("a Lease has %d fields: teach AppendJSON, AppendBinary and record the new one", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) bool { return rapid.Bool().Draw(t, name) }
		when := func(name string) time.Time {
			return rapid.SampledFrom([]time.Time{{}, t0, t0.Add(time.Nanosecond), time.Now(), t0.In(time.FixedZone("", 3600))}).Draw(t, name)
		}
		l := Lease{IP: ip(rapid.IntRange(0, 250).Draw(t, "ip")), HW: hw(rapid.IntRange(0, 250).Draw(t, "hw")),
			ClientID: rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "id"), Hostname: rapid.String().Draw(t, "hostname"),
			State:   rapid.SampledFrom([]State{"", StateBound, StateReleased, StateQuarantined}).Draw(t, "state"),
			Granted: when("granted"), Renewed: when("renewed"), Expires: when("expires"), Reserved: some("reserved"), ByRenewal: some("by renewal")}
		if some("usual client id") {
			l.ClientID = append([]byte{1}, l.HW[:]...)
		}
		if some("twin") {
			l.Twin = hw(7)
		}
		if some("relay") {
			l.Relay = ip(1)
		}
		want, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(l.AppendJSON(nil)); got != string(want) {
			t.Errorf("got\n%s, want\n%s", got, want)
		}
		b, ok := l.AppendBinary(nil)
		if !ok {
			t.Errorf("%+v has no binary form", l)
		}
		back, err := DecodeBinary(b)
		if diff := cmp.Diff(l, back, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("the binary form, %v (-want +got):\n%s", err, diff)
		}
		p, err := NewPool(Config{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Range: Range{ip(1), ip(2)}})
		if err != nil {
			t.Fatal(err)
		}
		p.Put(l)
		kept, _ := p.Lease(l.IP)
		if l.State == "" {
			l.State = StateBound
		}
		if len(l.ClientID) == 0 {
			l.ClientID = nil
		}
		if diff := cmp.Diff(l, kept, byAddr, cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
			t.Errorf("kept in the pool (-want +got):\n%s", diff)
		}
	})
}
