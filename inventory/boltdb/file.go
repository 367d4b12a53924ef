package boltdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
)

// mapSize is how much address space is mapped from the start: until the file is larger,
// no update waits for a running view (bbolt maps anew under a lock that views hold).
const mapSize = 256 << 20

func options(timeout time.Duration) *bbolt.Options {
	return &bbolt.Options{Timeout: timeout, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapSize}
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
	b, err := openChecked(cfg, false)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("data directory %s: %w: stop that one first, or give this one a directory of its own (--data)",
			filepath.Dir(cfg.Path), ErrInUse)
	case errors.Is(err, ErrCorrupt), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: %w (%s): it was left as it is; %s", cfg.Path, ErrCorrupt, strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": "), cfg.advice())
	}
	return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
}

// advice says how to go on after damage.
func (cfg Config) advice() string {
	names, _ := filepath.Glob(filepath.Join(cfg.Backups, "*")) // sorted; names begin with the date
	spoilt := ""
	for _, name := range slices.Backward(names) {
		if cfg.Backups == "" || strings.HasPrefix(filepath.Base(name), ".") {
			continue
		}
		if err := cfg.CheckBackup(name); err != nil {
			spoilt += " (" + filepath.Base(name) + " is damaged, too)"
			continue
		}
		return fmt.Sprintf("restore the newest good backup with: hatchery restore %s --data %s%s", name, filepath.Dir(cfg.Path), spoilt)
	}
	return "there is no backup" + spoilt + ": keep the file, move it away, and start with an empty one"
}

// CheckFile reads a database that is not in use from end to end, and changes nothing in it. ErrCorrupt.
func CheckFile(path string) error {
	b, err := openChecked(Config{Path: path, LockTimeout: time.Second}, true)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return b.Close()
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
	return durable.SyncDir(dir)
}

// openChecked opens the file and reads it from end to end. A damaged file makes bbolt
// panic or fault in the memory map; both become ErrCorrupt.
func openChecked(cfg Config, readOnly bool) (b *bbolt.DB, err error) {
	var file *os.File
	opt := options(cfg.LockTimeout)
	opt.ReadOnly = readOnly
	opt.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		if err != nil {
			return nil, err
		}
		file = f
		if info, err := f.Stat(); err != nil || info.Size() < int64(2*os.Getpagesize()) { // of an empty one bbolt would make a new database
			return nil, errors.Join(err, fmt.Errorf("%w: it is cut off at its beginning", ErrCorrupt), f.Close())
		}
		return f, nil
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
	buckets, err := checkPages(tx, file)
	if err != nil {
		return err
	}
	version, err := versionOf(tx)
	if err != nil || version < sumsSince {
		return err
	}
	return checkSums(tx, buckets)
}

// versionOf is the version of the data, 0 of a file that nothing was written to yet. ErrCorrupt.
func versionOf(tx *bbolt.Tx) (int, error) {
	if k, _ := tx.Cursor().First(); k == nil {
		return 0, nil
	}
	var s schema
	if found, err := inventory.NewTx(&rawTx{tx: tx}).GetJSON(inventory.BucketMeta, schemaKey, &s); err != nil || !found || s.Version < 1 {
		return 0, errors.Join(fmt.Errorf("%w: it does not say what version it has", ErrCorrupt), err)
	}
	return s.Version, nil
}

// schema is the record that says how the data is laid out.
type schema struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since"`
}

const schemaKey = "schema"

// sumsSince is the version from which on every bucket has a sum.
const sumsSince = 2

// migration changes the data from one version to the next, inside the transaction that also writes the version.
type migration func(*rawTx) error

// migrations lists all of them: the one at index i leads from version i+1 to i+2.
// Each has a test with a stored file of the old version.
func migrations() []migration { return []migration{sumAndIndex, reindex, reindex} }

// reindex adds the hosts' ranks, which version 2 had not, and the hosts by role and jobs by host, which version 3 had not.
func reindex(r *rawTx) error { return inventory.NewTx(r).Reindex() }

// sumAndIndex adds the sums, and makes the index anew: version 1 found a serial number only in the letters it was
// written in, and took some fillers for one machine's own. A program of version 1 would not look for leases in the
// journal either, and so give their addresses away.
func sumAndIndex(r *rawTx) error {
	err := r.tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		s, err := countUp(string(name), b)
		if r.sums == nil {
			r.sums = map[inventory.Bucket]*sum{}
		}
		r.sums[inventory.Bucket(name)] = &s
		return err
	})
	if err != nil {
		return err
	}
	return reindex(r)
}

// migrate brings the data to the version that the migrations lead to; data that is there already is not
// written to: the disk may be full. ErrNewer.
func migrate(b *bbolt.DB, cfg Config, steps []migration) error {
	current := len(steps) + 1
	version := 0
	if err := b.View(func(btx *bbolt.Tx) (err error) {
		version, err = versionOf(btx)
		return err
	}); err != nil || version == current {
		return err
	}
	err := b.Update(func(btx *bbolt.Tx) error {
		raw := &rawTx{tx: btx}
		if err := step(raw, version, cfg, steps); err != nil {
			return err
		}
		return raw.finish()
	})
	if err != nil && !errors.Is(err, ErrNewer) {
		return fmt.Errorf("write %s: %w", cfg.Path, err)
	}
	return err
}

// step carries out the migrations that data of a version needs; 0 = there is none yet. ErrNewer.
func step(raw *rawTx, version int, cfg Config, steps []migration) error {
	current := len(steps) + 1
	if version > current {
		return fmt.Errorf("%s has version %d, this program knows up to %d: %w: start that one again, or restore a backup made before the update",
			cfg.Path, version, current, ErrNewer)
	}
	if version > 0 {
		for v := version; v < current; v++ {
			if err := steps[v-1](raw); err != nil {
				return fmt.Errorf("bring %s from version %d to %d: %w", cfg.Path, v, v+1, err)
			}
		}
		cfg.Log.Info("database brought up to date", "step", fmt.Sprintf("version %d", current))
	}
	return inventory.NewTx(raw).PutJSON(inventory.BucketMeta, schemaKey, schema{Version: current, Since: cfg.Now().UTC()})
}
