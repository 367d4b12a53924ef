package boltdb

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// TestADamagedJournalLosesNoLeaseSilently: a flipped bit in the journal that a crash left costs no lease; more
// than that costs those that it hit. Either way it is told, and the damaged file is kept.
func TestADamagedJournalLosesNoLeaseSilently(t *testing.T) {
	t.Parallel()
	dir := memoryDir(t)
	path := filepath.Join(dir, "hatchery.db")
	d := open(t, path)
	for n := range 12 {
		if err := d.CommitLeases(numbered(2*n, n), numbered(2*n+1, n)); err != nil {
			t.Fatal(err)
		}
	}
	want := hostnames(t, d)
	names := JournalNames(path)
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(raw), "\x00"))
	if used < 24*30 {
		t.Fatalf("the journal has %d bytes in use", used)
	}
	reopened := func(what string, change func(b []byte)) (*DB, []string) {
		t.Helper()
		to, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		copied := copyFiles(t, to, path)
		name := filepath.Join(to, filepath.Base(names[0]))
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, copied)
		kept, err := filepath.Glob(copied + ".leases-*.damaged-*")
		if err != nil || len(kept) != 1 {
			t.Errorf("%s: kept aside: %v, %v, want one file", what, kept, err)
		} else if got, err := os.ReadFile(kept[0]); err != nil || !slices.Equal(got, b) {
			t.Errorf("%s: what is kept aside is not the damaged file: %v", what, err)
		}
		var told []string
		if err := d.View(func(tx *inventory.Tx) error {
			all, err := tx.DiaryBack("", 0, 10)
			for _, e := range all {
				told = append(told, e.Level+" "+e.Text)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return d, told
	}
	for bit := 0; bit < 8*used; bit += 1 + 8*used/60 {
		what := fmt.Sprintf("bit %d of byte %d", bit%8, bit/8)
		d, told := reopened(what, func(b []byte) { b[bit/8] ^= 1 << (bit % 8) })
		if diff := cmp.Diff(want, hostnames(t, d), compareAddrs); diff != "" {
			t.Errorf("%s: leases (-want +got):\n%s", what, diff)
		}
		if len(told) != 1 || !strings.HasPrefix(told[0], "error The journal of leases") || !strings.Contains(told[0], "Flipped bits put right: 1; places where leases were lost: 0.") {
			t.Errorf("%s: told %q", what, told)
		}
		closed(t, d)
	}
	d, told := reopened("a spoilt stretch", func(b []byte) { copy(b[used/2:], "somebody wrote something else over it, some fifty bytes") })
	left := hostnames(t, d)
	for ip, name := range left {
		if want[ip] != name {
			t.Errorf("a lease that was never made: %s %s", ip, name)
		}
	}
	if len(left) < len(want)-6 || len(left) == len(want) || len(told) != 1 || !strings.Contains(told[0], "places where leases were lost: 1.") {
		t.Errorf("a spoilt stretch: %d of %d leases are left, told %q", len(left), len(want), told)
	}
}
