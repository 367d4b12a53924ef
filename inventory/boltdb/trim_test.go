package boltdb

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

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
