package inventory

import (
	"errors"
	"time"
)

// ReleaseHold lets a host that the loop guard holds boot again: a person chose "try
// again" at the machine's screen or on the page. An unknown MAC is no error.
func ReleaseHold(tx *Tx, mac MAC, now time.Time) error {
	h, err := tx.HostByMAC(mac)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || h.Looping(now) == "" {
		return err
	}
	h.Fetches, h.DiskBoots, h.LastSeen = 0, 0, now
	_, err = tx.PutHost(h)
	return err
}
