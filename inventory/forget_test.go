package inventory_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func TestForget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forget := func(id inventory.HostID) error {
		return w.do(func(tx *inventory.Tx) error { return inventory.Forget(tx, id, w.now) })
	}
	h := w.installed(1)
	w.must(func(tx *inventory.Tx) error {
		h := w.host(h.ID)
		h.Name, h.InstalledKey = "alpha", "ssh-ed25519 AAAA"
		h.OwnedDisks, h.Bound = map[string]string{"ata-x": "ephemeral"}, map[string]string{"os": "ata-x"}
		_, err := tx.PutHost(h)
		return err
	})
	want := w.host(h.ID)
	if err := forget(h.ID); err != nil || w.known(1) {
		t.Fatalf("forget: %v, still known: %v", err, w.known(1))
	}
	if err := w.store.View(func(tx *inventory.Tx) error { _, err := inventory.LookupNonce(tx, "x", w.now); return err }); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("nonce: got %v", err)
	}
	got := w.discover(1)
	if got.State != inventory.StateInstalled || !got.EverFlipped || got.ID != want.ID || got.Name != "alpha" || got.InstalledKey != want.InstalledKey {
		t.Errorf("heard again: got %+v", got)
	}
	if diff := cmp.Diff(want.OwnedDisks, got.OwnedDisks); diff != "" || got.Bound["os"] != "ata-x" {
		t.Errorf("its disks (-want +got):\n%s", diff)
	}
	if _, target := w.fetch(1, "n"); target != inventory.TargetDisk {
		t.Errorf("target: got %s, want its own disk", target)
	}
	if err := forget(got.ID); err != nil {
		t.Fatal(err)
	}
	// The same machine with another network card is known by its UUID.
	var other inventory.Host
	w.must(func(tx *inventory.Tx) (err error) {
		other, err = inventory.Discover(tx, inventory.Contact{MAC: mac(9), UUID: uuid(1)}, w.now)
		return err
	})
	if !other.EverFlipped || other.ID == want.ID {
		t.Errorf("heard with another MAC: got %+v, want an installed host with an id of its own", other)
	}

	h, _ = w.assign(w.boot(2, "k").ID, "r")
	if err := forget(h.ID); !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("forget with an open job: got %v, want ErrBadEvent", err)
	}
	h = w.boot(3, "k3")
	if err := forget(h.ID); err != nil {
		t.Fatal(err)
	}
	if again := w.discover(3); again.ID == h.ID || again.State != inventory.StateSeen {
		t.Errorf("a machine that was never installed: got %+v, want a new host", again)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := w.discover(60000)
	w.must(func(tx *inventory.Tx) error {
		_, _, err := inventory.Assign(tx, named.ID, inventory.Assignment{Name: ptr("mine")}, "admin", false, w.now)
		return err
	})
	w.must(func(tx *inventory.Tx) error {
		for n := range inventory.MaxStrangers {
			w.pass(time.Millisecond)
			if _, _, _, err := inventory.FetchScript(tx, contact(n), inventory.DiscoveryAlways, fmt.Sprint("n", n), w.now); err != nil {
				return err
			}
		}
		return nil
	})
	w.pass(time.Second)
	w.discover(0) // heard again: 1 is the oldest now
	for n := range 3 {
		w.pass(time.Second)
		w.discover(50000 + n)
	}
	for n, want := range map[int]bool{60000: true, 0: true, 1: false, 2: false, 3: false, 4: true, 50000: true, 50002: true} {
		if w.known(n) != want {
			t.Errorf("machine %d known: got %v, want %v", n, !want, want)
		}
	}
	w.must(func(tx *inventory.Tx) error {
		nonces := 0
		if err := tx.Scan(inventory.BucketNonces, "", "", func(string, []byte) (bool, error) { nonces++; return true, nil }); err != nil {
			return err
		}
		if most := 2 * inventory.MaxStrangers; nonces > most {
			t.Errorf("nonce records: got %d, want at most %d", nonces, most)
		}
		hosts, _, err := tx.Hosts("", 1<<20)
		if len(hosts) != inventory.MaxStrangers+1 {
			t.Errorf("hosts: got %d, want %d", len(hosts), inventory.MaxStrangers+1)
		}
		return err
	})
	if _, err := w.try(report(1, "n1", "k")); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("check-in of a forgotten stranger: got %v, want ErrNonce", err)
	}
	if h := w.checkIn(report(4, "n4", "k")); h.State != inventory.StateReady {
		t.Errorf("check-in of a stranger: got %s", h.State)
	}
}
