package server

import (
	"sync"

	"github.com/staged-hive/hatchery/inventory"
)

// hosts knows which hardware addresses may be a host's of ours, so that nothing is built, queued or looked up for those that are
// not: most of what a LAN's DHCP server hears. Until it was filled every address may be one. Safe for concurrent use.
type hosts struct {
	mu   sync.RWMutex
	macs map[inventory.MAC]struct{} // nil = not filled
}

// may reports whether the address may be a host's.
func (h *hosts) may(mac inventory.MAC) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, ok := h.macs[mac]
	return ok || h.macs == nil
}

// fill reads them all.
func (h *hosts) fill(store inventory.Store) error {
	macs := map[inventory.MAC]struct{}{}
	err := store.View(func(tx *inventory.Tx) error {
		return tx.MACs(func(mac inventory.MAC) { macs[mac] = struct{}{} })
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.macs = macs
	return nil
}

// follow takes a change in.
func (h *hosts) follow(store inventory.Store, c inventory.Change) error {
	switch {
	case c.Lost > 0 || c.Kind == inventory.HostForgotten:
		return h.fill(store)
	case c.Kind != inventory.HostChanged:
		return nil
	}
	var list []inventory.MAC
	err := store.View(func(tx *inventory.Tx) error {
		x, err := tx.Host(c.Host)
		list = x.MACs
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, mac := range list {
		h.macs[mac] = struct{}{}
	}
	return err
}
