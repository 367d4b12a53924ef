package inventory

import (
	"errors"
	"strings"
	"time"
)

const bucketGraves Bucket = "graves" // "mac/…", "uuid/…", "serial/…" → grave

// grave is what stays of a forgotten host that was ever installed: enough to never install over it by
// itself, and to keep its identity and its disks' when it shows up again.
type grave struct {
	ID           HostID            `json:"id,omitempty"`
	Name         string            `json:"name,omitempty"`
	InstalledKey string            `json:"installed_key,omitempty"`
	OwnedDisks   map[string]string `json:"owned_disks,omitempty"`
	Bound        map[string]string `json:"bound,omitempty"`
	At           time.Time         `json:"at"`

	sameMAC bool // it was found under a MAC
}

// bury leaves a mark under everything that identifies the machine.
func bury(tx *Tx, h *Host, now time.Time) error {
	g := grave{ID: h.ID, Name: h.Name, InstalledKey: h.InstalledKey, OwnedDisks: h.OwnedDisks, Bound: h.Bound, At: now}
	for _, k := range indexKeys(h) {
		if kind, _, _ := strings.Cut(k, "/"); kind != "mac" && kind != "uuid" && kind != "serial" {
			continue
		}
		if err := tx.PutJSON(bucketGraves, k, g); err != nil {
			return err
		}
	}
	return nil
}

// label is what people knew the host by.
func (g *grave) label() string {
	if g.Name != "" {
		return g.Name
	}
	return string(g.ID)
}

// findGrave looks for the mark of a forgotten host with a MAC, the UUID or the serial number of h. A found mark's
// sameMAC says that it lies under a MAC.
func findGrave(tx *Tx, h *Host) (g grave, ok bool, err error) {
	keys := indexKeys(h)
	if !Filler(h.UUID) {
		keys = append(keys, uuidKeys(h.UUID)...)
	}
	for _, k := range keys {
		if ok, err = tx.GetJSON(bucketGraves, k, &g); ok || err != nil {
			g.sameMAC = strings.HasPrefix(k, "mac/")
			return g, ok, err
		}
	}
	return g, false, nil
}

// exhume makes h, which is new, what the appliance once installed on that machine, if it did. Only a MAC
// gives the old id back: UUIDs and serials are sometimes cloned.
func exhume(tx *Tx, h *Host) error {
	g, ok, err := findGrave(tx, h)
	if err != nil || !ok {
		return err
	}
	h.EverFlipped, h.State, h.Held = true, StateInstalled, true
	h.InstalledKey, h.OwnedDisks, h.Bound = g.InstalledKey, g.OwnedDisks, g.Bound
	if _, err := tx.HostByName(g.Name); errors.Is(err, ErrNotFound) {
		h.Name = g.Name
	} else if err != nil {
		return err
	}
	if _, err := tx.Host(g.ID); g.sameMAC && g.ID != "" && errors.Is(err, ErrNotFound) {
		h.ID = g.ID
	}
	return nil
}
