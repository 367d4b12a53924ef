package inventory

import (
	"errors"
	"time"
)

// MaxStrangers bounds how many hosts that never checked in and nobody named are kept;
// beyond it the one heard longest ago is forgotten for a new one.
const MaxStrangers = 1000

const (
	bucketStrangers Bucket = "strangers" // host id → nothing: hosts only heard, never checked in
	bucketGraves    Bucket = "graves"    // "mac/…", "uuid/…", "serial/…" → Grave: forgotten hosts that were installed
)

// grave is what stays of a forgotten host that was ever installed: enough to never install over it by itself.
type grave struct {
	Name         string    `json:"name,omitempty"`
	InstalledKey string    `json:"installed_key,omitempty"`
	At           time.Time `json:"at"`
}

// makeRoom forgets the stranger heard longest ago when there are MaxStrangers.
func makeRoom(tx *Tx) error {
	n, oldest, at := 0, "", ""
	if err := tx.Scan(bucketStrangers, "", "", func(k string, v []byte) (bool, error) {
		if n++; oldest == "" || string(v) < at {
			oldest, at = k, string(v)
		}
		return true, nil
	}); err != nil || n < MaxStrangers {
		return err
	}
	if err := tx.Delete(bucketStrangers, oldest); err != nil {
		return err
	}
	if err := tx.DeleteHost(HostID(oldest)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

