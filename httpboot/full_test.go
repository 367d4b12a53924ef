package httpboot_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/inventory"
)

// readOnly is a store that can be made to refuse every write, as a full or failing disk does.
type readOnly struct {
	inventory.Store
	full atomic.Bool
}

func (s *readOnly) Update(fn func(*inventory.Tx) error) error {
	if s.full.Load() {
		return fmt.Errorf("commit hatchery.db: nothing was saved: %w", syscall.ENOSPC)
	}
	return s.Store.Update(fn)
}

// TestBootsWhileNothingCanBeWritten: an installed machine starts from its disk, boot files are served, a machine that
// needs stage-0 is told why it waits, and goes on when writing works again.
func TestBootsWhileNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	var store *readOnly
	a := startAppliance(t, true, func(c *httpboot.Config) {
		store = &readOnly{Store: c.Store}
		c.Store = store
	})
	a.fetchNonce(t)
	store.full.Store(true)
	if _, script := get(t, a.bootURL("")); !strings.Contains(script, "cannot answer now: its database cannot be written to") || !strings.Contains(script, "goto again") || nonceRE.MatchString(script) {
		t.Errorf("a machine that needs stage-0:\n%s", script)
	}
	if err := a.store.Update(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(mac(t, bootMAC))
		if err != nil {
			return err
		}
		h.State, h.EverFlipped, h.Name = inventory.StateInstalled, true, "alpha"
		_, err = tx.PutHost(h)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, script := get(t, a.bootURL("")); !strings.Contains(script, "alpha boots its own disk: the host is installed") || strings.Contains(script, "cannot answer") {
		t.Errorf("an installed machine:\n%s", script)
	}
	for _, file := range []string{"/ipxe/snponly.efi", "/stage0/x86_64/initrd"} {
		if r, _ := get(t, a.url+file); r.StatusCode != 200 {
			t.Errorf("%s: %s", file, r.Status)
		}
	}
	store.full.Store(false)
	if err := a.store.Update(func(tx *inventory.Tx) error { // it is to be rescued
		h, err := tx.HostByMAC(mac(t, bootMAC))
		if err == nil {
			_, err = inventory.Rescue(tx, h.ID, a.clock.Now().Add(1e12))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	a.fetchNonce(t)
}
