package server

import (
	"sync"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
)

// maxCommits is how many answers may wait for the disk at once; more requests wait in the socket.
const maxCommits = 1024

// answer is a decision on its way out.
type answer struct {
	link *link
	req  dhcp.Request
	d    dhcp.Decision
	at   time.Time
}

// commits are the answers whose leases are not on disk yet. One goroutine at a time writes all that have gathered
// while the last sync ran, in one more sync.
type commits struct {
	mu      sync.Mutex
	room    *sync.Cond
	waiting []answer
	running bool
}

// storeFirst sends the answer once its lease is on disk. It waits while too many do.
func (s *Server) storeFirst(a answer) {
	c := &s.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) >= maxCommits {
		c.room.Wait()
	}
	c.waiting = append(c.waiting, a)
	if !c.running {
		c.running = true
		s.pending.Go(s.commitWaiting)
	}
}

// commitWaiting stores and answers until nobody waits.
func (s *Server) commitWaiting() {
	c := &s.commits
	var batch []answer
	for {
		c.mu.Lock()
		clear(batch)
		batch, c.waiting = c.waiting, batch[:0]
		if len(batch) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.room.Broadcast()
		c.mu.Unlock()
		list := make([]lease.Lease, len(batch))
		for i := range batch {
			list[i] = *batch[i].d.Lease
		}
		if s.commit(list) == nil {
			s.finish(batch)
		}
	}
}

// commit makes leases durable and tells the pools.
func (s *Server) commit(list []lease.Lease) error {
	err := s.cfg.Leases.CommitLeases(list...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		s.settle(&list[i], err == nil)
	}
	if err != nil {
		s.count.commitErrors.Add(uint64(len(list)))
		s.sayCommit.Do(func() {
			s.log.Error("lease cannot be stored: clients get no address until the disk works again", "ip", list[0].IP, "mac", list[0].HW, "err", err)
		})
	}
	return err
}

// settle ends the claim on a lease's address; stored says that the lease is on disk. The caller holds the lock.
func (s *Server) settle(l *lease.Lease, stored bool) {
	for _, g := range s.segments {
		if !g.Pool.Prefix().Contains(l.IP) {
			continue
		}
		if stored {
			g.Pool.Put(*l)
		}
		g.Pool.Settle(l.IP)
		return
	}
}
