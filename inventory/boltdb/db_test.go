package boltdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HATCHERY_CRASH_DIR"); dir != "" {
		crashChild(dir) // never returns
	}
	if dir := os.Getenv("HATCHERY_FSYNC_DIR"); dir != "" {
		fsyncChild(dir) // never returns
	}
	goleak.VerifyTestMain(m)
}

// open opens the database at path; cfg says what else.
func open(t testing.TB, path string, cfg ...Config) *DB {
	t.Helper()
	c := Config{}
	if len(cfg) > 0 {
		c = cfg[0]
	}
	c.Path = path
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func fresh(t testing.TB) *DB { return open(t, filepath.Join(t.TempDir(), "hatchery.db")) }

func closed(t testing.TB, d *DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	inventorytest.TestStore(t, func(t *testing.T) inventory.Store { return fresh(t) })
}

func TestOpenMakesAPrivateFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, filepath.Join(dir, "hatchery.db"))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("files in the directory: got %v, %v, want the database alone", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode: got %v, %v, want -rw-------", info.Mode(), err)
	}
}

func TestOpenRefusesASecondProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	open(t, path)
	_, err := Open(Config{Path: path, LockTimeout: 50 * time.Millisecond})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("second open: got %v, want ErrInUse naming %s", err, filepath.Dir(path))
	}
}

func TestOpenRefusesAMissingDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nowhere", "hatchery.db")
	if _, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open: got %v, want an error naming %s", err, path)
	}
}

func TestOpenKeepsWhatWasStored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	d := open(t, path)
	var seq uint64
	put := func(d *DB) (err error) {
		return d.Update(func(tx *inventory.Tx) error {
			if seq, err = tx.NextSeq(); err != nil {
				return err
			}
			return tx.Put("x", "key", []byte("value"))
		})
	}
	if err := put(d); err != nil {
		t.Fatal(err)
	}
	first := seq
	closed(t, d)
	if err := put(d); !errors.Is(err, ErrClosed) {
		t.Errorf("update after close: got %v, want ErrClosed", err)
	}
	if err := d.View(func(*inventory.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("view after close: got %v, want ErrClosed", err)
	}
	d = open(t, path)
	if err := put(d); err != nil || seq <= first {
		t.Errorf("sequence after reopening: got %d after %d, %v", seq, first, err)
	}
	if err := d.View(func(tx *inventory.Tx) error {
		v, err := tx.Get("x", "key")
		if string(v) != "value" {
			t.Errorf("value after reopening: got %q", v)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	closed(t, open(t, path))
	cfg := Config{Path: path, LockTimeout: time.Second, Now: time.Now, Log: discard()}
	raw := func(steps []migration) error {
		t.Helper()
		b, err := openFile(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return errors.Join(migrate(b, cfg, steps), b.Close())
	}
	var ran []int
	step := func(n int) migration {
		return func(r *rawTx) error {
			ran = append(ran, n)
			return r.Put("x", fmt.Sprint(n), []byte("{}"))
		}
	}
	boom := errors.New("boom")
	if err := raw(append(migrations(), step(1), func(*rawTx) error { return boom })); !errors.Is(err, boom) {
		t.Errorf("a migration that fails: got %v, want boom", err)
	}
	ran = nil
	newer := append(migrations(), step(1), step(2))
	if err := raw(newer); err != nil {
		t.Fatal(err)
	}
	if err := raw(newer); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 2}, ran); diff != "" {
		t.Errorf("migrations that ran: each once, in order (-want +got):\n%s", diff)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{Path: path})
	if want := fmt.Sprintf("version %d, this program knows up to %d", len(newer)+1, len(migrations())+1); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), want) {
		t.Errorf("an older program on newer data: got %v, want ErrNewer saying %q", err, want)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("an older program changed the newer data (%v)", err)
	}
}

func TestOpenFindsDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	d := open(t, good)
	for i := range 300 {
		if err := d.Update(func(tx *inventory.Tx) error {
			_, err := tx.PutHost(inventory.Host{ID: inventory.HostID(fmt.Sprintf("h%03d", i)), Name: fmt.Sprintf("host-%03d", i), State: inventory.StateSeen})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	var whole bytes.Buffer
	if err := d.Backup(&whole); err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	page := os.Getpagesize()
	backups := filepath.Join(dir, "backups")
	if err := os.Mkdir(backups, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spoil func([]byte) []byte
	}{
		{"no database at all", func([]byte) []byte { return []byte(strings.Repeat("not a database\n", 5000)) }},
		{"cut off in the middle", func(b []byte) []byte { return b[:len(b)/2/page*page] }},
		{"both meta pages zeroed", func(b []byte) []byte { clear(b[:2*page]); return b }},
		{"all other pages zeroed", func(b []byte) []byte { clear(b[2*page:]); return b }},
		{"all other pages noise", func(b []byte) []byte {
			for i := range b[2*page:] {
				b[2*page+i] = byte(i * 7)
			}
			return b
		}},
		{"a host's record spoilt", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"name":"host-150"`), []byte(`"name":"host-150}`))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hatchery.db")
			spoilt := c.spoil(bytes.Clone(whole.Bytes()))
			if err := os.WriteFile(path, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := Config{Path: path, Backups: backups, LockTimeout: 50 * time.Millisecond}
			if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "no backup") {
				t.Fatalf("open: got %v, want ErrCorrupt saying that there is no backup", err)
			}
			cfg.Backups = dir // holds "good.db"
			if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "hatchery restore "+good) {
				t.Errorf("open: got %v, want ErrCorrupt naming %s", err, good)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, spoilt) {
				t.Errorf("the damaged file was changed (%v)", err)
			}
		})
	}
}

