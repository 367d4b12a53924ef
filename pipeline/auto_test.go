package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestAutomaticInstallTouchesOnlyBlankDisksAndOurs lets a rule act on machines with all sorts of disks, through the
// whole pipeline: what nobody confirmed is never written to.
func TestAutomaticInstallTouchesOnlyBlankDisksAndOurs(t *testing.T) {
	t.Parallel()
	ext4 := []inventory.Partition{{Number: 1, UUID: "part", FS: "ext4", SizeBytes: 1 << 30}}
	for i, c := range []struct {
		name     string
		holds    [2]bool           // the system's disk and the data disk hold something
		owned    map[string]string // what the appliance put there; %d is the machine
		one      bool              // it has the first disk only
		installs bool
		keeps    bool // the data disk's data
	}{
		{name: "blank disks", installs: true},
		{name: "our own system and our persistent data", holds: [2]bool{true, true}, owned: map[string]string{"virtio-os%d": "ephemeral", "virtio-data%d": "persistent"}, installs: true, keeps: true},
		{name: "a blank disk and our persistent data", holds: [2]bool{false, true}, owned: map[string]string{"virtio-data%d": "persistent"}, installs: true, keeps: true},
		{name: "somebody's system", holds: [2]bool{true, false}},
		{name: "somebody's data", holds: [2]bool{false, true}},
		{name: "somebody's data beside our own system", holds: [2]bool{true, true}, owned: map[string]string{"virtio-os%d": "ephemeral"}},
		{name: "our system on the disk that is to keep data", holds: [2]bool{true, true}, owned: map[string]string{"virtio-os%d": "ephemeral", "virtio-data%d": "ephemeral"}},
		{name: "our persistent data on the only disk", holds: [2]bool{true, false}, one: true, owned: map[string]string{"virtio-os%d": "persistent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			role := testRoles()["plain"]
			role.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "qemu*"}}
			r.hive.roles = map[string]inventory.Role{"plain": role}
			m := r.machine(i + 1)
			if c.one {
				m.disks = m.disks[:1]
			}
			for k := range m.disks {
				if c.holds[k] {
					m.disks[k].Signatures, m.disks[k].Partitions = []string{"gpt"}, ext4
				}
			}
			if err := r.store.Update(func(tx *inventory.Tx) error {
				h, err := inventory.Expect(tx, inventory.Announce{MAC: m.mac}, time.Now())
				if err != nil {
					return err
				}
				h.OwnedDisks = map[string]string{}
				for id, class := range c.owned {
					h.OwnedDisks[fmt.Sprintf(id, i+1)] = class
				}
				_, err = tx.PutHost(h)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			r.start()
			m.powerOn()
			if !c.installs {
				h := r.until(m, "waits for a person", func(h inventory.Host) bool { return strings.HasPrefix(h.BlockedOn, "Waits for a person.") })
				if !r.job(m).Auto || h.Wrote || h.State != inventory.StateQueued || slices.Contains(m.did(), "stage-0 install") {
					t.Errorf("got %s, wrote %t, did %v: want nothing written", h.State, h.Wrote, m.did())
				}
				return
			}
			r.untilState(m, inventory.StateInstalled)
			if j := r.job(m); !j.Auto || j.By != "rule plain" {
				t.Errorf("job by %q auto %t, want the rule's own", j.By, j.Auto)
			}
			r.hive.mu.Lock()
			defer r.hive.mu.Unlock()
			plan := r.hive.written[len(r.hive.written)-1].Host.Plan
			if d := plan.Disks["data"]; d.Owned != c.keeps || len(plan.WipePersistent) > 0 {
				t.Errorf("the plan's data disk: got %+v, wipes %v, want its data kept: %t", d, plan.WipePersistent, c.keeps)
			}
		})
	}
}
