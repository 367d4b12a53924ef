package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// setting is a network that machines netboot in.
type setting struct {
	name string
	// start makes the network with an appliance in it; the machines are behind the router when behind is true.
	start  func(t *testing.T) (*lab.LAN, *appliance)
	behind bool
}

var (
	asServer = setting{name: "server mode", start: func(t *testing.T) (*lab.LAN, *appliance) {
		l := newLAN(t)
		return l, startAppliance(t, l, serverFlags(l)...)
	}}
	asProxy = setting{name: "ProxyDHCP beside a router", start: func(t *testing.T) (*lab.LAN, *appliance) {
		l := newLAN(t)
		if _, err := l.StartRouter(t.Context(), lab.RouterConfig{}); err != nil {
			t.Fatal(err)
		}
		return l, startAppliance(t, l, "--dhcp", "proxy")
	}}
	throughRelay = setting{name: "through a relay", behind: true, start: func(t *testing.T) (*lab.LAN, *appliance) {
		l := newLANWith(t, lab.Config{Behind: netip.MustParsePrefix("10.84.0.0/24")})
		if _, err := l.StartRelay(t.Context()); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "hatchery.toml")
		text := fmt.Sprintf("[[dhcp_relayed]]\nsubnet = \"10.84.0.0/24\"\nrange = \"%s-%s\"\nrouter = %q\n", l.BehindAddr(100), l.BehindAddr(150), l.BehindAddr(1))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return l, startAppliance(t, l, append([]string{"--config", file}, serverFlags(l)...)...)
	}}
)

// netboot powers the machine on and waits until its iPXE has fetched its script; it reports the seconds that took.
func (s setting) netboot(t *testing.T, a *appliance, m *lab.Machine, limit time.Duration) *journey {
	t.Helper()
	j := powerOn(t, a, m)
	eventually(t, limit, func() string {
		for _, e := range m.Events() {
			if e.Name == lab.EventNoBoot || e.Name == lab.EventExit {
				j.timeline(t)
				t.Fatalf("%s: %s after %.1fs: %s", m.MAC(), e.Name, e.Since.Seconds(), e.Line)
			}
		}
		if h, err := a.host(m.MAC()); err != nil || h == nil {
			return fmt.Sprintf("it was not heard yet (%v)", err)
		}
		for _, e := range a.diary(m.MAC(), j.powered) {
			if e.Kind == "http.script" {
				t.Logf("FIRMWARE %s, %s: script %.1f s after power-on", m.Config().Firmware, s.name, e.Time.Sub(j.powered).Seconds())
				return ""
			}
		}
		return "it did not fetch its script"
	})
	return j
}

// oneLease demands that the machine had one address from its firmware to its running system, though each of them calls
// itself something else, and returns it.
func oneLease(t *testing.T, a *appliance, mac string) string {
	t.Helper()
	var list struct{ Items []struct{ MAC, IP string } }
	if _, err := a.call(http.MethodGet, "/leases", nil, &list); err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, l := range list.Items {
		if l.MAC == mac {
			ips = append(ips, l.IP)
		}
	}
	if len(ips) != 1 {
		t.Errorf("%s has the addresses %v, want one", mac, ips)
		return ""
	}
	return ips[0]
}

// TestRelay boots a machine that reaches the appliance only through a relay (dnsmasq's) and a router: it gets an address
// of the pool of its own subnet, and the router of that subnet.
func TestRelay(t *testing.T) {
	s := throughRelay
	l, a := s.start(t)
	m := newMachine(t, l, lab.MachineConfig{Name: "far", Behind: true})
	s.netboot(t, a, m, 60*time.Second)
	h, err := a.host(m.MAC())
	if err != nil || h == nil || !strings.HasPrefix(h.IP, "10.84.0.1") {
		t.Errorf("got %+v, %v; want an address of 10.84.0.100 to 150", h, err)
	}
	oneLease(t, a, m.MAC())
}

// TestEveryFirmware boots each firmware of the lab in each setting: x86 to its check-in, arm64, for which there is no
// stage-0 stand-in, to its script.
func TestEveryFirmware(t *testing.T) {
	full(t)
	for _, s := range []setting{asServer, asProxy, throughRelay} {
		t.Run(s.name, func(t *testing.T) {
			l, a := s.start(t)
			for i, fw := range []lab.Firmware{lab.BIOS, lab.UEFI, lab.UEFIHTTP, lab.ARM64, lab.ARM64HTTP} {
				t.Run(string(fw), func(t *testing.T) { s.everyFirmware(t, l, a, fw, i) })
			}
		})
	}
}

func (s setting) everyFirmware(t *testing.T, l *lab.LAN, a *appliance, fw lab.Firmware, i int) {
	m := newMachine(t, l, lab.MachineConfig{Name: string(fw), Firmware: fw, Behind: s.behind, MAC: fmt.Sprintf("52:54:00:6c:62:%02x", i)})
	j := s.netboot(t, a, m, 240*time.Second)
	noLoop(t, m)
	if strings.HasPrefix(string(fw), "arm64") {
		j.timeline(t)
		return
	}
	if !s.behind {
		h := j.ready(t, 180*time.Second)
		if s.name == asServer.name && oneLease(t, a, m.MAC()) != h.IP {
			t.Errorf("its running system is at %s", h.IP)
		}
		return
	}
	eventually(t, 180*time.Second, func() string { // through a router its address proves nothing: a person has to approve
		h, err := a.host(m.MAC())
		if err != nil || h == nil || h.State != "ready" {
			return fmt.Sprintf("%+v %v", h, err)
		}
		return ""
	})
	j.timeline(t)
	oneLease(t, a, m.MAC())
}
