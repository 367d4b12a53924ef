package inventory

import (
	"context"
	"sync"
)

// WatchBound is how many changes a slow reader of [Store.Watch] may be behind before it loses the oldest.
const WatchBound = 1024

// Feed hands committed changes to readers; stores have one. A slow reader never holds up
// the writer. The zero value is ready; safe for concurrent use.
type Feed struct {
	mu      sync.Mutex
	readers map[*reader]struct{}
	closed  bool
	wg      sync.WaitGroup
}

// reader is one Watch: what it has not taken yet.
type reader struct {
	mu    sync.Mutex
	queue []Change
	lost  int
	wake  chan struct{} // holds one token while the queue may be non-empty
	quit  chan struct{} // closed by Feed.Close
}

// Watch sends every change published from now on until ctx ends or the feed is closed, then closes.
func (f *Feed) Watch(ctx context.Context) <-chan Change {
	out := make(chan Change)
	r := &reader{wake: make(chan struct{}, 1), quit: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(out)
		return out
	}
	if f.readers == nil {
		f.readers = map[*reader]struct{}{}
	}
	f.readers[r] = struct{}{}
	f.wg.Go(func() {
		defer close(out)
		r.pump(ctx, out)
		f.mu.Lock()
		delete(f.readers, r)
		f.mu.Unlock()
	})
	return out
}

// Publish hands changes to all readers, in order. Call it in the order of the commits.
func (f *Feed) Publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		r.add(changes)
	}
}

// Close ends all readers and waits for them; what they have not taken is dropped.
func (f *Feed) Close() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		for r := range f.readers {
			close(r.quit)
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (r *reader) add(changes []Change) {
	r.mu.Lock()
	r.queue = append(r.queue, changes...)
	if over := len(r.queue) - WatchBound; over > 0 {
		r.lost += over
		r.queue = append([]Change(nil), r.queue[over:]...)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take removes the oldest change, telling how many were lost before it.
func (r *reader) take() (Change, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return Change{}, false
	}
	c := r.queue[0]
	c.Lost, r.lost = r.lost, 0
	r.queue[0] = Change{} // lets go of the entry
	if r.queue = r.queue[1:]; len(r.queue) == 0 {
		r.queue = nil // lets go of the room that a burst took
	}
	return c, true
}

func (r *reader) pump(ctx context.Context, out chan<- Change) {
	for {
		c, ok := r.take()
		if !ok {
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			case <-r.quit:
				return
			}
			continue
		}
		select {
		case out <- c:
		case <-ctx.Done():
			return
		case <-r.quit:
			return
		}
	}
}
