package server

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/inventory"
)

// Bounds of what waits to be written down.
const (
	maxNotes    = 1024
	notesATime  = 256
	gatherFor   = 20 * time.Millisecond // more notes that share a transaction: one each would be a sync each
	repeatAfter = 5 * time.Second       // the same line for the same machine sooner is a retransmission
	// Machines never heard of that become hosts: a rack powered on at once, and then so many a second. A
	// flood of invented ones would keep the disk from the leases.
	strangersAtOnce  = 200
	strangersASecond = 10
)

// note is what one decision leaves for the inventory.
type note struct {
	at     time.Time
	events []dhcp.Event
}

// notes writes decisions into the inventory behind the packets' back: many in one transaction,
// through a queue that drops what does not fit.
type notes struct {
	store inventory.Store
	log   *slog.Logger
	count *counters
	tries *tries
	queue chan note
	seed  maphash.Seed
	seen  map[uint64]time.Time // by lineKey
	say   rate.Sometimes
	fresh *rate.Limiter // for strangers
}

type lineKey struct {
	mac            inventory.MAC
	kind, by, text string
}

func newNotes(store inventory.Store, log *slog.Logger, c *counters, t *tries) *notes {
	return &notes{store: store, log: log, count: c, tries: t, queue: make(chan note, maxNotes), seed: maphash.MakeSeed(), seen: map[uint64]time.Time{}, say: rate.Sometimes{Interval: time.Minute},
		fresh: rate.NewLimiter(strangersASecond, strangersAtOnce)}
}

// add takes in a copy of what a decision leaves, and never waits. A stranger is no host yet: when so many ask at once that none
// of them may become one now, nothing is queued for it.
func (n *notes) add(x note, stranger bool) {
	if stranger && n.fresh.TokensAt(x.at) < 1 {
		n.tooMany()
		return
	}
	x.events = slices.Clone(x.events)
	select {
	case n.queue <- x:
	default:
		n.count.notesDropped.Add(1)
		n.say.Do(func() { n.log.Warn("boot diary is behind: lines are left out", "dur", repeatAfter) })
	}
}

func (n *notes) tooMany() {
	n.count.notesDropped.Add(1)
	n.say.Do(func() {
		n.log.Warn("very many unknown machines ask for a boot file at once: not all of them are shown")
	})
}

// run writes until ctx ends, then what is left.
func (n *notes) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			for batch := n.more(nil); len(batch) > 0; batch = n.more(nil) {
				n.write(batch)
			}
			return nil
		case x := <-n.queue:
			gather := time.NewTimer(gatherFor)
			select {
			case <-gather.C:
			case <-ctx.Done():
			}
			n.write(n.more([]note{x}))
		}
	}
}

// more adds what waits already.
func (n *notes) more(batch []note) []note {
	for len(batch) < notesATime {
		select {
		case x := <-n.queue:
			batch = append(batch, x)
		default:
			return batch
		}
	}
	return batch
}

func (n *notes) write(batch []note) {
	batch = n.worthwhile(batch)
	forms := n.tries.unsaved()
	if len(batch) == 0 && len(forms) == 0 {
		return
	}
	err := n.store.Update(func(tx *inventory.Tx) error {
		for _, x := range batch {
			if err := writeNote(tx, x); err != nil {
				return err
			}
		}
		return saveForms(tx, forms)
	})
	if err != nil {
		n.log.Error("boot diary cannot be written", "err", err)
		return
	}
	n.tries.onDisk(forms)
}

// worthwhile leaves out retransmissions, and systems that are no host of ours: those cost no write.
func (n *notes) worthwhile(batch []note) []note {
	out := batch[:0] // in place: what is looked at is always ahead
	err := n.store.View(func(tx *inventory.Tx) error {
		for _, x := range batch {
			keep := slices.DeleteFunc(x.events, func(e dhcp.Event) bool { return n.repeated(e, x.at) })
			if len(keep) == 0 {
				continue
			}
			_, err := tx.HostByMAC(keep[0].Contact.MAC)
			if err != nil && !errors.Is(err, inventory.ErrNotFound) {
				return err
			}
			if err != nil && (!keep[0].Boots || !n.mayMeet(x.at)) {
				continue
			}
			out = append(out, note{at: x.at, events: keep})
		}
		return nil
	})
	if err != nil {
		n.log.Error("hosts cannot be read for the boot diary", "err", err)
	}
	return out
}

// mayMeet reports whether one more stranger may become a host now.
func (n *notes) mayMeet(at time.Time) bool {
	if n.fresh.AllowN(at, 1) {
		return true
	}
	n.tooMany()
	return false
}

func (n *notes) repeated(e dhcp.Event, at time.Time) bool {
	k := maphash.Comparable(n.seed, lineKey{e.Contact.MAC, e.Kind, e.By, e.Text})
	last, ok := n.seen[k]
	if len(n.seen) >= maxNotes {
		clear(n.seen)
	}
	n.seen[k] = at
	return ok && at.Sub(last) < repeatAfter
}

// writeNote makes the machine known, or its contact current, and adds the diary's lines.
func writeNote(tx *inventory.Tx, x note) error {
	first := x.events[0]
	last := x.events[len(x.events)-1]
	c := first.Contact
	c.IP = last.Contact.IP
	meet := inventory.Discover
	if !first.Boots {
		meet = inventory.Noticed
	}
	h, err := meet(tx, c, x.at)
	if errors.Is(err, inventory.ErrNotFound) || errors.Is(err, inventory.ErrConflict) {
		return nil // forgotten meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range x.events {
		if e.Kind == "" {
			continue
		}
		by, who := e.By, e.Who
		if !e.Boots && inStage0(&h) {
			by, who = "stage-0", "Stage-0"
		}
		if err := tx.Note(inventory.Entry{Time: x.at, HostID: h.ID, Kind: e.Kind, By: by, Level: e.Level, From: e.Contact.IP, Text: who + " " + e.Text}); err != nil {
			return err
		}
	}
	return nil
}

// inStage0 reports whether the host's running system must be stage-0 rather than its own.
func inStage0(h *inventory.Host) bool {
	switch h.State {
	case inventory.StateBooting, inventory.StateReady:
		return true
	case inventory.StateQueued, inventory.StateInstalling, inventory.StateFailed:
		return !h.Flipped
	}
	return false
}
