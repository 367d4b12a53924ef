package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/web"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hatchery.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverTheFile(t *testing.T) {
	t.Parallel()
	s, err := loadSettings(writeConfig(t, "dhcp = \"proxy\"\nlease_time = \"2h\"\ninterfaces = [\"eth0\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	given := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := defaultSettings()
	flags.bind(given)
	if err := given.Parse([]string{"--dhcp", "off", "--interface", "lan0", "--interface", "lan1"}); err != nil {
		t.Fatal(err)
	}
	if err := overlay(given, &s); err != nil {
		t.Fatal(err)
	}
	cfg, err := s.check()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.DHCP != "off" || cfg.leaseTime != 2*time.Hour || strings.Join(cfg.Interfaces, " ") != "lan0 lan1" {
		t.Errorf("got dhcp %s, lease %s, interfaces %v", cfg.DHCP, cfg.leaseTime, cfg.Interfaces)
	}
}

func TestUnknownKeysAreErrorsThatNameTheKey(t *testing.T) {
	t.Parallel()
	_, err := loadSettings(writeConfig(t, "dchp = \"proxy\"\n"))
	if err == nil || !strings.Contains(err.Error(), "dchp") {
		t.Errorf("got %v, want an error that names dchp", err)
	}
}

func TestBadSettingsNameTheKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, key string
		set       func(*settings)
	}{
		{"an unknown mode", "dhcp", func(s *settings) { s.DHCP = "on" }},
		{"a range backwards", "dhcp_range", func(s *settings) { s.DHCPRange = "10.0.0.9-10.0.0.1" }},
		{"a range of one word", "dhcp_range", func(s *settings) { s.DHCPRange = "10.0.0.9" }},
		{"a server without a range", "dhcp_range", func(s *settings) { s.DHCP = "server" }},
		{"a router that is a name", "dhcp_router", func(s *settings) { s.DHCPRouter = "router" }},
		{"a time server that is a name", "dhcp_ntp", func(s *settings) { s.DHCPNTP = []string{"pool"} }},
		{"a route without a gateway", "dhcp_routes", func(s *settings) { s.DHCPRoutes = []string{"10.9.0.0/16"} }},
		{"a route with host bits", "dhcp_routes", func(s *settings) { s.DHCPRoutes = []string{"10.9.0.1/16 via 10.0.0.1"} }},
		{"the default route as a route", "dhcp_router", func(s *settings) { s.DHCPRoutes = []string{"0.0.0.0/0 via 10.0.0.1"} }},
		{"a relayed subnet without a range", "dhcp_relayed 10.20.0.0/24", func(s *settings) { s.DHCPRelayed = []relayedSettings{{Subnet: "10.20.0.0/24"}} }},
		{"a relayed range outside its subnet", "dhcp_relayed", func(s *settings) {
			s.DHCPRelayed = []relayedSettings{{Subnet: "10.20.0.0/24", Range: "10.21.0.5-10.21.0.9"}}
		}},
		{"a relayed router outside its subnet", "dhcp_relayed", func(s *settings) {
			s.DHCPRelayed = []relayedSettings{{Subnet: "10.20.0.0/24", Range: "10.20.0.5-9", Router: "10.0.0.1"}}
		}},
		{"a reservation for nobody", "reservations", func(s *settings) { s.Reservations = []reservationSettings{{IP: "10.0.0.9"}} }},
		{"a reservation of an IPv6 address", "reservations: ip", func(s *settings) {
			s.Reservations = []reservationSettings{{MAC: "52:54:00:00:00:01", IP: "fd00::1"}}
		}},
		{"an address reserved twice", "twice", func(s *settings) {
			s.Reservations = []reservationSettings{{MAC: "52:54:00:00:00:01", IP: "10.0.0.9"}, {MAC: "52:54:00:00:00:02", IP: "10.0.0.9"}}
		}},
		{"a lease of a second", "lease_time", func(s *settings) { s.LeaseTime = "1s" }},
		{"an address without port", "boot_addr", func(s *settings) { s.BootAddr = "1.2.3.4" }},
		{"kernel arguments for a shell", "kernel_args", func(s *settings) { s.KernelArgs = "a=$(reboot)" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := defaultSettings()
			tt.set(&s)
			if _, err := s.check(); err == nil || !strings.Contains(err.Error(), tt.key) {
				t.Errorf("got %v, want an error that names %s", err, tt.key)
			}
		})
	}
}

