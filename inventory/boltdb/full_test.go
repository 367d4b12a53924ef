package boltdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// smallDisk mounts a tmpfs of the given size; it skips where that is not allowed.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatalf("mount a small file system: %v", err)
		}
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskFull fills the disk under the database: writes fail and say so, reads go on, and
// everything works again once there is space.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "2m")
	d := open(t, filepath.Join(dir, "hatchery.db"))
	put := func(n int) error {
		return d.Update(func(tx *inventory.Tx) error { return tx.Put("x", fmt.Sprintf("%06d", n), make([]byte, 2000)) })
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := fillUp(ballast); err != nil {
		t.Fatal(err)
	}
	written, err := 1, error(nil)
	for ; written < 10000; written++ {
		if err = put(written); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("update on a full disk: got %v, want a sentence naming %s", err, dir)
	}
	count := func(d *DB) (n int) {
		t.Helper()
		if err := d.View(func(tx *inventory.Tx) error {
			return tx.Scan("x", "", "", func(string, []byte) (bool, error) { n++; return true, nil })
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(d); n != written {
		t.Errorf("records on a full disk: got %d, want %d", n, written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := put(written); err != nil {
		t.Errorf("with space again: %v", err)
	}
	closed(t, d)
	if n := count(open(t, filepath.Join(dir, "hatchery.db"))); n != written+1 {
		t.Errorf("records after reopening: got %d, want %d", n, written+1)
	}
}

// fillUp writes a file until nothing more fits.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
