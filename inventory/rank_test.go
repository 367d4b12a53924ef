package inventory_test

import (
	"errors"
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
	put(inventory.Host{Name: "mute", State: inventory.StateIgnored, Attention: "Look."})
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
	page := func(q inventory.RankQuery) (out []string, next string) {
		w.look(func(tx *inventory.Tx) error {
			hosts, n, err := tx.Ranked(q)
			for _, h := range hosts {
				out = append(out, h.Label())
			}
			next = n
			return err
		})
		return out, next
	}
	order := []string{"broken", "odd", "spoilt", "new", "busy", mac(5).String(), "alpha", "zeta"}
	short := func(h inventory.Host) bool { return len(h.Name) == 3 }
	for _, c := range []struct {
		name string
		q    inventory.RankQuery
		want []string
	}{
		{"all but the ignored", inventory.RankQuery{Limit: 100}, order},
		{"one state, over its ranks", inventory.RankQuery{State: inventory.StateInstalled, Limit: 100}, []string{"odd", "spoilt", "alpha", "zeta"}},
		{"the ignored", inventory.RankQuery{State: inventory.StateIgnored, Limit: 100}, []string{"mute", "silent"}},
		{"what matches", inventory.RankQuery{Match: short, Limit: 100}, []string{"odd", "new"}},
		{"none", inventory.RankQuery{}, nil},
	} {
		if got, next := page(c.q); !cmp.Equal(c.want, got) || next != "" {
			t.Errorf("%s: got %v and cursor %q, want %v", c.name, got, next, c.want)
		}
		for limit := 1; limit < len(c.want)+1; limit++ { // by pages of every size: each host once, none lost
			var all []string
			for q := c.q; ; {
				q.Limit = limit
				got, next := page(q)
				all = append(all, got...)
				if next == "" || len(all) > 100 {
					break
				}
				if len(got) != limit {
					t.Errorf("%s: a page of %d has %d and says that there are more", c.name, limit, len(got))
				}
				q.After = next
			}
			if diff := cmp.Diff(c.want, all); diff != "" {
				t.Errorf("%s, by %d (-want +got):\n%s", c.name, limit, diff)
			}
		}
	}
	w.look(func(tx *inventory.Tx) error {
		for _, bad := range []string{"x", "9/ready/a/b", "../hosts", "0/ready/a"} {
			if _, _, err := tx.Ranked(inventory.RankQuery{After: bad, Limit: 1}); !errors.Is(err, inventory.ErrInvalid) {
				t.Errorf("cursor %q: got %v", bad, err)
			}
		}
		counts, err := tx.Counts()
		want := map[inventory.State]int{inventory.StateFailed: 1, inventory.StateInstalled: 4, inventory.StateReady: 1, inventory.StateQueued: 1, inventory.StateSeen: 1, inventory.StateIgnored: 2}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		return err
	})
}
