package boltdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/inventory"
)

// dump is every record of a database and where its sequences stand.
func dump(t *testing.T, d *DB) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := d.bolt.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			all[string(name)] = fmt.Sprint(b.Sequence())
			return b.ForEach(func(k, v []byte) error {
				all[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// worn is the bytes of a database of some size with pages of every kind, free ones too.
func worn(t *testing.T, dir string) (raw []byte, content map[string]string) {
	t.Helper()
	path := filepath.Join(dir, "worn.db")
	d := site(t, path, 200, 10)
	for i := range 30 {
		if err := d.Update(func(tx *inventory.Tx) error {
			h, _, err := tx.Hosts("", 1)
			if err == nil {
				err = tx.DeleteHost(h[0].ID)
			}
			return errors.Join(err, tx.Put("small", fmt.Sprint(i%3), []byte("inline")))
		}); err != nil {
			t.Fatal(err)
		}
	}
	var all bytes.Buffer
	if err := d.Backup(&all); err != nil { // without the room that the file has for more
		t.Fatal(err)
	}
	return all.Bytes(), dump(t, d)
}

// boltsOwnCheck is the library's, which follows damaged lengths out of the file: only for what was opened.
func boltsOwnCheck(d *DB) error {
	return d.bolt.View(func(tx *bbolt.Tx) (all error) {
		for err := range tx.Check() {
			all = errors.Join(all, err)
		}
		return all
	})
}

// TestNoFlippedBitGoesUnnoticed flips one bit anywhere behind the two meta pages (which bbolt itself sums, and of
// which it takes the other): the start either finds it, or everything is as it was written.
func TestNoFlippedBitGoesUnnoticed(t *testing.T) {
	t.Parallel()
	raw, content := worn(t, t.TempDir())
	flips := 150
	if os.Getenv("HATCHERY_FULL") == "1" {
		flips = 2000
	}
	path := filepath.Join(t.TempDir(), "hatchery.db")
	found := 0
	for range flips {
		at, bit := 2*os.Getpagesize()+rand.IntN(len(raw)-2*os.Getpagesize()), byte(1)<<rand.IntN(8)
		raw[at] ^= bit
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		raw[at] ^= bit
		d, err := Open(Config{Path: path, LockTimeout: time.Second})
		switch {
		case errors.Is(err, ErrCorrupt):
			found++
		case err != nil:
			t.Fatalf("bit %#x of byte %d: got %v, want ErrCorrupt", bit, at, err)
		default:
			if diff := cmp.Diff(content, dump(t, d)); diff != "" {
				t.Errorf("bit %#x of byte %d was not noticed (-want +got):\n%.2000s", bit, at, diff)
			}
			if err := boltsOwnCheck(d); err != nil {
				t.Errorf("bit %#x of byte %d: bbolt's own check finds what ours did not: %v", bit, at, err)
			}
			closed(t, d)
		}
	}
	if found < flips/4 {
		t.Errorf("%d of %d flips were found: the test proves little", found, flips)
	}
	t.Logf("%d of %d flipped bits mattered, all of them were found", found, flips)
}

// TestCutOffAnywhere cuts the file: no length makes an appliance that lost something start as if nothing was.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	raw, content := worn(t, t.TempDir())
	page := os.Getpagesize()
	lengths := []int{0, 1, page - 1, page, 2 * page, 3 * page, 4*page + 100, len(raw) / 2, len(raw) - 1}
	for range 30 {
		lengths = append(lengths, rand.IntN(len(raw)))
	}
	for _, n := range lengths {
		path := filepath.Join(t.TempDir(), "hatchery.db")
		if err := os.WriteFile(path, raw[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(Config{Path: path, LockTimeout: 50 * time.Millisecond})
		if err == nil { // the end of the file may be free pages
			if diff := cmp.Diff(content, dump(t, d)); diff != "" {
				t.Errorf("%d bytes of %d were opened (-want +got):\n%.2000s", n, len(raw), diff)
			}
			closed(t, d)
		} else if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes of %d: got %v, want ErrCorrupt", n, len(raw), err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after[:min(n, len(after))], raw[:n]) && d == nil {
			t.Errorf("%d bytes of %d: the damaged file was changed (%v)", n, len(raw), err)
		}
	}
}

// TestTheNewestGoodBackupIsOffered: one that is damaged itself is passed over, and said to be.
func TestTheNewestGoodBackupIsOffered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Config{Path: filepath.Join(dir, "hatchery.db"), Backups: filepath.Join(dir, "backups")}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	d := clocked(t, cfg.Path, &now)
	put(t, d, "good")
	var made []string
	for range 3 {
		now = now.Add(24 * time.Hour)
		name, err := d.BackupFile(cfg.Backups, 14)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, name)
	}
	closed(t, d)
	if err := errors.Join(os.WriteFile(cfg.Path, make([]byte, 1<<16), 0o600), os.WriteFile(made[2], nil, 0o600),
		os.WriteFile(filepath.Join(cfg.Backups, ".backup-half"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(cfg)
	if want := "hatchery restore " + made[1] + " --data " + dir; !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), filepath.Base(made[2])+" is damaged, too") {
		t.Fatalf("open: got %v, want ErrCorrupt offering %q", err, want)
	}
	if _, err := Restore(cfg, made[1]); err != nil {
		t.Fatal(err)
	}
	if got := get(t, open(t, cfg.Path)); got != "good" {
		t.Errorf("restored: got %q, want good", got)
	}
}

// TestASoundFileIsNeverRefused writes and deletes at random, values of many pages too, and reads every state of the file as a
// start does: what bbolt leaves behind must be taken for sound.
func TestASoundFileIsNeverRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hatchery.db")
	d := open(t, path)
	d.bolt.NoSync = true
	random := rand.New(rand.NewPCG(1, 2))
	buckets := []inventory.Bucket{"few", "many", "large"}
	for round := range 20 {
		if err := d.Update(func(tx *inventory.Tx) (err error) {
			for range random.IntN(200) {
				b := buckets[random.IntN(len(buckets))]
				key := fmt.Sprintf("%0*d", 1+random.IntN(200), random.IntN(map[inventory.Bucket]int{"few": 4, "many": 3000, "large": 60}[b]))
				if random.IntN(3) == 0 || round%10 == 9 {
					err = errors.Join(err, tx.Delete(b, key))
					continue
				}
				size := random.IntN(300)
				if b == "large" {
					size = random.IntN(50_000)
				}
				err = errors.Join(err, tx.Put(b, key, make([]byte, size)))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := d.bolt.View(func(tx *bbolt.Tx) error {
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			return check(tx, file)
		}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if err := boltsOwnCheck(d); err != nil {
		t.Errorf("bbolt's own check: %v", err)
	}
}

// TestEveryPageBelongsToOneThing takes a page out of the list of free ones, and puts the list itself in. Most lists in a
// file are old ones, on pages that are free: nobody reads them.
func TestEveryPageBelongsToOneThing(t *testing.T) {
	t.Parallel()
	raw, _ := worn(t, t.TempDir())
	path, page := filepath.Join(t.TempDir(), "hatchery.db"), os.Getpagesize()
	for what, change := range map[string]func(list []byte, id int){
		"belongs to nothing":    func(list []byte, _ int) { binary.NativeEndian.PutUint16(list[10:], headerOf(list).count-1) },
		"belongs to two things": func(list []byte, id int) { binary.NativeEndian.PutUint64(list[pageHeader:], uint64(id)) },
	} {
		found := 0
		for id := 2; id < len(raw)/page; id++ {
			if h := headerOf(raw[id*page:]); h.id != uint64(id) || h.flags != flagFreelist || h.count == 0 {
				continue
			}
			spoilt := bytes.Clone(raw)
			change(spoilt[id*page:], id)
			if err := os.WriteFile(path, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			switch err := CheckFile(path); {
			case err == nil:
			case errors.Is(err, ErrCorrupt) && strings.Contains(err.Error(), what):
				found++
			default:
				t.Errorf("the list of page %d: got %v, want that a page %s", id, err, what)
			}
		}
		if found != 1 {
			t.Errorf("that a page %s was found %d times, want once: in the list in use", what, found)
		}
	}
}
