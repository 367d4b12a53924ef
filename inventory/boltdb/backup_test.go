package boltdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func put(t *testing.T, d *DB, value string) {
	t.Helper()
	if err := d.Update(func(tx *inventory.Tx) error { return tx.Put("x", "key", []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, d *DB) (value string) {
	t.Helper()
	if err := d.View(func(tx *inventory.Tx) error {
		v, err := tx.Get("x", "key")
		value = string(v)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// clocked opens a database whose clock the test moves.
func clocked(t *testing.T, path string, now *time.Time) *DB {
	t.Helper()
	d, err := Open(Config{Path: path, Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBackupsAreKeptInNumber(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	d := clocked(t, filepath.Join(t.TempDir(), "hatchery.db"), &now)
	defer closed(t, d)
	dir := filepath.Join(t.TempDir(), "backups")
	for range 5 {
		now = now.Add(24 * time.Hour)
		if _, err := d.BackupFile(dir, 3); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"hatchery-20261125T120000Z.db", "hatchery-20261126T120000Z.db", "hatchery-20261127T120000Z.db"}
	if diff := cmp.Diff(want, namesIn(t, dir)); diff != "" {
		t.Errorf("backups (-want +got):\n%s", diff)
	}
}

func TestABackupAfterTheClockWentBackIsKept(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	d := clocked(t, filepath.Join(t.TempDir(), "hatchery.db"), &now)
	defer closed(t, d)
	dir := filepath.Join(t.TempDir(), "backups")
	for _, back := range []time.Duration{0, -24 * time.Hour, 365 * 24 * time.Hour} {
		now = now.Add(-back)
		path, err := d.BackupFile(dir, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckFile(path); err != nil {
			t.Errorf("the backup of %s: %v", now, err)
		}
	}
	want := []string{"hatchery-20251123T120000Z.db", "hatchery-20261123T120000Z.db"}
	if diff := cmp.Diff(want, namesIn(t, dir)); diff != "" {
		t.Errorf("backups (-want +got):\n%s", diff)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	cfg := Config{Path: filepath.Join(dir, "hatchery.db"), Now: func() time.Time { return now }}
	d := clocked(t, cfg.Path, &now)
	put(t, d, "old")
	var job inventory.Job
	if err := d.Update(func(tx *inventory.Tx) error {
		h, err := inventory.Expect(tx, inventory.Announce{MAC: inventory.MAC{2, 0, 0, 0, 0, 1}}, now)
		if err != nil {
			return err
		}
		role := "worker"
		_, j, err := inventory.Assign(tx, h.ID, inventory.Assignment{Role: &role}, "admin", false, now)
		job = *j
		return err
	}); err != nil {
		t.Fatal(err)
	}
	backup, err := d.BackupFile(filepath.Join(dir, "backups"), 14)
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "new")
	if _, err := Restore(cfg, backup); !errors.Is(err, ErrInUse) {
		t.Errorf("restore under a running appliance: got %v, want ErrInUse", err)
	}
	closed(t, d)
	kept, err := Restore(cfg, backup)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"backups", "hatchery.db", filepath.Base(kept)}, namesIn(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	d = open(t, cfg.Path)
	if got := get(t, d); got != "old" {
		t.Errorf("restored: got %q, want old", got)
	}
	if err := d.View(func(tx *inventory.Tx) error {
		j, err := tx.Job(job.ID)
		if j.State != inventory.JobFailed || j.Hint == "" {
			t.Errorf("its open job: got %+v, want it failed", j)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if got := get(t, open(t, kept)); got != "new" {
		t.Errorf("what was there before: got %q, want new", got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{Path: filepath.Join(dir, "hatchery.db")}
	d := open(t, cfg.Path)
	put(t, d, "mine")
	closed(t, d)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]error{junk: ErrCorrupt, filepath.Join(dir, "absent"): os.ErrNotExist} {
		if _, err := Restore(cfg, from); !errors.Is(err, want) {
			t.Errorf("restore from %s: got %v, want %v", from, err, want)
		}
	}
	if diff := cmp.Diff([]string{"hatchery.db"}, namesIn(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := get(t, open(t, cfg.Path)); got != "mine" {
		t.Errorf("the database: got %q, want it untouched", got)
	}
}

func TestRestoreOverDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{Path: filepath.Join(dir, "hatchery.db"), Backups: filepath.Join(dir, "backups")}
	d := open(t, cfg.Path)
	put(t, d, "good")
	backup, err := d.BackupFile(cfg.Backups, 14)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, d)
	if err := os.WriteFile(cfg.Path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("open: got %v, want ErrCorrupt", err)
	}
	if _, err := Restore(cfg, backup); err != nil {
		t.Fatal(err)
	}
	if got := get(t, open(t, cfg.Path)); got != "good" {
		t.Errorf("restored: got %q, want good", got)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	ch := d.Watch(t.Context())
	put(t, d, "x")
	closed(t, d)
	select {
	case _, ok := <-ch:
		if ok {
			t.Error("a change that is none")
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch did not end with the database")
	}
	if _, ok := <-d.Watch(t.Context()); ok {
		t.Error("a watch on a closed database must be closed")
	}
}

func ExampleDB_BackupFile() {
	dir, err := os.MkdirTemp("", "hatchery-*")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	now := func() time.Time { return time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC) }
	d, err := Open(Config{Path: filepath.Join(dir, "hatchery.db"), Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	path, err := d.BackupFile(filepath.Join(dir, "backups"), 14)
	fmt.Println(filepath.Base(path), err)
	fmt.Println(d.Close())
	// Output:
	// hatchery-20261122T030000Z.db <nil>
	// <nil>
}
