package boltdb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// reserveName is the file beside the database that keeps space for it.
const reserveName = ".space-for-the-database"

// reserveAgain is how long after one try to take the reserve back the next one is made.
const reserveAgain = 5 * time.Second

// reserve is space on the database's disk that nothing else fills: while a disk is full, leases, boots and the
// end of running jobs are still written, into what it lets go of. New work waits until it could be taken back.
type reserve struct {
	path string
	size int64 // 0 = there is none
	log  *slog.Logger
	now  func() time.Time

	mu    sync.Mutex
	held  bool
	tried time.Time
}

func newReserve(cfg Config) *reserve {
	r := &reserve{path: filepath.Join(filepath.Dir(cfg.Path), reserveName), size: cfg.Reserve, log: cfg.Log, now: cfg.Now}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(cfg.Path), &fs); err == nil { // of a small disk a part
		r.size = min(r.size, int64(fs.Blocks)*fs.Bsize/16)
	}
	return r
}

// room reports whether new work may begin: the reserve is there, and beside it some space. The error wraps ENOSPC.
func (r *reserve) room() error {
	if r.size == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(r.path), &fs); err != nil {
		return nil // not known: what is written tells
	}
	free := int64(fs.Bavail) * fs.Bsize
	if !r.held && r.now().Sub(r.tried) >= reserveAgain && free >= r.size+r.size/4 {
		r.tried = r.now()
		if err := r.take(); err != nil {
			r.log.Warn("space for the database cannot be kept aside", "err", err)
		} else {
			free -= r.size
		}
	}
	if r.held && free >= r.size/4 {
		return nil
	}
	return fmt.Errorf("the disk of %s is full: boots and leases go on, nothing new is begun: free some space there: %w", filepath.Dir(r.path), syscall.ENOSPC)
}

// take fills the reserve.
func (r *reserve) take() error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, r.size)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, r.size))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(r.path))
	}
	r.held = true
	return nil
}

// spend lets go of the reserve; it reports whether there was one.
func (r *reserve) spend() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.held
	r.held, r.tried = false, r.now()
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Error("space kept for the database cannot be let go", "err", err)
		return false
	}
	if held {
		r.log.Error("the disk is full: boots and leases go on in the space that was kept for them, nothing new is begun; free some space", "step", filepath.Dir(r.path))
	}
	return held
}
