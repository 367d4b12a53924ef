package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// followHive keeps the roles in the store fresh: read at the start, when the hive has a new commit,
// and when [Runner.RefreshRoles] asks.
func (r *Runner) followHive(ctx context.Context) {
	tick := time.NewTicker(r.cfg.RolesEvery)
	defer tick.Stop()
	last := ""
	for {
		head, err := r.cfg.Hive.Head(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil || head != last {
			if err = r.RefreshRoles(ctx); err == nil {
				last = head
			} else if ctx.Err() == nil {
				r.cfg.Log.Warn("hive not readable", "err", err)
				last = head // told once; a new commit is read again
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// RefreshRoles reads the roles from the hive and stores them. A hive that cannot be read keeps the
// last good roles, with the error beside them.
func (r *Runner) RefreshRoles(ctx context.Context) error {
	r.hiveMu.Lock()
	defer r.hiveMu.Unlock()
	read, readErr := r.cfg.Hive.Roles(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	changed := false
	err := r.cfg.Store.Update(func(tx *inventory.Tx) error {
		old, err := tx.Hive()
		if err != nil {
			return err
		}
		now := read
		if readErr != nil {
			now = old
			cause, _ := hiveCause(readErr)
			now.Error = cause
		}
		if changed = now.Error != old.Error || now.Revision != old.Revision; changed && now.Error != "" && now.Error != old.Error {
			if err := tx.Note(inventory.Entry{Time: r.cfg.Now(), Kind: "state", By: "hive", Level: "error",
				Text: "The hive's newest roles cannot be used, the last good ones stay: " + now.Error}); err != nil {
				return err
			}
		}
		return tx.PutHive(now)
	})
	if err != nil {
		return fmt.Errorf("store the roles: %w", err)
	}
	if changed {
		r.report("rules", r.allRules())
		r.nudge(r.wake)
	}
	return readErr
}

// hiveCause is the cause of a failure of the hive as one sentence, and what to do next ("" = not known).
func hiveCause(err error) (cause, hint string) {
	var f *hive.Failure
	if errors.As(err, &f) {
		return sentence(f.What + ": " + f.Cause), sentence(f.Next)
	}
	return sentence(err.Error()), ""
}
