package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/staged-hive/hatchery/inventory"
)

// How far a reader may be behind before it must read everything again: events, and bytes of them.
const (
	feedKeep  = 4096
	feedBytes = 256 << 10
)

// event is one change, as the event stream of programs sends it; pages read which host it is about.
type event struct {
	seq  uint64
	name string // "host", "forgotten", "job", "diary", "log"
	host inventory.HostID
	data []byte // JSON
}

// feed turns the store's changes into events and keeps the last of them for those who reconnect.
// Its ids mean something only to this run of the appliance; after a restart readers are told to read again.
type feed struct {
	s       *Server
	epoch   string
	changes <-chan inventory.Change

	mu   sync.Mutex
	ring []event // rising seq
	size int     // of the data in ring
	last uint64
	wake chan struct{} // closed and replaced at every publish
}

func newFeed(s *Server) *feed {
	return &feed{s: s, epoch: strings.ToLower(rand.Text()[:8]), wake: make(chan struct{})}
}

// watch begins to listen to the store; changes from here on are not missed.
func (f *feed) watch(ctx context.Context) { f.changes = f.s.cfg.Store.Watch(ctx) }

// run publishes the store's changes until the watch ends. A change that cannot be told of is left
// out: readers then see the next one, and machines boot on meanwhile.
func (f *feed) run(ctx context.Context) {
	tails := newLogTails(f)
	defer tails.end()
	for _, j := range f.s.openJobs() {
		tails.see(ctx, j.HostID, true)
	}
	for c := range f.changes {
		if c.Lost > 0 {
			f.forget()
		}
		ev, open, err := f.event(c)
		if c.Kind == inventory.HostChanged || c.Kind == inventory.HostForgotten {
			tails.see(ctx, c.Host, open)
		}
		switch {
		case errors.Is(err, inventory.ErrNotFound): // forgotten meanwhile: its own change says so
		case err != nil:
			f.s.log.Error("a change could not be told to the open pages", "host", c.Host, "err", err)
		default:
			f.publish(ev)
		}
	}
}

// followBoots publishes a host each time its boot has come further with loading stage-0, until ctx ends.
func (f *feed) followBoots(ctx context.Context) {
	if f.s.cfg.Boots == nil {
		return
	}
	var told map[inventory.HostID]inventory.Loading
	for {
		now, changed := f.s.cfg.Boots.Loading()
		for _, id := range differ(told, now) {
			ev, _, err := f.event(inventory.Change{Kind: inventory.HostChanged, Host: id})
			if err == nil {
				f.publish(ev)
			} else if !errors.Is(err, inventory.ErrNotFound) {
				f.s.log.Error("a boot could not be told to the open pages", "host", id, "err", err)
			}
		}
		told = now
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// differ are the keys whose values are not the same in both, those that one of them lacks too.
func differ[K, V comparable](a, b map[K]V) (out []K) {
	for k, v := range b {
		if old, known := a[k]; !known || old != v {
			out = append(out, k)
		}
	}
	for k := range a {
		if _, still := b[k]; !still {
			out = append(out, k)
		}
	}
	return out
}

// event reads what changed; open says that the host has an open job.
func (f *feed) event(c inventory.Change) (ev event, open bool, err error) {
	ev = event{host: c.Host}
	var v any
	err = f.s.cfg.Store.View(func(tx *inventory.Tx) error {
		switch c.Kind {
		case inventory.HostChanged:
			h, err := tx.Host(c.Host)
			ev.name, v = "host", f.s.hostJSON(&h)
			open = h.State == inventory.StateQueued || h.State == inventory.StateInstalling
			return err
		case inventory.JobChanged:
			j, err := tx.Job(c.Job)
			ev.name, v = "job", jobJSON(&j)
			return err
		case inventory.DiaryGrew:
			ev.name, v = "diary", c.Entry
		default:
			ev.name, v = "forgotten", map[string]inventory.HostID{"id": c.Host}
		}
		return nil
	})
	if err != nil {
		return ev, open, err
	}
	ev.data, err = json.Marshal(v)
	return ev, open, err
}

func (f *feed) publish(ev event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	ev.seq = f.last
	f.ring = append(f.ring, ev)
	f.size += len(ev.data)
	if len(f.ring) > feedKeep || f.size > feedBytes {
		f.dropHalf()
	}
	close(f.wake)
	f.wake = make(chan struct{})
}

// dropHalf drops the older half of what is kept, by number and by bytes. The caller holds the lock.
func (f *feed) dropHalf() {
	n := 0
	for len(f.ring)-n > feedKeep/2 || f.size > feedBytes/2 {
		f.size -= len(f.ring[n].data)
		n++
	}
	f.ring = slices.Clone(f.ring[n:])
}

// forget drops what is kept, so that every reader is told that it missed something.
func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	f.ring, f.size = nil, 0
}

// since are the events after seq. missed says that some are no longer kept: read everything again.
// wake is closed when there are more.
func (f *feed) since(seq uint64) (evs []event, missed bool, wake <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.last + 1
	if len(f.ring) > 0 {
		oldest = f.ring[0].seq
	}
	if seq > f.last || seq+1 < oldest {
		return nil, true, f.wake
	}
	return append(evs, f.ring[seq+1-oldest:]...), false, f.wake
}

// now is the id of the last event: what is read from the store after asking holds at least all up to it.
func (f *feed) now() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// id is the text form of an event's id.
func (f *feed) id(seq uint64) string { return f.epoch + "-" + strconv.FormatUint(seq, 10) }

// parse reads an id; ok is false for one of another run.
func (f *feed) parse(id string) (seq uint64, ok bool) {
	epoch, n, found := strings.Cut(id, "-")
	if !found || epoch != f.epoch {
		return 0, false
	}
	seq, err := strconv.ParseUint(n, 10, 64)
	return seq, err == nil
}
