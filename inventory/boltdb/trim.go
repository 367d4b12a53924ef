package boltdb

import (
	"context"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/inventory"
)

// When diaries are trimmed by age. By number they are trimmed as they grow.
const (
	trimFirst = 10 * time.Minute // after the start, when everything netboots at once perhaps
	trimEvery = 24 * time.Hour
	trimPause = 100 * time.Millisecond // between two steps, so that packets and pages come in between
	// startRead is when what has to be read of a large site at the start was read.
	startRead = 5 * time.Second
)

// trimDaily trims all diaries by age, once a day until ctx ends.
func (d *DB) trimDaily(ctx context.Context) {
	defer close(d.trimmed)
	if pause(ctx, startRead) {
		d.giveBack()
	}
	for wait := trimFirst; pause(ctx, wait); wait = trimEvery {
		if dropped, err := d.trimAll(ctx); err != nil {
			d.cfg.Log.Warn("diaries not trimmed by age", "err", err)
		} else if dropped > 0 {
			d.cfg.Log.Info("diaries trimmed by age", "entries", dropped)
		}
		d.giveBack()
	}
}

// giveBack takes the pages of the file that were read through the memory map out of the process: they stay in the kernel's
// cache, from where the ones that are needed again come in a microsecond. Otherwise all of the file would count as ours.
func (d *DB) giveBack() {
	err := d.bolt.View(func(tx *bbolt.Tx) error { // bbolt maps the file anew only when no transaction runs
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, d.bolt.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED); e != 0 {
			return e
		}
		return nil
	})
	if err != nil && !d.closing.Load() {
		d.cfg.Log.Warn("pages of the database that are not needed stay in memory", "err", err)
	}
}

// trimAll goes once over all diaries, in steps of bounded work.
func (d *DB) trimAll(ctx context.Context) (dropped int, err error) {
	for after := ""; ; {
		n := 0
		err := d.Update(func(tx *inventory.Tx) (err error) {
			after, n, err = inventory.TrimDiaries(tx, after, d.cfg.Now())
			return err
		})
		if err != nil {
			return dropped, err
		}
		if dropped += n; after == "" || !pause(ctx, trimPause) {
			return dropped, nil
		}
	}
}

// pause waits; it reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
