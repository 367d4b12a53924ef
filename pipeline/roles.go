package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// followHive keeps the roles in the store fresh: read at the start, when the hive has a new commit, and
// when [Runner.RefreshRoles] asks. One that cannot be read is tried again, ever more rarely.
func (r *Runner) followHive(ctx context.Context) {
	last, told := "", ""
	wait := time.Duration(0) // until a hive that could not be read is read again without a new commit
	var failed time.Time     // when it could not be
	for {
		head, err := r.cfg.Hive.Head(ctx)
		if ctx.Err() != nil {
			return
		}
		if head != last || !failed.IsZero() && time.Since(failed) >= wait {
			last = head
			if err = r.RefreshRoles(ctx); err == nil {
				failed, wait, told = time.Time{}, 0, ""
				r.report("hive", r.countBehind(ctx))
			} else {
				failed, wait = time.Now(), min(max(2*wait, 2*r.cfg.RolesEvery), 20*r.cfg.RolesEvery)
			}
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			r.cfg.Log.Warn("hive not readable", "err", err)
		}
		if pause(ctx, r.cfg.RolesEvery) != nil {
			return
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
			now.Error, now.Trace = cause, hiveTrace(readErr)
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

// HiveTrouble tells people of an error of the hive: the cause and what to do, and the end of what the program said, "" when
// it said nothing.
func HiveTrouble(err error) (cause, trace string) {
	cause, next := hiveCause(err)
	return strings.TrimSpace(cause + " " + next), hiveTrace(err)
}

// hiveTrace is the end of what the program said that could not read the hive, "" when it said nothing.
func hiveTrace(err error) string {
	var f *hive.Failure
	if !errors.As(err, &f) {
		return ""
	}
	out := strings.TrimSpace(f.Output)
	if over := len(out) - inventory.MaxTrace; over > 0 {
		_, out, _ = strings.Cut(out[over:], "\n") // whole lines
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(out, ""))
}

// hiveCause is the cause of a failure of the hive as one sentence, and what to do next ("" = not known).
func hiveCause(err error) (cause, hint string) {
	var f *hive.Failure
	if errors.As(err, &f) {
		return sentence(f.What + ": " + f.Cause), sentence(f.Next)
	}
	return sentence(err.Error()), ""
}
