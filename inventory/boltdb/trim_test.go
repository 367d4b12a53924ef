package boltdb

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// TestDiariesAreTrimmedDaily lets days go by: what is over its age goes, nothing else does.
func TestDiariesAreTrimmedDaily(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	synctest.Test(t, func(t *testing.T) {
		d := open(t, path)
		defer closed(t, d)
		if err := d.Update(func(tx *inventory.Tx) error {
			for i := range 2 * inventory.DiaryFloor {
				id := inventory.HostID(fmt.Sprintf("%016x", i%2))
				if i < 2 {
					if _, err := tx.PutHost(inventory.Host{ID: id, State: inventory.StateSeen}); err != nil {
						return err
					}
				}
				for range 2 {
					if err := tx.Note(inventory.Entry{Time: time.Now(), HostID: id, Kind: "progress"}); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		left := func() (n int) {
			if err := d.View(func(tx *inventory.Tx) error {
				return tx.Scan(inventory.BucketDiary, "", "", func(string, []byte) (bool, error) { n++; return true, nil })
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		time.Sleep(inventory.DiaryAge - time.Hour)
		synctest.Wait()
		if n := left(); n != 4*inventory.DiaryFloor {
			t.Errorf("before their time: got %d entries, want all %d", n, 4*inventory.DiaryFloor)
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if n := left(); n != 2*inventory.DiaryFloor {
			t.Errorf("after it: got %d entries, want %d", n, 2*inventory.DiaryFloor)
		}
	})
}

// mapped is how much of a file is in this process's memory, in bytes.
func mapped(t *testing.T, path string) (n int) {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, of, found := strings.Cut(string(raw), path+"\n")
	_, rss, _ := strings.Cut(of, "Rss:")
	if _, err := fmt.Sscan(rss, &n); err != nil || !found {
		t.Fatalf("%s is not mapped: %v", path, err)
	}
	return n << 10
}

// TestOpenAndIdleTakeNoPagesOfALargeFile: the check reads past the map, and what is read through it is given back.
func TestOpenAndIdleTakeNoPagesOfALargeFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	closed(t, site(t, path, 300, 20))
	d := open(t, path)
	if n := mapped(t, path); n > 1<<19 {
		t.Errorf("after the open: %d bytes of the file are in memory", n)
	}
	all := dump(t, d)
	if n := mapped(t, path); n < 2<<20 {
		t.Errorf("after everything was read: %d bytes of the file are in memory, so this proves nothing", n)
	}
	d.giveBack()
	if n := mapped(t, path); n > 1<<19 {
		t.Errorf("given back: %d bytes of the file are in memory", n)
	}
	if diff := cmp.Diff(all, dump(t, d)); diff != "" {
		t.Errorf("read again (-before +after):\n%.2000s", diff)
	}
}
