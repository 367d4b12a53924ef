package inventory_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/inventory"
)

func TestProposedNames(t *testing.T) {
	t.Parallel()
	m := inventory.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}
	for _, c := range []struct {
		name, role string
		mac        inventory.MAC
		want       []string
	}{
		{"a plain role", "worker", m, []string{"worker-aabb01", "worker-525400aabb01", "worker-id1"}},
		{"capitals and underscores", "Big_Box", m, []string{"big-box-aabb01", "big-box-525400aabb01", "big-box-id1"}},
		{"no MAC", "worker", inventory.MAC{}, []string{"worker-id1"}},
		{"nothing of the role is left", "___", m, []string{"host-aabb01", "host-525400aabb01", "host-id1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, inventory.ProposedNames(&inventory.Host{ID: "id1", MAC: c.mac}, c.role)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProposedNamesAreHostNames proposes names for every role that is accepted.
func TestProposedNamesAreHostNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.OneOf(rapid.StringMatching(`[A-Za-z_][-_A-Za-z0-9]{0,62}`), rapid.StringMatching(`[a-f][-0-9a-f]{0,39}`),
			rapid.Just("a-----------------0")).Draw(t, "role") // the last one looks like a UUID with the host's id
		h := inventory.Host{ID: "0123456789abcdef"}
		if rapid.Bool().Draw(t, "with a MAC") {
			h.MAC = mac(rapid.IntRange(1, 65535).Draw(t, "mac"))
		}
		for _, n := range inventory.ProposedNames(&h, role) {
			if err := inventory.CheckName(n); err != nil || n == "" {
				t.Fatalf("role %q: proposed %q: %v", role, n, err)
			}
		}
	})
}

// TestARoleWithoutANameProposesOne: nothing that works for a role meets a nameless host.
func TestARoleWithoutANameProposesOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		act  func(*world) inventory.HostID
		want string
	}{
		{"a person gives the role alone", func(w *world) inventory.HostID {
			h, _ := w.assign(w.boot(1, "k").ID, "worker")
			return h.ID
		}, "worker-000001"},
		{"the name is taken", func(w *world) inventory.HostID {
			other := w.boot(2, "k2")
			w.must(func(tx *inventory.Tx) error {
				_, _, err := inventory.Assign(tx, other.ID, inventory.Assignment{Name: ptr("worker-000001")}, "admin", false, w.now)
				return err
			})
			h, _ := w.assign(w.boot(1, "k").ID, "worker")
			return h.ID
		}, "worker-525400000001"},
		{"announced with a role", func(w *world) (id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error {
				h, err := inventory.Expect(tx, inventory.Announce{MAC: mac(1), Role: "worker"}, w.now)
				id = h.ID
				return err
			})
			return id
		}, "worker-000001"},
		{"the name is taken away from a queued host", func(w *world) inventory.HostID {
			h, _ := w.assign(w.boot(1, "k").ID, "worker")
			w.must(func(tx *inventory.Tx) error {
				_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Name: ptr("")}, "admin", false, w.now)
				return err
			})
			return h.ID
		}, "worker-000001"},
		{"stored without a name by an earlier release", func(w *world) inventory.HostID {
			h := w.boot(1, "k")
			w.must(func(tx *inventory.Tx) error {
				h.Role = "worker"
				_, err := tx.PutHost(h)
				return err
			})
			w.must(func(tx *inventory.Tx) error {
				_, _, err := inventory.Install(tx, h.ID, inventory.Confirmation{}, "admin", w.now)
				return err
			})
			return h.ID
		}, "worker-000001"},
		{"a person named it", func(w *world) inventory.HostID {
			h := w.boot(1, "k")
			w.must(func(tx *inventory.Tx) error {
				_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Name: ptr("alpha"), Role: ptr("worker")}, "admin", false, w.now)
				return err
			})
			return h.ID
		}, "alpha"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := c.act(w)
			if got := w.host(id).Name; got != c.want {
				t.Errorf("name: got %q, want %q", got, c.want)
			}
			w.look(func(tx *inventory.Tx) error {
				h, err := tx.HostByName(c.want)
				if h.ID != id {
					t.Errorf("host by that name: got %q, want %q", h.ID, id)
				}
				return err
			})
		})
	}
}