func TestBackupIsAWholeDatabase(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	path := filepath.Join(t.TempDir(), "backup.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var n int
	wg.Go(func() { // updates go on meanwhile; each writes a pair
		for ctx.Err() == nil {
			n++
			if err := d.Update(func(tx *inventory.Tx) error {
				return errors.Join(tx.PutJSON("x", "a", n), tx.PutJSON("x", "b", n))
			}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		if err := errors.Join(f.Truncate(0), seek0(f), d.Backup(f)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	back := open(t, path)
	if err := back.View(func(tx *inventory.Tx) error {
		var a, b int
		_, err1 := tx.GetJSON("x", "a", &a)
		_, err2 := tx.GetJSON("x", "b", &b)
		if a != b {
			t.Errorf("the backup holds half an update: %d and %d", a, b)
		}
		return errors.Join(err1, err2)
	}); err != nil {
		t.Error(err)
	}
}

func seek0(f *os.File) error { _, err := f.Seek(0, 0); return err }

func TestLeases(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	d := open(t, path)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l := lease.Lease{IP: netip.MustParseAddr("10.0.0.9"), HW: lease.HW{2, 0, 0, 0, 0, 1}, ClientID: []byte{1, 2}, Hostname: "a", State: lease.StateBound, Expires: now}
	old := l
	old.Hostname = "b"
	if err := errors.Join(d.CommitLeases(old), d.CommitLeases(l)); err != nil {
		t.Fatal(err)
	}
	if err := d.CommitLeases(lease.Lease{}); err == nil {
		t.Error("a lease without an address: got no error")
	}
	closed(t, d)
	if err := d.CommitLeases(l); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after close: got %v, want ErrClosed", err)
	}
	d = open(t, path)
	got, err := d.Leases()
	if diff := cmp.Diff([]lease.Lease{l}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("leases after reopening: %v (-want +got):\n%s", err, diff)
	}
}

func TestReservations(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	a := lease.Reservation{HW: lease.HW{2, 0, 0, 0, 0, 1}, IP: netip.MustParseAddr("10.0.0.9"), Name: "alpha"}
	b := lease.Reservation{HW: lease.HW{2, 0, 0, 0, 0, 2}, IP: a.IP}
	if err := errors.Join(d.PutReservation(a), d.PutReservation(a)); err != nil {
		t.Fatal(err)
	}
	if err := d.PutReservation(b); !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("the same address for another machine: got %v, want ErrConflict", err)
	}
	b.IP = netip.MustParseAddr("10.0.0.10")
	if err := d.PutReservation(b); err != nil {
		t.Fatal(err)
	}
	version := d.ReservationsVersion()
	if err := d.Update(func(tx *inventory.Tx) error { return tx.Put("other", "a", nil) }); err != nil || d.ReservationsVersion() != version {
		t.Errorf("after an update of something else (%v) reservations count as changed", err)
	}
	got, err := d.Reservations()
	if diff := cmp.Diff([]lease.Reservation{a, b}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("reservations: %v (-want +got):\n%s", err, diff)
	}
	if err := d.DeleteReservation(a.HW); err != nil {
		t.Fatal(err)
	}
	if d.ReservationsVersion() == version {
		t.Error("a deleted reservation is no change")
	}
	version = d.ReservationsVersion()
	if err := d.PutReservation(a); err != nil || d.ReservationsVersion() == version {
		t.Errorf("a new reservation (%v) is no change", err)
	}
	if err := d.DeleteReservation(a.HW); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteReservation(a.HW); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("deleting twice: got %v, want ErrNotFound", err)
	}
}

// TestSizeSaysWhatIsFree deletes most of what a database holds.
func TestSizeSaysWhatIsFree(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	d := open(t, path)
	for _, fn := range []func(*inventory.Tx) error{
		func(tx *inventory.Tx) error { return tx.Put("large", "a", make([]byte, 1<<20)) },
		func(tx *inventory.Tx) error { return tx.Delete("large", "a") },
	} {
		if err := d.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if length, free := d.Size(); free < 1<<20 || free >= length {
			t.Errorf("%d bytes of %d are free, want a megabyte and less than all", free, length)
		}
		closed(t, d)
		d = open(t, path)
	}
}