// TestAddressSettings reads everything that server mode can hand out from a file.
func TestAddressSettings(t *testing.T) {
	t.Parallel()
	s, err := loadSettings(writeConfig(t, `
dhcp = "server"
dhcp_range = "192.168.1.100-199"
dhcp_ntp = ["192.168.1.1"]
dhcp_routes = ["10.9.0.0/16 via 192.168.1.5"]

[[dhcp_relayed]]
subnet = "10.20.0.0/24"
range = "10.20.0.50-10.20.0.99"
router = "10.20.0.1"
dns = ["9.9.9.9"]

[[reservations]]
mac = "52-54-00-12-34-56"
ip = "192.168.1.20"
hostname = "alpha"
`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.check()
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr
	if diff := cmp.Diff([]server.Relayed{{Prefix: netip.MustParsePrefix("10.20.0.0/24"), Range: lease.Range{First: a("10.20.0.50"), Last: a("10.20.0.99")},
		Router: a("10.20.0.1"), DNS: []netip.Addr{a("9.9.9.9")}}}, c.relayed, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]lease.Reservation{{HW: lease.HW{0x52, 0x54, 0, 0x12, 0x34, 0x56}, IP: a("192.168.1.20"), Name: "alpha"}}, c.reserved,
		cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if len(c.ntp) != 1 || c.ntp[0] != a("192.168.1.1") || len(c.routes) != 1 || c.routes[0] != (dhcp.Route{To: netip.MustParsePrefix("10.9.0.0/16"), Via: a("192.168.1.5")}) {
		t.Errorf("time servers %v, routes %v", c.ntp, c.routes)
	}
}

// TestReservationsOfTheFileWin: what the configuration file reserves is shown, and changed nowhere else.
func TestReservationsOfTheFileWin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(dir, "h.db"), Backups: filepath.Join(dir, "b")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	a, m := netip.MustParseAddr, func(n byte) inventory.MAC { return inventory.MAC{2, 0, 0, 0, 0, n} }
	for n, ip := range map[byte]string{1: "10.0.0.99", 2: "10.0.0.9", 3: "10.0.0.30"} { // 1 and 2 contradict the file
		if err := db.PutReservation(lease.Reservation{HW: lease.HW(m(n)), IP: a(ip)}); err != nil {
			t.Fatal(err)
		}
	}
	rng := lease.Range{First: a("10.0.0.50"), Last: a("10.0.0.60")}
	book := leaseBook{db, []lease.Reservation{{HW: lease.HW(m(1)), IP: a("10.0.0.9"), Name: "alpha"}}}
	srv, err := server.New(server.Config{Mode: server.ModeServer, Range: rng, HTTPPort: 8080, Store: db, Leases: book})
	if err != nil {
		t.Fatal(err)
	}
	l := leases{book, srv}
	got, _, err := l.Reservations(inventory.MAC{}, 50)
	want := []web.Reservation{{MAC: m(1), IP: a("10.0.0.9"), Hostname: "alpha", Fixed: true}, {MAC: m(3), IP: a("10.0.0.30")}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	first, next, err := l.Reservations(inventory.MAC{}, 1)
	rest, end, err2 := l.Reservations(next, 5)
	if diff := cmp.Diff(want, append(first, rest...), cmpopts.EquateComparable(netip.Addr{})); diff != "" || errors.Join(err, err2) != nil || len(first) != 1 || !end.IsZero() {
		t.Errorf("page by page, next %s, end %s: %v, %v (-want +got):\n%s", next, end, err, err2, diff)
	}
	one, err := l.Reservation(m(1))
	if _, gone := l.Reservation(m(2)); one != want[0] || err != nil || !errors.Is(gone, inventory.ErrNotFound) {
		t.Errorf("one by one: %+v, %v; the one whose address the file gives to another: %v", one, err, gone)
	}
	for name, r := range map[string]web.Reservation{"another address for its machine": {MAC: m(1), IP: a("10.0.0.40")},
		"its address for another machine": {MAC: m(4), IP: a("10.0.0.9")}, "giving it up": {MAC: m(1)}} {
		if err := l.SetReservation(t.Context(), r); !errors.Is(err, inventory.ErrConflict) || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.SetReservation(t.Context(), web.Reservation{MAC: m(3)}); err != nil {
		t.Errorf("giving up one of the page's: %v", err)
	}
	st := server.Status{Pools: []server.Pool{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Router: a("10.0.0.1")}},
		Interfaces: []server.Interface{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}}}}
	for ip, want := range map[string]string{"10.9.0.4": "10.0.0.0/24", "10.0.0.1": "the router's", "10.0.0.2": "appliance's own",
		"10.0.0.0": "no machine's", "10.0.0.255": "broadcast"} {
		if err := checkReserved(st, a(ip)); !errors.Is(err, inventory.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", ip, err, want)
		}
	}
	if err := errors.Join(checkReserved(st, a("10.0.0.4")), checkReserved(server.Status{}, a("10.9.0.4"))); err != nil {
		t.Error(err)
	}
}

