package httpboot_test

import (
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// TestAnnouncedMachineChecksIn: a machine that was announced by something its firmware does not tell DHCP, from the
// first packet to reports after the check-in, over HTTP with signatures.
func TestAnnouncedMachineChecksIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		known  inventory.Announce
		script string // what its script's URL tells beside the MAC
		ask    bool   // a person must approve
	}{
		{"by serial, told by the script", inventory.Announce{Serial: "sn1"}, "&serial=SN1", false},
		{"by serial, told by stage-0 alone", inventory.Announce{Serial: "SN1"}, "&serial=To+be+filled+by+O.E.M.", false},
		{"by UUID, told by stage-0 alone", inventory.Announce{UUID: "4C4C4544-0042-3510-8053-B4C04F564433"}, "", false},
		{"by UUID in the other byte order", inventory.Announce{UUID: "44454c4c-4200-1035-8053-b4c04f564433"}, "&uuid=4c4c4544-0042-3510-8053-b4c04f564433", false},
		{"by a MAC that it does not boot with", inventory.Announce{MAC: inventory.MAC{2, 0, 0, 0, 0, 9}}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := startAppliance(t, true)
			var want inventory.Host
			update := func(fn func(*inventory.Tx) error) {
				t.Helper()
				if err := a.store.Update(fn); err != nil {
					t.Fatal(err)
				}
			}
			update(func(tx *inventory.Tx) (err error) {
				c.known.Name, c.known.Role = "alpha", "worker"
				if want, err = inventory.Expect(tx, c.known, a.clock.Now()); err == nil {
					_, err = inventory.Discover(tx, inventory.Contact{MAC: mac(t, bootMAC), DHCP: true}, a.clock.Now())
				}
				return err
			})
			_, script := get(t, a.url+"/boot.ipxe?mac=52-54-00-00-00-01&platform=efi&buildarch=x86_64"+c.script)
			m := nonceRE.FindStringSubmatch(script)
			if m == nil {
				t.Fatalf("no nonce in the script:\n%s", script)
			}
			f := facts()
			f.NICs = []inventory.NIC{{Name: "eth0", MAC: mac(t, bootMAC)}, {Name: "eth1", MAC: inventory.MAC{2, 0, 0, 0, 0, 9}}}
			key := sshtest.NewKey(t)
			ci := agentapi.CheckIn{Nonce: m[1], HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: f}
			for range 2 { // its reply was lost
				if code, text := a.send(t, key, agentapi.PathCheckIn, ci); code != 200 || !strings.Contains(text, string(want.ID)) {
					t.Fatalf("check-in: %d %s, want host %s", code, text, want.ID)
				}
			}
			if code, text := a.send(t, key, agentapi.PathProgress, agentapi.Progress{Nonce: m[1], BootID: bootID, Seq: 1}); code != 200 {
				t.Errorf("report: %d %s", code, text)
			}
			h := a.host(t)
			if h.ID != want.ID || h.Name != "alpha" || (h.Attention != "") != c.ask || c.ask != (h.State == inventory.StateReady) {
				t.Fatalf("got host %s %q, %s, attention %q", h.ID, h.Name, h.State, h.Attention)
			}
			if c.ask {
				update(func(tx *inventory.Tx) error { _, err := inventory.Approve(tx, h.ID, a.clock.Now()); return err })
			}
			if h = a.host(t); h.State != inventory.StateQueued {
				t.Errorf("got %s, want its job", h.State)
			}
		})
	}
}
