package boltdb

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb/journal"
)

func numbered(addr, n int) lease.Lease {
	return lease.Lease{IP: netip.AddrFrom4([4]byte{10, 0, byte(addr >> 8), byte(addr)}), HW: lease.HW{2, 0, 0, 0, byte(addr >> 8), byte(addr)}, Hostname: fmt.Sprint(n)}
}

// hostnames is what is stored, as address → the name that says which commit it was.
func hostnames(t testing.TB, d *DB) map[netip.Addr]string {
	t.Helper()
	list, err := d.Leases()
	if err != nil {
		t.Fatal(err)
	}
	samePages(t, d, list)
	got := map[netip.Addr]string{}
	for _, l := range list {
		if _, twice := got[l.IP]; twice {
			t.Errorf("%s is listed twice", l.IP)
		}
		got[l.IP] = l.Hostname
	}
	return got
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// TestLeasesWhateverHappens: commits, crashes, restarts, backups and journals that fill up, in any order: the
// newest acknowledged lease of every address is there.
func TestLeasesWhateverHappens(t *testing.T) {
	t.Parallel()
	scratch := memoryDir(t) // what the disk does is no part of it, and takes its time
	rapid.Check(t, func(rt *rapid.T) {
		dir := func() string {
			d, err := os.MkdirTemp(scratch, "")
			if err != nil {
				rt.Fatal(err)
			}
			return d
		}
		cfg := Config{Path: filepath.Join(dir(), "hatchery.db"), journalSize: 800}
		d := open(t, cfg.Path, cfg)
		want := map[netip.Addr]string{}
		for n := range rapid.IntRange(1, 12).Draw(rt, "acts") {
			switch rapid.SampledFrom([]string{"commit", "commit", "commit", "crash", "restart", "backup"}).Draw(rt, "act") {
			case "commit":
				var list []lease.Lease
				for _, a := range rapid.SliceOfN(rapid.IntRange(0, 300), 1, 10).Draw(rt, "addresses") {
					list = append(list, numbered(a, n))
				}
				if err := d.CommitLeases(list...); err != nil {
					rt.Fatal(err)
				}
				for _, l := range list {
					want[l.IP] = l.Hostname
				}
			case "crash": // what is on disk now, opened as after a crash
				cfg.Path = copyFiles(rt, dir(), cfg.Path)
				closed(t, d)
				d = open(t, cfg.Path, cfg)
			case "restart":
				closed(t, d)
				d = open(t, cfg.Path, cfg)
			case "backup":
				path, err := d.BackupFile(dir(), 1)
				if err != nil {
					rt.Fatal(err)
				}
				b := open(t, path)
				if diff := cmp.Diff(want, hostnames(t, b), compareAddrs); diff != "" {
					rt.Errorf("leases in the backup (-want +got):\n%s", diff)
				}
				closed(t, b)
			}
			if diff := cmp.Diff(want, hostnames(t, d), compareAddrs); diff != "" {
				rt.Fatalf("leases after act %d (-want +got):\n%s", n, diff)
			}
		}
		closed(t, d)
	})
}

// memoryDir is a folder in memory where there is such a thing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hatchery-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// copyFiles copies a database and its journal as they are, and returns the copy's path.
func copyFiles(t rapid.TB, dir, path string) string {
	t.Helper()
	to := filepath.Join(dir, "hatchery.db")
	for i, name := range slices.Concat([]string{path}, JournalNames(path)) {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(slices.Concat([]string{to}, JournalNames(to))[i], b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestLeasesOfManyAtOnce(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "hatchery.db"), Config{journalSize: 4000})
	want := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		for n := range 60 {
			want[numbered(w*100+n%50, n).IP] = fmt.Sprint(n)
		}
		wg.Go(func() {
			for n := range 60 {
				if err := d.CommitLeases(numbered(w*100+n%50, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() { // hosts go on meanwhile, and so does who looks
		for n := range 20 {
			if err := d.Update(func(tx *inventory.Tx) error { return tx.PutJSON("x", "n", n) }); err != nil {
				t.Error(err)
			}
			if _, err := d.Leases(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if diff := cmp.Diff(want, hostnames(t, d), compareAddrs); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

func TestRestoreLeavesTheJournalWithTheOldState(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "hatchery.db")}
	d := open(t, cfg.Path)
	if err := d.CommitLeases(numbered(1, 1)); err != nil {
		t.Fatal(err)
	}
	backup, err := d.BackupFile(t.TempDir(), 1)
	if err == nil {
		err = d.CommitLeases(numbered(1, 2), numbered(2, 2))
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg.Path = copyFiles(t, t.TempDir(), cfg.Path) // the machine lost its power
	kept, err := Restore(cfg, backup)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]map[netip.Addr]string{
		cfg.Path: {numbered(1, 1).IP: "1"},
		kept:     {numbered(1, 1).IP: "2", numbered(2, 2).IP: "2"},
	} {
		if diff := cmp.Diff(want, hostnames(t, open(t, path)), compareAddrs); diff != "" {
			t.Errorf("leases of %s (-want +got):\n%s", filepath.Base(path), diff)
		}
	}
}

// TestLeasesOnAFullDisk: what was acknowledged stays readable, commits go on while the journal has room, then fail
// with a sentence, and work again once there is space; a start with a full disk works too.
func TestLeasesOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "3m")
	cfg := Config{Path: filepath.Join(dir, "hatchery.db"), journalSize: 100 << 10}
	d := open(t, cfg.Path, cfg)
	want := map[netip.Addr]string{}
	commit := func(n int) error {
		var list []lease.Lease
		for i := range 100 {
			list = append(list, numbered(n*100+i, n))
		}
		err := d.CommitLeases(list...)
		for _, l := range list {
			if err == nil {
				want[l.IP] = l.Hostname
			}
		}
		return err
	}
	if err := commit(0); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := fillUp(ballast); err != nil {
		t.Fatal(err)
	}
	n, err := 1, error(nil)
	for ; n < 200 && err == nil; n++ {
		err = commit(n)
	}
	if !errors.Is(err, syscall.ENOSPC) || n < 5 {
		t.Fatalf("commit %d on a full disk: got %v, want ENOSPC, not at once", n, err)
	}
	check := func(when string) {
		t.Helper()
		got := hostnames(t, d)
		for ip := range maps.Keys(got) { // what failed may be there or not
			if _, ok := want[ip]; !ok {
				delete(got, ip)
			}
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Errorf("leases %s (-want +got):\n%s", when, diff)
		}
	}
	check("on a full disk")
	closed(t, d)
	d = open(t, cfg.Path, cfg)
	check("after a start with a full disk")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := commit(n); err != nil {
		t.Errorf("with space again: %v", err)
	}
	check("with space again")
}

// TestJournalOfEarlierVersions: leases were written as key and JSON once, and still are when they have no
// binary form. The newest record of an address counts, whatever its form.
func TestJournalOfEarlierVersions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	closed(t, open(t, path))
	j, err := journal.Open(path+journalSuffix, journalSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Next(0); err != nil {
		t.Fatal(err)
	}
	old := func(l lease.Lease) []byte {
		r := l.IP.AppendTo([]byte{0})
		r[0] = byte(len(r) - 1)
		return l.AppendJSON(r)
	}
	now := func(l lease.Lease) []byte {
		r, err := appendRecord(nil, &l)
		if err != nil || r[0] != binaryForm {
			t.Fatalf("%x, %v", r, err)
		}
		return r
	}
	far := numbered(5, 6)
	far.State = "of a later version"
	r, err := appendRecord(nil, &far)
	if err != nil || !bytes.Equal(r, old(far)) {
		t.Errorf("a lease without a binary form: got %q, %v", r, err)
	}
	if err := j.Append([][]byte{old(numbered(1, 1)), old(numbered(2, 2)), now(numbered(2, 3)), now(numbered(3, 4)), old(numbered(3, 5)), r}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	want := map[netip.Addr]string{numbered(1, 0).IP: "1", numbered(2, 0).IP: "3", numbered(3, 0).IP: "5", far.IP: "6"}
	if diff := cmp.Diff(want, hostnames(t, d), compareAddrs); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}
