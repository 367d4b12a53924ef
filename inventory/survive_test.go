package inventory_test

import (
	"fmt"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// TestInstalledSinceTheBackup: design section 1, "a host whose netboot was ever flipped counts as installed whatever came after
// (… restore)". The backup is a store of its own in which the same machines were never installed.
func TestInstalledSinceTheBackup(t *testing.T) {
	t.Parallel()
	backup, now := newWorld(t), newWorld(t)
	// As the backup knows them: announced with a role, ready, with an open job, ignored; 5 was installed before, too, and 7 is not known.
	var ids [7]inventory.HostID
	announce := func(w *world, n int) {
		w.must(func(tx *inventory.Tx) error {
			h, err := inventory.Expect(tx, inventory.Announce{MAC: mac(n), Role: "r", Name: fmt.Sprint("n", n)}, w.now)
			ids[n] = h.ID
			return err
		})
	}
	announce(backup, 1)
	ids[2] = backup.boot(2, "k2").ID
	ids[3] = backup.boot(3, "k3").ID
	backup.assign(ids[3], "r")
	ids[4] = backup.boot(4, "k4").ID
	backup.apply(ids[4], inventory.IgnoreAsked{})
	ids[5] = backup.installed(5).ID
	ids[6] = backup.boot(6, "k6").ID

	for n := 1; n <= 5; n++ {
		now.installed(n)
	}
	forgotten := now.installed(6)
	now.must(func(tx *inventory.Tx) error { return inventory.Forget(tx, forgotten.ID, now.now) })
	stranger := now.installed(7) // the backup does not know it
	never := now.boot(8, "k8")

	var in inventory.Installations
	now.look(func(tx *inventory.Tx) (err error) { in, err = inventory.ReadInstallations(tx); return err })
	backup.must(func(tx *inventory.Tx) error { return inventory.Restored(tx, t0, backup.now) })
	kept := 0
	backup.must(func(tx *inventory.Tx) (err error) { kept, err = in.Keep(tx, backup.now); return err })
	if kept != 7 {
		t.Errorf("installed since the backup: got %d, want machines 1 to 7 (5 anew)", kept)
	}
	for n := 1; n <= 6; n++ {
		h := backup.host(ids[n])
		want, target := inventory.StateInstalled, inventory.TargetDisk
		if n == 4 {
			want, target = inventory.StateIgnored, inventory.TargetSilent
		}
		if !h.EverFlipped || h.State != want {
			t.Errorf("machine %d: got %s, ever flipped %v; want %s", n, h.State, h.EverFlipped, want)
		}
		for _, d := range []inventory.Discovery{inventory.DiscoveryOnce, inventory.DiscoveryAlways} {
			if got, why := inventory.BootTarget(&h, d, backup.now); got != target {
				t.Errorf("machine %d boots %s (%s), want %s", n, got, why, target)
			}
		}
		if was := now.byMAC; n < 6 && (h.InstalledKey != was(n).InstalledKey || len(h.OwnedDisks) != len(was(n).OwnedDisks)) {
			t.Errorf("machine %d: its key or disks were not kept: %+v", n, h)
		}
	}
	// Each shows up again; none gets a job, and what the backup never heard of is known as installed.
	for n := 1; n <= 7; n++ {
		if n != 4 {
			backup.discover(n)
			if h, target := backup.fetch(n, fmt.Sprint("later", n)); target != inventory.TargetDisk || h.State != inventory.StateInstalled {
				t.Errorf("machine %d boots %s and is %s", n, target, h.State)
			}
		}
	}
	if h := backup.byMAC(7); h.ID != stranger.ID {
		t.Errorf("the stranger: got id %s, want %s", h.ID, stranger.ID)
	}
	if n := len(backup.openJobs()); n != 0 {
		t.Errorf("open jobs: %d", n)
	}
	if backup.boot(8, "k8"); backup.byMAC(8).EverFlipped || never.EverFlipped {
		t.Error("a machine that was never installed counts as installed")
	}
}
