package inventory

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// Installations are the machines that a store knows as installed: what a backup that is put in its place must not forget.
type Installations struct {
	hosts  []Host           // whose netboot was ever flipped
	graves map[string]grave // of those that were forgotten, by key
}

// ReadInstallations reads all machines that count as installed, forgotten ones too.
func ReadInstallations(tx *Tx) (in Installations, err error) {
	for after := HostID(""); ; {
		hosts, next, err := tx.Hosts(after, 500)
		if err != nil {
			return in, err
		}
		for _, h := range hosts {
			if h.EverFlipped {
				in.hosts = append(in.hosts, h)
			}
		}
		if after = next; after == "" {
			break
		}
	}
	in.graves = map[string]grave{}
	err = tx.Scan(bucketGraves, "", "", func(k string, _ []byte) (bool, error) {
		var g grave
		_, err := tx.GetJSON(bucketGraves, k, &g)
		in.graves[k] = g
		return true, err
	})
	return in, err
}

// Keep makes a store that was restored from a backup count every machine as installed that was installed since the backup
// was made. It returns how many these are. Call it after [Restored].
func (in Installations) Keep(tx *Tx, now time.Time) (kept int, err error) {
	for _, was := range in.hosts {
		h, err := findAgain(tx, &was)
		changed := false
		switch {
		case errors.Is(err, ErrNotFound):
			changed, err = true, bury(tx, &was, now)
		case err == nil && (!h.EverFlipped || was.InstalledAt.After(h.InstalledAt)):
			changed, err = true, installedSince(tx, h, &was, now)
		}
		if err != nil {
			return kept, err
		}
		if changed {
			kept++
		}
	}
	for key, g := range in.graves {
		h, err := tx.byIndex(key)
		switch {
		case errors.Is(err, ErrNotFound):
			err = tx.PutJSON(bucketGraves, key, g)
		case err == nil && !h.EverFlipped:
			kept++
			err = installedSince(tx, h, &Host{InstalledKey: g.InstalledKey, OwnedDisks: g.OwnedDisks, Bound: g.Bound}, now)
		}
		if err != nil {
			return kept, err
		}
	}
	return kept, nil
}

// findAgain is the host that was known as was; ErrNotFound.
func findAgain(tx *Tx, was *Host) (Host, error) {
	h, err := tx.Host(was.ID)
	for _, m := range was.MACs {
		if errors.Is(err, ErrNotFound) {
			h, err = tx.HostByMAC(m)
		}
	}
	return h, err
}

// installedSince stores host h of a backup as installed, with what is known of that install.
func installedSince(tx *Tx, h Host, was *Host, now time.Time) error {
	for _, m := range was.MACs {
		if _, err := tx.HostByMAC(m); errors.Is(err, ErrNotFound) {
			h.addMAC(m, false)
		} else if err != nil {
			return err
		}
	}
	if _, err := tx.HostByName(was.Name); h.Name == "" && errors.Is(err, ErrNotFound) {
		h.Name = was.Name
	}
	if h.Facts == nil {
		h.Facts = was.Facts
	}
	h.InstalledKey, h.InstalledSystem, h.InstalledAt = was.InstalledKey, was.InstalledSystem, was.InstalledAt
	h.InstalledRole, h.InstalledCommit = was.InstalledRole, was.InstalledCommit
	h.OwnedDisks, h.Bound = maps.Clone(was.OwnedDisks), maps.Clone(was.Bound)
	h.EverFlipped, h.Flipped, h.Wrote, h.Claimed = true, true, false, nil
	if h.State != StateIgnored {
		h = clearWork(h)
		h.State = resting(h)
	}
	h, err := tx.PutHost(h)
	if err != nil {
		return fmt.Errorf("host %s, installed since the backup: %w", h.Label(), err)
	}
	return tx.Note(Entry{Time: now, HostID: h.ID, Kind: "job.step", By: "restore", Level: "warn",
		Text: "It was installed after the backup was made, and stays installed."})
}
