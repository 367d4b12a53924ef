package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// How long and how many entries of a diary are kept; the oldest go first. Jobs are not history in this
// sense: who asked for which install, when, and what came of it is kept for ever.
const (
	DiaryKeep         = 500   // entries of one host
	DiaryKeepActivity = 10000 // entries of the appliance's own, which tells who did what

	DiaryAge         = 90 * 24 * time.Hour  // of a host's entries
	DiaryAgeActivity = 365 * 24 * time.Hour // of the appliance's own

	// DiaryFloor is how many of the newest entries stay however old they are: how a host came to be is read
	// years later, and a clock that was wrong for a while must not cost everything.
	DiaryFloor = 50
)

// Bounds of one call of [TrimDiaries].
const (
	trimDiaries = 100  // diaries that are looked at
	trimEntries = 2000 // deleted entries after which no further diary is begun
)

// TrimDiaries deletes what is over its age in some diaries, beginning after the cursor `after` ("" = the first),
// and what is left of hosts that are not known any more. The work of one call is bounded: go on with next
// until it is "". Nothing is published: nobody waits for a line to go.
func TrimDiaries(tx *Tx, after string, now time.Time) (next string, dropped int, err error) {
	for range trimDiaries {
		id, found, err := nextDiary(tx, after)
		if err != nil || !found {
			return "", dropped, err
		}
		n, err := trimByAge(tx, id, now)
		if err != nil {
			return after, dropped, err
		}
		after = string(id) + "/\xff" // sorts after all of its entries
		if dropped += n; dropped >= trimEntries {
			return after, dropped, nil
		}
	}
	return after, dropped, nil
}

// nextDiary is whose diary comes after the cursor.
func nextDiary(tx *Tx, after string) (id HostID, found bool, err error) {
	err = tx.Scan(BucketDiary, "", after, func(k string, _ []byte) (bool, error) {
		host, _, _ := strings.Cut(k, "/")
		id, found = HostID(host), true
		return false, nil
	})
	return id, found, err
}

// trimByAge deletes the entries of one diary that are over their age.
func trimByAge(tx *Tx, id HostID, now time.Time) (dropped int, err error) {
	over, floor := now.Add(-DiaryAge), DiaryFloor
	if id == "" {
		over = now.Add(-DiaryAgeActivity)
	} else if _, err := tx.Host(id); errors.Is(err, ErrNotFound) {
		floor = 0
	} else if err != nil {
		return 0, err
	}
	if old, err := tx.Diary(id, 0, 1); err != nil || len(old) == 0 || !old[0].Time.Before(over) {
		return 0, err // mostly: one entry was read
	}
	var drop []string
	n, past := 0, false
	err = tx.ScanBack(BucketDiary, string(id)+"/", "", func(k string, v []byte) (bool, error) {
		if n++; n <= floor {
			return true, nil
		}
		if !past {
			var e Entry
			if err := json.Unmarshal(v, &e); err != nil {
				return false, fmt.Errorf("diary %s: %w", k, err)
			}
			past = e.Time.Before(over)
		}
		if past {
			drop = append(drop, k)
		}
		return true, nil
	})
	for _, k := range drop {
		err = errors.Join(err, tx.Delete(BucketDiary, k))
	}
	return len(drop), err
}

// trimByNumber deletes the entries of one diary beyond those that are kept.
func trimByNumber(tx *Tx, id HostID) error {
	n, keep := 0, DiaryKeep
	if id == "" {
		keep = DiaryKeepActivity
	}
	var drop []string
	err := tx.ScanBack(BucketDiary, string(id)+"/", "", func(k string, _ []byte) (bool, error) {
		if n++; n > keep {
			drop = append(drop, k)
		}
		return true, nil
	})
	for _, k := range drop {
		err = errors.Join(err, tx.Delete(BucketDiary, k))
	}
	return err
}
