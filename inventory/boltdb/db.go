package boltdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/staged-hive/hatchery/inventory"
)

// Errors that callers branch on.
var (
	// ErrInUse says that another process has the data directory.
	ErrInUse = errors.New("another hatchery is running there")
	// ErrNewer says that the data was written by a newer hatchery than this one.
	ErrNewer = errors.New("written by a newer hatchery")
	// ErrCorrupt says that the file is damaged; nothing was changed in it.
	ErrCorrupt = errors.New("database is damaged")
	// ErrClosed says that the database was closed.
	ErrClosed = errors.New("database is closed")
	// ErrDisk says that the disk failed under a commit: what it holds is not certain any more, and nothing
	// more is saved before the database was opened again.
	ErrDisk = errors.New("the disk failed under the database")
)

// Config says which file, and whom to tell.
type Config struct {
	Path string // of the file, made with mode 0600 when absent; its directory must exist
	// Backups is a directory of backup files; when the database is damaged the error names the newest good one. "" = none.
	Backups string
	// CheckBackup reports what is wrong with one of them; nil means CheckFile.
	CheckBackup func(path string) error
	// Reserve is how many bytes are kept aside on the disk for boots and leases when it is full otherwise (at most a
	// sixteenth of it); 0 means none, and new work is begun as long as it can be written.
	Reserve int64
	// LockTimeout is how long Open waits for another process to let go of the file; 0 means 2 s.
	LockTimeout time.Duration
	Log         *slog.Logger     // nil means slog.DiscardHandler
	Now         func() time.Time // nil means time.Now
	// Committed is told after every commit that reached the disk how long it took, waiting for its turn left out: of
	// leases, or of everything else. It must not wait. nil means nobody is told.
	Committed func(leases bool, took time.Duration)

	journalSize int64 // of each file of the journal of leases, in bytes; 0 means 2 MiB
}

func (cfg Config) withDefaults() Config {
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Committed == nil {
		cfg.Committed = func(bool, time.Duration) {}
	}
	if cfg.CheckBackup == nil {
		cfg.CheckBackup = CheckFile
	}
	if cfg.journalSize == 0 {
		cfg.journalSize = journalSize
	}
	return cfg
}

// DB is the open database. Safe for concurrent use; Close it.
type DB struct {
	cfg  Config
	bolt *bbolt.DB

	write  sync.Mutex            // one update at a time; held until its changes are published, so that they come in order
	broken atomic.Pointer[error] // ErrDisk, once a commit's sync failed
	feed   inventory.Feed
	spare  *reserve
	leases leaseLog

	reserved atomic.Uint64 // ReservationsVersion

	closing atomic.Bool
	stop    context.CancelFunc // ends the trimmer
	trimmed chan struct{}      // closed when the trimmer has ended
}

var _ inventory.Store = (*DB)(nil)

// Open opens or makes the database, checks it and brings it up to date.
// ErrInUse, ErrNewer, ErrCorrupt.
func Open(cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	b, err := openFile(cfg)
	if err != nil {
		return nil, err
	}
	if err := migrate(b, cfg, migrations()); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &DB{cfg: cfg, bolt: b, stop: stop, trimmed: make(chan struct{}), spare: newReserve(cfg)}
	if err := d.Room(); err != nil {
		cfg.Log.Error("no new work can begin", "err", err)
	}
	if err := d.openLeases(); err != nil {
		stop()
		return nil, errors.Join(err, b.Close())
	}
	go d.trimDaily(ctx)
	return d, nil
}

// Close waits for running transactions and lease commits, ends all watches and lets go of the files.
func (d *DB) Close() error {
	if !d.closing.CompareAndSwap(false, true) {
		return nil
	}
	d.stop()
	<-d.trimmed
	lerr := d.closeLeases()
	d.write.Lock()
	defer d.write.Unlock()
	d.feed.Close()
	if err := errors.Join(lerr, d.bolt.Close()); err != nil {
		return fmt.Errorf("close %s: %w", d.cfg.Path, err)
	}
	return nil
}

