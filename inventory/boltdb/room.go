package boltdb

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// reserveAgain is how long after one try to take space for the reserve the next one is made.
const reserveAgain = 5 * time.Second

// keepSize is fallocate(2)'s FALLOC_FL_KEEP_SIZE: space behind the file's end, which stays where it is.
const keepSize = 1

// reserve is space on the disk that is the database's before it needs it, so that nothing else can fill it: while a
// disk is full, leases, boots and the end of running jobs are still written, into that. New work waits meanwhile.
type reserve struct {
	path string
	size int64 // 0 = there is none
	log  *slog.Logger
	now  func() time.Time

	mu    sync.Mutex
	upTo  int64 // the file has space up to here
	tried time.Time
	full  bool // as was logged last
}

func newReserve(cfg Config) *reserve {
	r := &reserve{path: cfg.Path, size: cfg.Reserve, log: cfg.Log, now: cfg.Now}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(cfg.Path), &fs); err == nil { // of a small disk a part
		r.size = min(r.size, int64(fs.Blocks)*fs.Bsize/16)
	}
	return r
}

// room reports whether new work may begin: there is space beside the reserve, of which at least half is unused; used
// is how long the database is. The error wraps ENOSPC.
func (r *reserve) room(used int64) error {
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
	low := func() bool { return r.upTo < used+r.size/2 }
	if now := r.now(); low() && now.Sub(r.tried) >= reserveAgain {
		r.tried = now
		if err := r.take(used + r.size); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
			r.log.Warn("no space can be kept for the database", "err", err)
		}
	}
	full := low() || free < r.size/4
	if full && !r.full {
		r.log.Error("the disk is full: boots and leases go on in the space that is kept for them, nothing new is begun; free some space", "step", filepath.Dir(r.path))
	}
	if r.full = full; full {
		return fmt.Errorf("the disk of %s is full: boots and leases go on, nothing new is begun: free some space there: %w", filepath.Dir(r.path), syscall.ENOSPC)
	}
	return nil
}

// take makes space for the file's first bytes its own.
func (r *reserve) take(upTo int64) error {
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = syscall.Fallocate(int(f.Fd()), keepSize, 0, upTo)
	switch {
	case errors.Is(err, syscall.EOPNOTSUPP): // this file system keeps nothing for anybody
		err, upTo = nil, math.MaxInt64
	case err != nil:
		upTo = r.upTo
	}
	r.upTo = upTo
	return errors.Join(err, f.Close())
}
