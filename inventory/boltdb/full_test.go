package boltdb

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
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

// TestReserve fills the disk as something else does: boots, leases and running jobs go on in the space that was kept
// for them, over a restart too, new work is refused with a sentence, and begins again once there is space.
func TestReserve(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "64m")
	now := time.Now()
	cfg := Config{Path: filepath.Join(dir, "hatchery.db"), Reserve: 2 << 20, Now: func() time.Time { return now }}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	machine := func(n byte) inventory.Contact {
		return inventory.Contact{MAC: inventory.MAC{2, 0, 0, 0, 0, n}, IP: netip.AddrFrom4([4]byte{10, 0, 0, n}), DHCP: true}
	}
	boot := func(n byte) error { // what a booting machine writes
		return errors.Join(d.CommitLeases(lease.Lease{IP: machine(n).IP, HW: lease.HW(machine(n).MAC)}), d.Update(func(tx *inventory.Tx) error {
			h, target, _, err := inventory.FetchScript(tx, machine(n), inventory.DiscoveryAlways, fmt.Sprint("nonce", n, now.UnixNano()), now)
			if err == nil && target != inventory.TargetStage0 && target != inventory.TargetHold {
				err = fmt.Errorf("sent to %s", target)
			}
			return errors.Join(err, tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "http.script", Text: strings.Repeat("x", 500)}))
		}))
	}
	work := func(n byte) error {
		return d.Update(func(tx *inventory.Tx) error {
			h, err := tx.HostByMAC(machine(n).MAC)
			if err != nil {
				return err
			}
			role := "worker"
			_, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Role: &role}, "admin", false, now)
			return err
		})
	}
	if err := errors.Join(boot(1), boot(2), boot(3), work(1)); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := fillUp(ballast); err != nil {
		t.Fatal(err)
	}
	served, refused := 0, 0
	for range 600 {
		if now = now.Add(time.Second); boot(byte(1+served%3)) == nil {
			served++
		} else {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("boots on a full disk: %d served, %d refused", served, refused)
	}
	refusal := func() {
		t.Helper()
		if err := work(2); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "nothing new is begun: free some space") || !strings.Contains(err.Error(), dir) {
			t.Errorf("new work on a full disk: got %v, want a sentence naming %s", err, dir)
		}
	}
	refusal()
	closed(t, d)
	more := filepath.Join(dir, "more")
	if err := fillUp(more); err != nil { // nothing of what was kept is anybody else's now
		t.Fatal(err)
	}
	if d, err = Open(cfg); err != nil {
		t.Fatalf("start on a full disk: %v", err)
	}
	for n := range byte(3) {
		if err := boot(n + 10); err != nil {
			t.Errorf("a new machine after a start on a full disk: %v", err)
		}
	}
	refusal()
	if err := errors.Join(os.Remove(ballast), os.Remove(more)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(reserveAgain)
	if err := errors.Join(work(2), d.Room()); err != nil {
		t.Errorf("with space again: %v", err)
	}
	closed(t, d)
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