// View implements inventory.Store. Long views cost disk space: what updates free meanwhile is not used again.
func (d *DB) View(fn func(*inventory.Tx) error) error {
	btx, err := d.bolt.Begin(false)
	if err != nil {
		return d.explain("read", err)
	}
	raw := &rawTx{tx: btx, spare: d.spare}
	defer func() {
		raw.ended = true
		_ = btx.Rollback() // of a read transaction: fails only when ended already
	}()
	return fn(inventory.NewTx(raw))
}

// Update implements inventory.Store. After a failed sync every further one fails with ErrDisk: views and
// boots go on, and whether the one that failed is there after a restart only the disk knows.
func (d *DB) Update(fn func(*inventory.Tx) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	if err := d.broken.Load(); err != nil {
		return *err
	}
	btx, err := d.bolt.Begin(true)
	if err != nil {
		return d.explain("write", err)
	}
	raw := &rawTx{tx: btx, spare: d.spare}
	defer func() {
		raw.ended = true
		_ = btx.Rollback() // after a commit it fails with ErrTxClosed and does nothing
	}()
	tx := inventory.NewTx(raw)
	if err := fn(tx); err != nil {
		return err
	}
	raw.ended = true
	if raw.wrote == 0 {
		return nil
	}
	if err := raw.finish(); err != nil {
		return err
	}
	began := time.Now()
	err = btx.Commit()
	if raw.sums[bucketReservations] != nil {
		d.reserved.Add(1)
	}
	if err != nil {
		return d.commitFailed(err)
	}
	d.cfg.Committed(false, time.Since(began))
	d.feed.Publish(tx.Changes())
	return nil
}

// commitFailed is the error of a commit that failed; when the disk did it, it is the error of all later ones too.
// Linux forgets what it could not write once it told so: the next sync says that all is well, with a hole
// below it (fsync(2), "Error reporting"; bbolt's map shows the lost pages as written, too).
func (d *DB) commitFailed(err error) error {
	if !diskFailed(err) {
		return d.explain("commit", err)
	}
	err = fmt.Errorf("commit %s: %w, nothing more is saved: check the disk (dmesg names it), then restart hatchery: %w", d.cfg.Path, ErrDisk, err)
	d.broken.Store(&err)
	d.cfg.Log.Error("database not writable any more", "err", err)
	return err
}

// diskFailed reports whether a commit's error leaves the file uncertain. A full disk does not: it is met
// while pages are written that nothing refers to yet.
func diskFailed(err error) bool {
	var write *fs.PathError
	var sync syscall.Errno
	switch {
	case errors.As(err, &write):
		return !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT)
	case errors.As(err, &sync): // bbolt calls fdatasync itself
		return true
	}
	return strings.HasPrefix(err.Error(), "file sync error") // bbolt's words when the file grows
}

// explain turns bbolt's and the system's errors into sentences a person can act on.
func (d *DB) explain(act string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return fmt.Errorf("%s %s: %w", act, d.cfg.Path, ErrClosed)
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: nothing was saved, the disk is full: free some space in %s: %w",
			act, d.cfg.Path, filepath.Dir(d.cfg.Path), err)
	}
	return fmt.Errorf("%s %s: %w", act, d.cfg.Path, err)
}

// Room is the error that says why nothing new may begin, as every transaction tells it; nil = it may.
func (d *DB) Room() error { return d.View((*inventory.Tx).Room) }

// Size is how many bytes the database's file is long, and how many of them hold nothing at present.
func (d *DB) Size() (length, free int64) {
	err := d.bolt.View(func(tx *bbolt.Tx) error {
		length = tx.Size()
		return nil
	})
	if err != nil {
		return 0, 0
	}
	s := d.bolt.Stats()
	return length, int64(s.FreePageN+s.PendingPageN) * int64(d.bolt.Info().PageSize)
}

// Health is why nothing (ErrDisk) or nothing new (ENOSPC) can be saved; nil = all can. It waits for no transaction.
func (d *DB) Health() error {
	if err := d.broken.Load(); err != nil {
		return *err
	}
	return d.Room()
}

// Watch implements inventory.Store.
func (d *DB) Watch(ctx context.Context) <-chan inventory.Change { return d.feed.Watch(ctx) }
