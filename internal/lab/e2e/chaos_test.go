package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// chaos skips a fault that takes too long for every change.
func chaos(t *testing.T) {
	t.Helper()
	if os.Getenv("HATCHERY_CHAOS") != "1" {
		t.Skip("part of make chaos, or set HATCHERY_CHAOS=1")
	}
}

// site is an appliance with a bad cable and machines that boot from it.
type site struct {
	*appliance
	wire *lab.Wire
	sims []*sim
}

func newSite(t *testing.T, machines int, args ...string) *site {
	t.Helper()
	l := newLAN(t)
	a := startAppliance(t, l, append(serverFlags(l, "--discovery", "always", "--log-level", "info"), args...)...)
	return &site{a, nil, newSims(t, a, 0, machines)}
}

// disturb puts the box into the cable; the connection of the test itself goes through it as well.
func (s *site) disturb() {
	s.t.Helper()
	var err error
	if s.wire, err = s.lan.Disturb(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.wire.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

// sound demands what must hold after every fault: it is healthy, no address is leased twice, every machine that booted has the lease
// it was told and is known as ready, nothing crashed on the way; and a new boot works at once.
func (s *site) sound(t *testing.T) {
	t.Helper()
	bootAll(t, time.Minute, s.sims...)
	if err := s.connect(); err != nil {
		t.Error(err)
	}
	var leases struct{ Items []struct{ IP, MAC string } }
	if _, err := s.call(http.MethodGet, "/leases", nil, &leases); err != nil {
		t.Fatal(err)
	}
	whose, its := map[string]string{}, map[string]string{}
	for _, l := range leases.Items {
		if other, twice := whose[l.IP]; twice {
			t.Errorf("%s is leased to %s and to %s", l.IP, other, l.MAC)
		}
		whose[l.IP], its[l.MAC] = l.MAC, l.IP
	}
	for _, m := range s.sims {
		if its[m.mac] != m.ip.String() {
			t.Errorf("%s was told %s, and the lease on record is %q", m.mac, m.ip, its[m.mac])
		}
		if h, err := s.host(m.mac); err != nil || h == nil || h.State != "ready" {
			t.Errorf("%s is not ready: %s", m.mac, describe(h, err))
		}
	}
	if log := s.logTail(1 << 20); strings.Contains(log, "panic:") || strings.Contains(log, "DATA RACE") {
		t.Errorf("it crashed:\n%s", s.logTail(40))
	}
}

// TestBadCable boots machines over a cable that loses, repeats and reorders frames, and that comes and goes.
func TestBadCable(t *testing.T) {
	s := newSite(t, 3)
	s.disturb()
	for _, c := range []struct {
		name  string
		fault lab.Fault
		long  bool
	}{
		{"every twentieth frame is lost", lab.Fault{Loss: 0.05}, false},
		{"frames come twice and out of order", lab.Fault{Duplicate: 0.3, Reorder: 0.3}, false},
		{"every fifth frame is lost", lab.Fault{Loss: 0.2}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long {
				chaos(t)
			}
			began := time.Now()
			s.wire.Set(c.fault)
			bootAll(t, 8*time.Minute, s.sims...)
			s.wire.Set(lab.Fault{})
			t.Logf("%d machines booted in %.0f s; %d frames passed, %d lost", len(s.sims), time.Since(began).Seconds(), s.wire.Passed.Load(), s.wire.Lost.Load())
			s.sound(t)
		})
	}
	t.Run("the cable is pulled out again and again", func(t *testing.T) {
		chaos(t)
		ctx, stop := context.WithCancel(t.Context())
		flapped := make(chan int)
		go func() {
			n := 0
			every(ctx, 1200*time.Millisecond, func() {
				n++
				for _, in := range []bool{false, true} {
					if err := s.lan.ApplianceCable(in); err != nil {
						t.Error(err)
					}
					time.Sleep(500 * time.Millisecond) // how long it is out
				}
			})
			flapped <- n
		}()
		rounds := 0
		for began := time.Now(); time.Since(began) < 20*time.Second; rounds++ {
			bootAll(t, 2*time.Minute, s.sims...)
		}
		stop()
		n := <-flapped
		t.Logf("the link went down %d times; %d machines booted %d times", n, len(s.sims), rounds)
		if n < 5 {
			t.Error("that was no flapping")
		}
		s.sound(t)
	})
}

// TestRealMachineOnABadCable boots real firmware while every fifth frame is lost.
func TestRealMachineOnABadCable(t *testing.T) {
	chaos(t)
	s := newSite(t, 1)
	m := newMachine(t, s.lan, lab.MachineConfig{Name: "bios", Port: 0, Disks: []lab.Disk{{Serial: "OS-0001", Size: 1 << 30}}})
	s.disturb()
	s.wire.Set(lab.Fault{Loss: 0.2})
	j := powerOn(t, s.appliance, m)
	eventually(t, 25*time.Minute, func() string { // asks over the same cable
		h, err := s.host(m.MAC())
		if err == nil && h != nil && h.State == "ready" {
			return ""
		}
		return describe(h, err)
	})
	t.Logf("ready %.0f s after power-on", time.Since(j.powered).Seconds())
	s.wire.Set(lab.Fault{})
	t.Logf("%d frames passed, %d lost", s.wire.Passed.Load(), s.wire.Lost.Load())
	s.sound(t)
}

// TestRoutersDHCPDies runs as ProxyDHCP beside a router whose DHCP ends and comes back: nobody gets an address meanwhile, the appliance does
// not take over, also after a restart, and shows when the router was last heard.
func TestRoutersDHCPDies(t *testing.T) {
	chaos(t)
	l := newLAN(t)
	router, err := l.StartRouter(t.Context(), lab.RouterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, l, "--dhcp", "auto", "--dhcp-range", fmt.Sprintf("%s-%s", l.Addr(100), l.Addr(150)), "--discovery", "always")
	mode := func() string {
		var st struct{ Mode, Why string }
		if _, err := a.call(http.MethodGet, "/network", nil, &st); err != nil {
			t.Fatal(err)
		}
		return st.Mode
	}
	sims := newSims(t, a, 0, 2)
	for _, m := range sims {
		m.plain = true
	}
	bootAll(t, time.Minute, sims...)
	router.Kill()
	gone := time.Now()
	if err := sims[0].lease(t.Context(), 6); err == nil {
		t.Error("a machine got an address although the router is gone")
	}
	if got := mode(); got != "proxy" {
		t.Errorf("while the router is gone the mode is %s, want proxy", got)
	}
	a.crash()
	a.start()
	var st struct {
		Others []struct {
			IP   string
			Last time.Time `json:"last_seen"`
		} `json:"other_servers"`
	}
	if _, err := a.call(http.MethodGet, "/network", nil, &st); err != nil || len(st.Others) != 1 || st.Others[0].IP != l.RouterAddr().String() || st.Others[0].Last.After(gone) {
		t.Errorf("the router is not shown as last heard before %s: %+v %v", gone, st.Others, err)
	}
	if got := mode(); got != "proxy" {
		t.Errorf("after a restart without the router the mode is %s, want proxy", got)
	}
	warned := func() string { // what every page warns of
		var warnings struct{ Items []struct{ Text string } }
		if _, err := a.call(http.MethodGet, "/warnings", nil, &warnings); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(warnings.Items)
	}
	const silent = "does not answer any more"
	eventually(t, 3*time.Minute, func() string {
		if w := warned(); !strings.Contains(w, "The DHCP server "+l.RouterAddr().String()) || !strings.Contains(w, silent) {
			return "the pages do not warn of the router's silence: " + w
		}
		return ""
	})
	if _, err = l.StartRouter(t.Context(), lab.RouterConfig{}); err != nil {
		t.Fatal(err)
	}
	bootAll(t, time.Minute, sims...)
	eventually(t, 3*time.Minute, func() string {
		if w := warned(); strings.Contains(w, silent) {
			return "the router answers again, and the pages still say: " + w
		}
		return ""
	})
}

// TestSecondAppliance starts another one on the same network by mistake, in each mode, and one over the same data.
func TestSecondAppliance(t *testing.T) {
	chaos(t)
	s := newSite(t, 2)
	bootAll(t, time.Minute, s.sims...)
	second := lab.Client(15)
	if err := s.lan.Plug(15, "52:54:00:51:00:ff"); err != nil {
		t.Fatal(err)
	}
	if out, err := s.lan.Command(t.Context(), second, "ip", "addr", "add", s.lan.Addr(3).String()+"/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	run := func(side lab.Side, data, dhcp string) (string, error) {
		c := s.lan.Command(within(t, 25*time.Second), side, built(t, "hatchery"), append([]string{"serve", "--data", data, "--interface", "eth0", "--ipxe", built(t, "ipxe")},
			serverFlags(s.lan, "--dhcp", dhcp)...)...)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	out, err := run(second, t.TempDir(), "server")
	if err == nil || !strings.Contains(out, "another DHCP server answers") || !strings.Contains(out, s.addr.String()) {
		t.Errorf("a second server did not refuse to start: %v\n%s", err, tail(out, 5))
	}
	if out, err = run(lab.Appliance, s.data, "server"); err == nil || !strings.Contains(out, "another hatchery is running there") {
		t.Errorf("a second process over the same data: %v\n%s", err, tail(out, 5))
	}
	p, err := s.lan.StartReady(within(t, time.Minute), second, s.log, built(t, "hatchery"), append([]string{"serve", "--data", t.TempDir(), "--interface", "eth0",
		"--ipxe", built(t, "ipxe")}, serverFlags(s.lan, "--dhcp", "auto")...)...)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.sims[0].lease(t.Context(), 1) // asks as firmware does, and so both answer
	for _, m := range s.sims {
		m.plain = true // busybox would take a ProxyDHCP offer for an address
	}
	s.sound(t)
	var st struct {
		Others []struct{ IP string } `json:"other_servers"`
	}
	eventually(t, 10*time.Second, func() string {
		if _, err := s.call(http.MethodGet, "/network", nil, &st); err != nil || len(st.Others) == 0 || st.Others[0].IP != s.lan.Addr(3).String() {
			return fmt.Sprintf("the first one does not show the second: %+v %v", st.Others, err)
		}
		return ""
	})
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	s.sound(t)
}

// TestFrozenAppliance stops the process for 30 s, as a hypervisor does that moves it.
func TestFrozenAppliance(t *testing.T) {
	chaos(t)
	s := newSite(t, 3)
	bootAll(t, time.Minute, s.sims...)
	s.signal("STOP")
	began := time.Now()
	if err := s.sims[0].lease(t.Context(), 3); err == nil {
		t.Error("a machine got an address from a frozen appliance")
	}
	time.Sleep(30*time.Second - time.Since(began)) // the fault itself
	s.signal("CONT")
	s.sound(t)
}

func (s *site) signal(name string) {
	s.t.Helper()
	if out, err := s.lan.Command(s.t.Context(), lab.Appliance, "kill", "-"+name, fmt.Sprint(s.proc.PID())).CombinedOutput(); err != nil {
		s.t.Fatalf("kill -%s: %v %s", name, err, out)
	}
}

// TestKilledAppliance kills the process five times while machines boot.
func TestKilledAppliance(t *testing.T) {
	chaos(t)
	s := newSite(t, 4)
	for i := range 5 {
		booted := make(chan struct{})
		go func() {
			defer close(booted)
			bootAll(t, 2*time.Minute, s.sims...)
		}()
		select { // somewhere in the middle of the boots
		case <-booted:
		case <-time.After(time.Duration(200+300*i) * time.Millisecond):
		}
		s.crash()
		s.start()
		<-booted
	}
	s.sound(t)
}
