package server

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// TestASilentRouterIsSaidOnce: while we are a ProxyDHCP beside a router that answers or not, by the clock.
func TestASilentRouterIsSaidOnce(t *testing.T) {
	t.Parallel()
	const gone, back = "does not answer any more", "answers again"
	router := rival
	router.Answers = true
	list := rival // a router that answers only machines on its list
	none := func(time.Duration) bool { return false }
	all := func(time.Duration) bool { return true }
	dies := func(at time.Duration) bool { return at < 20*time.Minute }
	breaks := func(at time.Duration) bool { return at < 20*time.Minute || at > 40*time.Minute }
	for _, c := range []struct {
		name    string
		server  Other
		answers func(at time.Duration) bool
		machine time.Duration // when a machine asks for an address; 0 = none does
		look    time.Duration // when the status is read
		silent  bool          // then
		down    bool          // the cable is out all the time
		said    []string      // after an hour
	}{
		{name: "it answers", server: router, answers: all, look: 50 * time.Minute},
		{name: "it dies", server: router, answers: dies, look: 26 * time.Minute, silent: true, said: []string{gone}},
		{name: "it dies, and a machine asks soon after", server: router, answers: dies, machine: 20*time.Minute + 32*time.Second, look: 20*time.Minute + 52*time.Second, silent: true, said: []string{gone}},
		{name: "not before it was asked three times", server: router, answers: dies, machine: 20*time.Minute + 32*time.Second, look: 20*time.Minute + 48*time.Second, said: []string{gone}},
		{name: "it dies and returns", server: router, answers: breaks, look: 42 * time.Minute, said: []string{gone, back}},
		{name: "it is slower than we are after a power cut", server: router, answers: func(at time.Duration) bool { return at > 50*time.Second }, look: 2 * time.Minute},
		{name: "it never came back after a power cut", server: router, answers: none, look: 90 * time.Second, silent: true, said: []string{gone}},
		{name: "it answers machines on its list alone", server: list, answers: none, look: 50 * time.Minute},
		{name: "our cable is out", server: router, answers: none, down: true, look: 50 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := newServer(t, Config{Mode: ModeProxy, HTTPPort: 8080, Store: inventorytest.NewStore(t), Leases: &memLeases{}, Log: slog.New(slog.DiscardHandler)})
				s.heardOther(c.server)
				s.setRole(dhcp.RoleProxy, "test")
				l := s.links["eth0"]
				l.up = !c.down
				asked := 0
				s.ask = func(*link) error {
					if asked++; c.answers(time.Since(began)) {
						time.AfterFunc(50*time.Millisecond, func() { s.heardOther(c.server) })
					}
					return nil
				}
				s.send = func(*link, []outgoing) {}
				if c.machine > 0 {
					time.AfterFunc(c.machine, func() {
						handle(s, arrival{link: l, port: 67}, msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(7)))
					})
				}
				go func() { _ = s.watchServers(t.Context()) }() // it never fails
				time.Sleep(c.look + time.Second)
				synctest.Wait()
				var want []Other
				if c.silent {
					want = []Other{s.others[c.server.IP]}
				}
				if diff := cmp.Diff(want, s.Status().Silent, cmp.Comparer(func(a, b Other) bool { return a == b })); diff != "" {
					t.Errorf("silent at %s (-want +got):\n%s", c.look, diff)
				}
				if why := s.Status().Why; strings.Contains(why, "The DHCP server 10.0.0.1 (02:00:00:00:00:01) on eth0 "+gone) != c.silent {
					t.Errorf("the Network page at %s: %s", c.look, why)
				}
				time.Sleep(time.Hour - time.Since(began))
				synctest.Wait()
				var said []string
				for _, text := range ownDiary(t, s.cfg.Store) {
					for _, words := range []string{gone, back} {
						if strings.Contains(text, words) {
							said = append(said, words)
						}
					}
				}
				if diff := cmp.Diff(c.said, said); diff != "" {
					t.Errorf("the appliance's diary (-want +got):\n%s", diff)
				}
				if asked > 70 {
					t.Errorf("asked %d times in an hour", asked)
				}
			})
		})
	}
}

// TestAMachineThatChoseTheRouterSpeaksForIt: its REQUEST names the server that answered it, which we did not hear.
func TestAMachineThatChoseTheRouterSpeaksForIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleProxy, nil)
	router := rival
	router.Answers = true
	b.s.heardOther(router)
	b.l.up = true
	asked := 0
	b.s.ask = func(*link) error { asked++; return nil }
	b.s.checkServers()
	for range 100 { // it is asked every five minutes at most, and never three times without a sign of life
		b.clock.Add(4 * time.Second)
		b.say(msg(t, dhcpv4.MessageTypeRequest, labMAC, wants(self), raw(54, router.IP.AsSlice()...)))
		if lost := b.s.checkServers(); lost != nil {
			t.Fatalf("missed: %v", lost)
		}
	}
	if asked != 0 {
		t.Errorf("asked %d times although machines speak for it", asked)
	}
}

// ownDiary is the texts of the appliance's own diary, oldest first.
func ownDiary(t *testing.T, store inventory.Store) (out []string) {
	t.Helper()
	if err := store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary("", 0, 100)
		for _, e := range es {
			out = append(out, e.Text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