func TestPackagedSettingsNameEveryKeyAndParse(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../packaging/hatchery.toml")
	if err != nil {
		t.Fatal(err)
	}
	// A line "#key = value" is a setting; "# words" is a comment.
	on := regexp.MustCompile(`(?m)^#([a-z]|\[\[)`).ReplaceAll(raw, []byte("$1"))
	path := filepath.Join(t.TempDir(), "all.toml")
	if err := os.WriteFile(path, on, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, "../../packaging/hatchery.toml"} {
		if _, err := loadSettings(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for f := range reflect.TypeFor[settings]().Fields() {
		key := f.Tag.Get("toml")
		if !regexp.MustCompile(`(?m)^` + key + ` =|^\[\[?` + key).Match(on) {
			t.Errorf("packaging/hatchery.toml does not name %s", key)
		}
	}
}

// TestNetworkWarnings: what a person must hear of, on every page and in `hatchery doctor`.
func TestNetworkWarnings(t *testing.T) {
	t.Parallel()
	rival := server.Other{IP: netip.MustParseAddr("192.168.1.1"), MAC: inventory.MAC{2, 0, 0, 0, 0, 1}, Iface: "eth0"}
	full := server.Pool{Range: "192.168.1.100-192.168.1.101", Usage: lease.Usage{Size: 2, Live: 2}}
	st := server.Status{Role: "server", Rivals: []server.Other{rival}, Pools: []server.Pool{full}, Interfaces: []server.Interface{{Name: "eth0", Note: "The link is down: check the cable."}}}
	var texts []string
	for _, w := range networkWarnings(st) {
		texts = append(texts, w.Text)
	}
	want := []string{"A second DHCP server, 192.168.1.1 (02:00:00:00:00:01), gives addresses on eth0: machines may get theirs from either.",
		"All 2 addresses of 192.168.1.100-192.168.1.101 are taken: a new machine gets none.", "Interface eth0: The link is down: check the cable."}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
	if got := networkWarnings(server.Status{Role: "proxy", Mode: "proxy", NoServer: true}); len(got) != 1 || !strings.Contains(got[0].Text, "(--dhcp proxy): machines get a boot file but no address") {
		t.Errorf("nobody gives addresses: %v", got)
	}
	rival.Last = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if got := networkWarnings(server.Status{Role: "proxy", Mode: "auto", Silent: []server.Other{rival}}); len(got) != 1 ||
		got[0].Text != "The DHCP server 192.168.1.1 (02:00:00:00:00:01) on eth0 does not answer any more (last heard 2026-11-22 12:00 UTC): machines get a boot file from Hatchery but no address." {
		t.Errorf("the router is silent: %v", got)
	}
	full.Free = 1
	if got := networkWarnings(server.Status{Role: "server", Pools: []server.Pool{full}}); len(got) != 0 {
		t.Errorf("warns of %v though all is well", got)
	}
}
