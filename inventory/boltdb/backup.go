package boltdb

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
)

// backupName is the name of a backup file; it sorts by time.
const backupName = "hatchery-20060102T150405Z.db"

// Backup writes a consistent copy of the whole database, as of now, while it is in use. It goes
// through a file beside the database first: w may be slow, and a long read would let the database grow.
func (d *DB) Backup(w io.Writer) error {
	f, err := os.CreateTemp(filepath.Dir(d.cfg.Path), ".backup-*")
	if err != nil {
		return d.explain("backup of", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := d.copyTo(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return d.explain("backup of", err)
	}
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("backup of %s: %w", d.cfg.Path, err)
	}
	return nil
}

func (d *DB) copyTo(w io.Writer) error {
	d.leases.mu.Lock()
	err := d.foldAll() // the copy has no journal
	d.leases.mu.Unlock()
	if err != nil {
		return d.explain("backup of", err)
	}
	err = d.bolt.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return d.explain("backup of", err)
	}
	return nil
}

// BackupFile writes a backup into a directory (made when absent, 0700), reads it back from end to
// end, and then deletes the oldest beyond keep. It returns the new file's path. A crash leaves no half backup.
func (d *DB) BackupFile(dir string, keep int) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", d.explain("backup of", err)
	}
	path := filepath.Join(dir, d.cfg.Now().UTC().Format(backupName))
	if err := d.backupTo(dir, path); err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(dir, "hatchery-*.db"))
	if err != nil {
		return path, fmt.Errorf("old backups in %s: %w", dir, err)
	}
	slices.Sort(names)
	// The one just made stays, also when the clock was set back and its name is that of the oldest.
	names = slices.DeleteFunc(names, func(name string) bool { return name == path })
	for len(names) > max(keep, 1)-1 {
		if err := os.Remove(names[0]); err != nil {
			return path, fmt.Errorf("delete an old backup: %w", err)
		}
		names = names[1:]
	}
	return path, nil
}

func (d *DB) backupTo(dir, path string) error {
	f, err := os.CreateTemp(dir, ".backup-*")
	if err != nil {
		return d.explain("backup of", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // renamed when all went well
	if err := d.copyTo(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return d.explain("backup of", err)
	}
	if err := CheckFile(f.Name()); err != nil {
		return fmt.Errorf("backup of %s cannot be read back: %w", d.cfg.Path, err)
	}
	if err := errors.Join(os.Rename(f.Name(), path), durable.SyncDir(dir)); err != nil {
		return d.explain("backup of", err)
	}
	return nil
}

// Restore puts a backup in the place of the database, which nobody may have open (ErrInUse). The
// backup is checked and brought up to date first, and its open jobs end as failed. What was there
// is kept beside it, under the name that is returned ("" = there was nothing). ErrCorrupt, ErrNewer.
func Restore(cfg Config, from string) (kept string, err error) {
	cfg = cfg.withDefaults()
	unlock, err := lockFile(cfg.Path)
	if err != nil {
		return "", err
	}
	defer unlock()
	tmp, err := prepare(cfg, from)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(tmp) }() // renamed when all went well
	before := "-before-" + cfg.Now().UTC().Format("20060102T150405Z")
	if _, err := os.Lstat(cfg.Path); err == nil {
		kept = cfg.Path + before
		if err := os.Link(cfg.Path, kept); err != nil {
			return "", fmt.Errorf("keep the present database: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("restore %s: %w", cfg.Path, err)
	}
	if err := os.Rename(tmp, cfg.Path); err != nil {
		return kept, fmt.Errorf("restore %s: %w", cfg.Path, err)
	}
	// Leases that are in the old journal only; after a crash before this they are found as if they came later.
	aside := JournalNames(cfg.Path + before)
	for i, name := range JournalNames(cfg.Path) {
		if err := os.Rename(name, aside[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, fmt.Errorf("restore %s: %w", cfg.Path, err)
		}
	}
	if err := durable.SyncDir(filepath.Dir(cfg.Path)); err != nil {
		return kept, fmt.Errorf("restore %s: %w", cfg.Path, err)
	}
	return kept, nil
}

// prepare makes the database that a backup becomes, beside the one it will replace.
func prepare(cfg Config, from string) (path string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", fmt.Errorf("restore from %s: %w", from, err)
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return "", fmt.Errorf("restore from %s: %w", from, err)
	}
	f, err := os.CreateTemp(filepath.Dir(cfg.Path), ".restore-*")
	if err != nil {
		return "", fmt.Errorf("restore from %s: %w", from, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("restore from %s: %w", from, err)
	}
	cfg.Path = f.Name()
	d, err := Open(cfg)
	if err != nil {
		return "", fmt.Errorf("restore from %s: %w", from, err)
	}
	err = d.Update(func(tx *inventory.Tx) error { return inventory.Restored(tx, info.ModTime(), cfg.Now()) })
	return f.Name(), errors.Join(err, d.Close())
}

// lockFile takes the lock that an open database holds on its file, if there is a file.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w: stop it first", filepath.Dir(path), ErrInUse), f.Close())
	}
	// Unlocked by name: a program being started elsewhere holds a copy of the file until its exec.
	return func() { _ = errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close()) }, nil
}
