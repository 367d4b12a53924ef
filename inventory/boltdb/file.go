package boltdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/staged-hive/hatchery/inventory"
)

// mapSize is how much address space is mapped from the start: until the file is larger,
// no update waits for a running view (bbolt maps anew under a lock that views hold).
const mapSize = 256 << 20

func options(timeout time.Duration) *bbolt.Options {
	return &bbolt.Options{Timeout: timeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapSize, NoStatistics: true}
}

// openFile locks, opens and checks the file, making it first when there is none.
func openFile(cfg Config) (*bbolt.DB, error) {
	if _, err := os.Lstat(cfg.Path); errors.Is(err, fs.ErrNotExist) {
		if err := create(cfg.Path); err != nil {
			return nil, fmt.Errorf("make database %s: %w", cfg.Path, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
	}
	b, err := openChecked(cfg)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("data directory %s: %w: stop that one first, or give this one a directory of its own (--data)",
			filepath.Dir(cfg.Path), ErrInUse)
	case errors.Is(err, ErrCorrupt), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w (%v): it was left as it is; %s", cfg.Path, ErrCorrupt, err, advice(cfg.Backups))
	}
	return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
}

// advice says how to go on after damage.
func advice(backups string) string {
	names, _ := filepath.Glob(filepath.Join(backups, "*")) // sorted; names begin with the date
	if backups == "" || len(names) == 0 {
		return "there is no backup: keep the file, move it away, and start with an empty one"
	}
	return "restore the newest backup with: hatchery restore " + names[len(names)-1]
}

// create makes an empty database so that a power cut leaves all of it or nothing, and so
// that of two processes doing it at once the second one uses the first one's.
func create(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	tmp := f.Name()
	defer func() { _ = os.Remove(tmp) }()
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return err
	}
	b, err := bbolt.Open(tmp, 0o600, options(time.Second))
	if err != nil {
		return err
	}
	if err := errors.Join(b.Sync(), b.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the directory's entries durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openChecked opens the file and reads it from end to end. A damaged file makes bbolt
// panic or fault in the memory map; both become ErrCorrupt.
func openChecked(cfg Config) (b *bbolt.DB, err error) {
	var file *os.File
	opt := options(cfg.LockTimeout)
	opt.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			// bbolt's map of the file stays, and would hold its lock past the close.
			unlock := syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			b, err = nil, errors.Join(fmt.Errorf("%w: %v", ErrCorrupt, r), unlock, file.Close())
		}
	}()
	// bbolt maps the file's pages before it looks how long it is, and writes only on a commit.
	if b, err = bbolt.Open(cfg.Path, 0o600, opt); err != nil {
		return nil, err
	}
	if err := b.View(func(tx *bbolt.Tx) error { return check(tx, file) }); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// check reads every page and every record the appliance cannot work without.
func check(tx *bbolt.Tx, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: %d bytes are there of %d", ErrCorrupt, info.Size(), tx.Size())
	}
	err = tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		vital := vitalBucket(string(name))
		return b.ForEach(func(k, v []byte) error {
			if vital && !json.Valid(v) {
				return fmt.Errorf("%w: record %s/%.64q cannot be read", ErrCorrupt, name, k)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	var first error
	for err := range tx.Check() { // to its end, or its goroutine stays
		if first == nil {
			first = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return first
}

// vitalBucket reports whether all values of a bucket are JSON that must be readable.
func vitalBucket(name string) bool {
	switch inventory.Bucket(name) {
	case inventory.BucketHosts, inventory.BucketJobs, inventory.BucketMeta, bucketLeases, bucketReservations:
		return true
	}
	return false
}

// schema is the record that says how the data is laid out.
type schema struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since"`
}

const schemaKey = "schema"

// migration changes the data from one version to the next, inside the transaction that also writes the version.
type migration func(*inventory.Tx) error

// migrations lists all of them: the one at index i leads from version i+1 to i+2.
// Each has a test with a stored file of the old version.
func migrations() []migration { return nil }

// migrate brings the data to the version that the migrations lead to; data that is there already is not
// written to: the disk may be full. ErrNewer.
func migrate(b *bbolt.DB, cfg Config, steps []migration) error {
	current := len(steps) + 1
	known := false
	if err := b.View(func(btx *bbolt.Tx) error {
		var s schema
		_, err := inventory.NewTx(&rawTx{tx: btx}).GetJSON(inventory.BucketMeta, schemaKey, &s)
		known = s.Version == current
		return err
	}); err != nil || known {
		return err
	}
	err := b.Update(func(btx *bbolt.Tx) error { return step(inventory.NewTx(&rawTx{tx: btx}), cfg, steps) })
	if err != nil && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("write %s: %w", cfg.Path, err)
	}
	return err
}

// step carries out the migrations that the data needs.
func step(tx *inventory.Tx, cfg Config, steps []migration) error {
	current := len(steps) + 1
	var s schema
	found, err := tx.GetJSON(inventory.BucketMeta, schemaKey, &s)
	switch {
	case err != nil:
		return err
	case !found:
		s.Version = current // an empty file
	case s.Version > current:
		return fmt.Errorf("%s has version %d, this program knows up to %d: %w: start that one again, or restore a backup made before the update",
			cfg.Path, s.Version, current, ErrNewer)
	case s.Version < 1:
		return fmt.Errorf("%s has version %d: %w", cfg.Path, s.Version, ErrCorrupt)
	}
	for ; s.Version < current; s.Version++ {
		if err := steps[s.Version-1](tx); err != nil {
			return fmt.Errorf("bring %s from version %d to %d: %w", cfg.Path, s.Version, s.Version+1, err)
		}
	}
	if found {
		cfg.Log.Info("database brought up to date", "step", fmt.Sprintf("version %d", s.Version))
	}
	s.Since = cfg.Now().UTC()
	return tx.PutJSON(inventory.BucketMeta, schemaKey, s)
}
