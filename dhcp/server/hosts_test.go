package server

import (
	"context"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/inventory"
)

// TestStrangersCostNoNotes: what a machine does that is no host of ours is not even queued, unless it boots; what a host does is,
// from the moment that it is one until it is forgotten.
func TestStrangersCostNoNotes(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	ctx, stop := context.WithCancel(t.Context())
	changes := b.s.cfg.Store.Watch(ctx)
	if err := b.s.hosts.fill(b.s.cfg.Store); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- b.s.learn(changes) }()
	queued := func() int {
		b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC))
		b.hear()
		b.clock.Add(time.Minute) // the offer is over
		return len(b.s.notes.more(nil))
	}
	until := func(want int, when string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); queued() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: want %d notes", when, want)
			}
		}
	}
	if n := queued(); n != 0 {
		t.Errorf("a stranger: %d notes, want none", n)
	}
	b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, 0, 0, 9}, pxe(7)))
	if b.hear(); len(b.s.notes.more(nil)) != 1 {
		t.Error("a stranger that boots: want a note")
	}
	update := func(fn func(tx *inventory.Tx) error) {
		t.Helper()
		if err := b.store.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "0123456789abcdef", MAC: inventory.MAC{2, 0, 0, 0, 0, 8}, MACs: []inventory.MAC{{2, 0, 0, 0, 0, 8}, labMAC}, State: inventory.StateReady})
		return err
	})
	until(1, "its second card is a host's")
	update(func(tx *inventory.Tx) error {
		return inventory.Forget(tx, "0123456789abcdef", b.clock.Now())
	})
	until(0, "the host is forgotten")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
