package inventory

import (
	"errors"
	"time"
)

// Bounds of what machines nobody named or gave a role may fill; beyond them the one heard longest ago
// is forgotten for a new one. It re-appears when it netboots.
const (
	MaxStrangers = 1000 // hosts that never checked in
	MaxNewcomers = 5000 // hosts that did
)

const (
	bucketStrangers Bucket = "strangers" // host id → when last heard
	bucketNewcomers Bucket = "newcomers" // host id → when last heard
)

// heardFormat sorts as text.
const heardFormat = "2006-01-02T15:04:05.000000000Z"

// nobodys reports whether nobody and no rule has ever cared about the host.
func (h *Host) nobodys() bool {
	return h.Name == "" && h.Role == "" && h.JobID == "" && !h.EverFlipped && h.State != StateIgnored && h.State != StateExpected
}

// trackStranger keeps the record of a host that somebody may have to make room for. Call it before
// the host is stored.
func trackStranger(tx *Tx, h *Host, now time.Time) error {
	if !h.nobodys() {
		return errors.Join(tx.Delete(bucketStrangers, string(h.ID)), tx.Delete(bucketNewcomers, string(h.ID)))
	}
	b, limit := bucketStrangers, MaxStrangers
	if h.Facts != nil {
		b, limit = bucketNewcomers, MaxNewcomers
		if err := tx.Delete(bucketStrangers, string(h.ID)); err != nil {
			return err
		}
	}
	known, err := tx.Get(b, string(h.ID))
	if err != nil {
		return err
	}
	if known == nil {
		if err := makeRoom(tx, b, limit); err != nil {
			return err
		}
	}
	return tx.Put(b, string(h.ID), []byte(now.UTC().Format(heardFormat)))
}

// makeRoom forgets the host heard longest ago when the bucket holds as many as it may.
func makeRoom(tx *Tx, b Bucket, limit int) error {
	for {
		n, oldest, at := 0, "", ""
		if err := tx.Scan(b, "", "", func(k string, v []byte) (bool, error) {
			if n++; oldest == "" || string(v) < at {
				oldest, at = k, string(v)
			}
			return true, nil
		}); err != nil || n < limit {
			return err
		}
		if err := tx.Delete(b, oldest); err != nil {
			return err
		}
		h, err := tx.Host(HostID(oldest))
		if errors.Is(err, ErrNotFound) || err == nil && !h.nobodys() {
			continue // it is gone, or somebody's meanwhile
		}
		if err != nil {
			return err
		}
		return remove(tx, &h)
	}
}

// remove deletes a host with all that only it needed.
func remove(tx *Tx, h *Host) error {
	for _, m := range h.MACs {
		if err := dropNonces(tx, m); err != nil {
			return err
		}
	}
	if err := errors.Join(tx.Delete(bucketStrangers, string(h.ID)), tx.Delete(bucketNewcomers, string(h.ID))); err != nil {
		return err
	}
	return tx.DeleteHost(h.ID)
}
