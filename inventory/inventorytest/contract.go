package inventorytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

const bucket inventory.Bucket = "contract"

// TestStore checks what every store must do. open returns a fresh, empty store
// whose resources end with the test.
func TestStore(t *testing.T, open func(t *testing.T) inventory.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, inventory.Store)
	}{
		{"keeps what was put and nothing of a failed update", testKeep},
		{"hands out copies and takes copies", testCopies},
		{"refuses writes in a view", testReadOnly},
		{"scans in order, by prefix, after a key", testScan},
		{"scans backwards", testScanBack},
		{"scans on while the callback writes", testScanWrites},
		{"counts up and never back", testSeq},
		{"makes ids of 16 hex digits", testNewID},
		{"shows a view one snapshot", testSnapshot},
		{"loses no concurrent update", testConcurrent},
		{"publishes committed changes in order", testWatch},
		{"tells a slow reader how many it lost", testWatchLost},
		{"stays usable after a panic in an update", testPanic},
		{"compares and sets hosts", testHosts},
		{"pages hosts", testPages},
		{"lists open jobs", testJobs},
		{"lists the jobs of a host, newest first", testJobsOfHosts},
		{"lists and counts the hosts of a role", testRoles},
		{"keeps a bounded diary", testDiary},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

func update(t *testing.T, s inventory.Store, fn func(*inventory.Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t *testing.T, s inventory.Store, fn func(*inventory.Tx) error) {
	t.Helper()
	if err := s.View(fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func fill(t *testing.T, s inventory.Store, keys ...string) {
	t.Helper()
	update(t, s, func(tx *inventory.Tx) error {
		for _, k := range keys {
			if err := tx.Put(bucket, k, []byte("v-"+k)); err != nil {
				return err
			}
		}
		return nil
	})
}

func keysOf(t *testing.T, s inventory.Store, prefix, after string) []string {
	t.Helper()
	var got []string
	view(t, s, func(tx *inventory.Tx) error {
		return tx.Scan(bucket, prefix, after, func(k string, v []byte) (bool, error) {
			if string(v) != "v-"+k {
				t.Errorf("value of %s: got %q, want %q", k, v, "v-"+k)
			}
			got = append(got, k)
			return true, nil
		})
	})
	return got
}

func testKeep(t *testing.T, s inventory.Store) {
	fill(t, s, "a", "b")
	boom := errors.New("boom")
	err := s.Update(func(tx *inventory.Tx) error {
		err := errors.Join(tx.Put(bucket, "c", []byte("v-c")), tx.Delete(bucket, "a"), tx.Delete(bucket, "never there"))
		if v, _ := tx.Get(bucket, "c"); string(v) != "v-c" {
			t.Errorf("an update must see its own write, got %q", v)
		}
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("the update's own error: got %v, want boom", err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, keysOf(t, s, "", "")); diff != "" {
		t.Errorf("keys after a failed update (-want +got):\n%s", diff)
	}
	update(t, s, func(tx *inventory.Tx) error {
		if err := tx.Put(bucket, "", []byte("x")); err == nil {
			t.Error("a put with an empty key must fail")
		}
		return errors.Join(tx.Put(bucket, "empty", nil), tx.Delete("no such bucket", "a"))
	})
	view(t, s, func(tx *inventory.Tx) error {
		if v, err := tx.Get(bucket, "empty"); v == nil || len(v) != 0 || err != nil {
			t.Errorf("an empty value: got %v, %v, want an empty non-nil slice", v, err)
		}
		for _, k := range []string{"absent", ""} {
			if v, err := tx.Get(bucket, k); v != nil || err != nil {
				t.Errorf("absent key %q: got %v, %v, want nil, nil", k, v, err)
			}
		}
		v, err := tx.Get("no such bucket", "a")
		if v != nil {
			t.Errorf("absent bucket: got %v, want nil", v)
		}
		return err
	})
}

func testCopies(t *testing.T, s inventory.Store) {
	mine := []byte("v-a")
	var got, scanned []byte
	update(t, s, func(tx *inventory.Tx) error {
		err := tx.Put(bucket, "a", mine)
		copy(mine, "xxx")
		return err
	})
	view(t, s, func(tx *inventory.Tx) (err error) {
		if got, err = tx.Get(bucket, "a"); err != nil {
			return err
		}
		return tx.Scan(bucket, "", "", func(_ string, v []byte) (bool, error) {
			scanned = v
			return true, nil
		})
	})
	copy(got, "yyy")
	copy(scanned, "zzz")
	fill(t, s, "b")
	if string(got) != "yyy" || string(scanned) != "zzz" {
		t.Errorf("returned values must be the caller's own: got %q, %q", got, scanned)
	}
	if diff := cmp.Diff([]string{"a", "b"}, keysOf(t, s, "", "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func testReadOnly(t *testing.T, s inventory.Store) {
	fill(t, s, "a")
	var kept *inventory.Tx
	view(t, s, func(tx *inventory.Tx) error {
		kept = tx
		if err := tx.Put(bucket, "b", nil); err == nil {
			t.Error("put in a view: got no error")
		}
		if err := tx.Delete(bucket, "a"); err == nil {
			t.Error("delete in a view: got no error")
		}
		if _, err := tx.NextSeq(); err == nil {
			t.Error("NextSeq in a view: got no error")
		}
		return nil
	})
	if _, err := kept.Get(bucket, "a"); err == nil {
		t.Error("read after the transaction ended: got no error")
	}
	boom := errors.New("boom")
	if err := s.View(func(*inventory.Tx) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a view's own error: got %v, want boom", err)
	}
	if diff := cmp.Diff([]string{"a"}, keysOf(t, s, "", "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func testScan(t *testing.T, s inventory.Store) {
	fill(t, s, "b/2", "a/1", "b/1", "c/1", "b/10", "b")
	for _, c := range []struct {
		name, prefix, after string
		want                []string
	}{
		{"everything", "", "", []string{"a/1", "b", "b/1", "b/10", "b/2", "c/1"}},
		{"a prefix", "b/", "", []string{"b/1", "b/10", "b/2"}},
		{"a prefix after a key", "b/", "b/1", []string{"b/10", "b/2"}},
		{"a prefix after a key that is gone", "b/", "b/11", []string{"b/2"}},
		{"a prefix after its last key", "b/", "b/2", nil},
		{"everything after a key", "", "b/2", []string{"c/1"}},
		{"after a key below the prefix", "b/", "a/1", []string{"b/1", "b/10", "b/2"}},
		{"after a key above the prefix", "b/", "c", nil},
		{"a prefix nobody has", "bb", "", nil},
	} {
		if diff := cmp.Diff(c.want, keysOf(t, s, c.prefix, c.after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	boom := errors.New("boom")
	n := 0
	err := s.View(func(tx *inventory.Tx) error {
		if err := tx.Scan(bucket, "", "", func(string, []byte) (bool, error) { n++; return n < 2, nil }); err != nil {
			return err
		}
		return tx.Scan(bucket, "", "", func(string, []byte) (bool, error) { return true, boom })
	})
	if n != 2 || !errors.Is(err, boom) {
		t.Errorf("stopping a scan: got %d keys, error %v, want 2, boom", n, err)
	}
}

func testScanBack(t *testing.T, s inventory.Store) {
	fill(t, s, "a/1", "b/1", "b/2", "b/3", "c/1", "b\xff")
	for _, c := range []struct {
		name, prefix, before string
		want                 []string
	}{
		{"everything", "", "", []string{"c/1", "b\xff", "b/3", "b/2", "b/1", "a/1"}},
		{"a prefix", "b/", "", []string{"b/3", "b/2", "b/1"}},
		{"a prefix before a key", "b/", "b/3", []string{"b/2", "b/1"}},
		{"a prefix before a key that is not there", "b/", "b/25", []string{"b/2", "b/1"}},
		{"before the first", "b/", "b/1", nil},
		{"before a key above the prefix", "b/", "zzz", []string{"b/3", "b/2", "b/1"}},
		{"before a key below the prefix", "b/", "a/9", nil},
		{"a prefix nobody has", "bb", "", nil},
		{"the last prefix of all", "c/", "", []string{"c/1"}},
	} {
		var got []string
		view(t, s, func(tx *inventory.Tx) error {
			return tx.ScanBack(bucket, c.prefix, c.before, func(k string, v []byte) (bool, error) {
				if string(v) != "v-"+k {
					t.Errorf("value of %q: got %q", k, v)
				}
				got = append(got, k)
				return true, nil
			})
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	n := 0
	view(t, s, func(tx *inventory.Tx) error {
		return tx.ScanBack(bucket, "", "", func(string, []byte) (bool, error) { n++; return n < 2, nil })
	})
	if n != 2 {
		t.Errorf("stopping a backward scan: got %d keys, want 2", n)
	}
}

func testScanWrites(t *testing.T, s inventory.Store) {
	var all []string
	for i := range 300 {
		all = append(all, fmt.Sprintf("%03d", i))
	}
	fill(t, s, all...)
	var seen, back []string
	update(t, s, func(tx *inventory.Tx) error {
		err := tx.Scan(bucket, "", "", func(k string, _ []byte) (bool, error) {
			seen = append(seen, k)
			return true, errors.Join(tx.Delete(bucket, k), tx.Put("other", k, []byte("v")))
		})
		return errors.Join(err, tx.ScanBack("other", "", "", func(k string, _ []byte) (bool, error) {
			back = append(back, k)
			return true, tx.Delete("other", k)
		}))
	})
	slices.Reverse(back)
	if !slices.Equal(seen, all) || !slices.Equal(back, all) {
		t.Errorf("scans that delete: saw %d and %d keys, want %d each", len(seen), len(back), len(all))
	}
	if left := keysOf(t, s, "", ""); len(left) != 0 {
		t.Errorf("left after deleting everything: %v", left)
	}
}

func testSeq(t *testing.T, s inventory.Store) {
	var last uint64
	for range 3 {
		update(t, s, func(tx *inventory.Tx) error {
			for range 3 {
				n, err := tx.NextSeq()
				if err != nil {
					return err
				}
				if n <= last {
					t.Errorf("NextSeq: got %d after %d", n, last)
				}
				last = n
			}
			return nil
		})
	}
}

func testNewID(t *testing.T, s inventory.Store) {
	seen := map[string]bool{}
	view(t, s, func(tx *inventory.Tx) error {
		for range 1000 {
			id := tx.NewID()
			if len(id) != 16 || seen[id] {
				t.Fatalf("NewID: got %q (seen before: %v)", id, seen[id])
			}
			for _, c := range id {
				if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
					t.Fatalf("NewID: got %q, want lower-case hex", id)
				}
			}
			seen[id] = true
		}
		return nil
	})
}

func testSnapshot(t *testing.T, s inventory.Store) {
	fill(t, s, "a")
	view(t, s, func(tx *inventory.Tx) error {
		fill(t, s, "b") // while the view is open
		if v, err := tx.Get(bucket, "b"); v != nil || err != nil {
			t.Errorf("a view sees a later update: got %q, %v", v, err)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"a", "b"}, keysOf(t, s, "", "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func testConcurrent(t *testing.T, s inventory.Store) {
	var wg sync.WaitGroup
	const writers, rounds = 8, 20
	for range writers {
		wg.Go(func() {
			for range rounds {
				if err := s.Update(func(tx *inventory.Tx) error {
					var n int
					if _, err := tx.GetJSON(bucket, "n", &n); err != nil {
						return err
					}
					return tx.PutJSON(bucket, "n", n+1)
				}); err != nil {
					t.Errorf("update: %v", err)
				}
				if err := s.View(func(tx *inventory.Tx) error { _, err := tx.Get(bucket, "n"); return err }); err != nil {
					t.Errorf("view: %v", err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx *inventory.Tx) error {
		var n int
		_, err := tx.GetJSON(bucket, "n", &n)
		if n != writers*rounds {
			t.Errorf("counter: got %d, want %d", n, writers*rounds)
		}
		return err
	})
}

func testPanic(t *testing.T, s inventory.Store) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic must reach the caller")
			}
		}()
		_ = s.Update(func(tx *inventory.Tx) error {
			if err := tx.Put(bucket, "half", []byte("x")); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	fill(t, s, "a")
	if diff := cmp.Diff([]string{"a"}, keysOf(t, s, "", "")); diff != "" {
		t.Errorf("keys after a panic (-want +got):\n%s", diff)
	}
}

// next waits for one change.
func next(t *testing.T, ch <-chan inventory.Change) inventory.Change {
	t.Helper()
	select {
	case c, ok := <-ch:
		if !ok {
			t.Fatal("the watch ended")
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change within 10 s")
	}
	return inventory.Change{}
}

func testWatch(t *testing.T, s inventory.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch := s.Watch(ctx)
	update(t, s, func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "h1", State: inventory.StateSeen})
		return errors.Join(err, tx.Note(inventory.Entry{HostID: "h1", Kind: "state", Text: "seen"}))
	})
	_ = s.Update(func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "h2", State: inventory.StateSeen})
		return errors.Join(err, errors.New("rolled back"))
	})
	update(t, s, func(tx *inventory.Tx) error {
		_, err := tx.PutJob(inventory.Job{ID: "j1", HostID: "h1", State: inventory.JobQueued})
		return errors.Join(err, tx.DeleteHost("h1"))
	})
	var got []inventory.Change
	for range 4 {
		got = append(got, next(t, ch))
	}
	want := []inventory.Change{
		{Kind: inventory.HostChanged, Host: "h1"},
		{Kind: inventory.DiaryGrew, Host: "h1", Entry: &inventory.Entry{Seq: 1, HostID: "h1", Kind: "state", Text: "seen"}},
		{Kind: inventory.JobChanged, Host: "h1", Job: "j1"},
		{Kind: inventory.HostForgotten, Host: "h1"},
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Seq" }, cmp.Ignore()), cmpAddr()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	cancel()
	select {
	case _, ok := <-ch:
		if ok {
			t.Error("a change after the last")
		}
	case <-time.After(10 * time.Second):
		t.Error("the channel must close when ctx ends")
	}
}

func testWatchLost(t *testing.T, s inventory.Store) {
	ch := s.Watch(t.Context())
	const extra = 500
	total := inventory.WatchBound + extra
	update(t, s, func(tx *inventory.Tx) error {
		for range total {
			if err := tx.Note(inventory.Entry{HostID: "h1", Kind: "state"}); err != nil {
				return err
			}
		}
		return nil
	})
	seen, lost := 0, 0
	var last uint64
	for last < uint64(total) {
		c := next(t, ch)
		lost += c.Lost
		seen++
		if c.Entry.Seq <= last {
			t.Fatalf("change %d after %d", c.Entry.Seq, last)
		}
		if want := c.Entry.Seq - last - 1; uint64(c.Lost) != want {
			t.Fatalf("change %d after %d: got Lost %d, want %d", c.Entry.Seq, last, c.Lost, want)
		}
		last = c.Entry.Seq
	}
	if seen+lost != total || lost == 0 || seen > inventory.WatchBound+1 {
		t.Errorf("got %d seen and %d lost of %d", seen, lost, total)
	}
}
