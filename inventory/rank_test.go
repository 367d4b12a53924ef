package inventory_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// TestRanked: who needs somebody comes first, a page costs and returns no more than it asks for, and all are counted.
func TestRanked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := 0
	put := func(h inventory.Host) inventory.HostID {
		n++
		h.ID, h.MAC, h.MACs = inventory.HostID(fmt.Sprintf("%016x", n)), mac(n), []inventory.MAC{mac(n)}
		w.must(func(tx *inventory.Tx) (err error) { h, err = tx.PutHost(h); return err })
		return h.ID
	}
	put(inventory.Host{Name: "zeta", State: inventory.StateInstalled, EverFlipped: true})
	put(inventory.Host{Name: "alpha", State: inventory.StateInstalled, EverFlipped: true})
	put(inventory.Host{Name: "silent", State: inventory.StateIgnored})
	put(inventory.Host{State: inventory.StateSeen})
	put(inventory.Host{Name: "new", State: inventory.StateReady})
	put(inventory.Host{Name: "odd", State: inventory.StateInstalled, EverFlipped: true, Attention: "Look."})
	put(inventory.Host{Name: "spoilt", State: inventory.StateInstalled, EverFlipped: true, Error: "E."})
	put(inventory.Host{Name: "busy", State: inventory.StateQueued})
	gone := put(inventory.Host{Name: "gone", State: inventory.StateFailed})
	broken := put(inventory.Host{Name: "broken", State: inventory.StateReady})
	w.must(func(tx *inventory.Tx) error { // it moves, and leaves nothing where it was
		h, err := tx.Host(broken)
		if err != nil {
			return err
		}
		h.State = inventory.StateFailed
		if _, err = tx.PutHost(h); err != nil {
			return err
		}
		return tx.DeleteHost(gone)
	})
	names := func(limit int) (out []string, counts map[inventory.State]int) {
		w.look(func(tx *inventory.Tx) error {
			hosts, ignored, err := tx.Ranked(limit)
			for _, h := range append(hosts, ignored...) {
				out = append(out, h.Label())
			}
			if err == nil {
				counts, err = tx.Counts()
			}
			return err
		})
		return out, counts
	}
	got, counts := names(100)
	if diff := cmp.Diff([]string{"broken", "odd", "spoilt", "new", "busy", mac(4).String(), "alpha", "zeta", "silent"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	want := map[inventory.State]int{inventory.StateFailed: 1, inventory.StateInstalled: 4, inventory.StateReady: 1, inventory.StateQueued: 1, inventory.StateSeen: 1, inventory.StateIgnored: 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got, _ := names(2); len(got) != 3 { // two, and the ignored one
		t.Errorf("a page of two: got %v", got)
	}
	if got, counts := names(0); len(got) != 0 || len(counts) != len(want) {
		t.Errorf("no hosts, counts alone: got %v, %v", got, counts)
	}
}
