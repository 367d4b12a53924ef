package server

import (
	"sync"

	"github.com/staged-hive/hatchery/dhcp/lease"
)

// maxCommits is how many answers may wait for the disk at once; more requests wait in the socket.
const maxCommits = 128

// commits are the answers whose leases are not on disk yet. One goroutine at a time writes all that have gathered
// while the last sync ran, in one more sync.
type commits struct {
	mu      sync.Mutex
	room    *sync.Cond
	waiting []*answer
	running bool
	batch   []*answer     // the committer's
	leases  []lease.Lease // the committer's
}

// storeFirst sends the answers once their leases are on disk. It waits while too many do. alone says that nothing else
// is to be done meanwhile: then they are stored here, which spares a lone client the wait for another thread.
func (s *Server) storeFirst(list []*answer, alone bool) {
	c := &s.commits
	c.mu.Lock()
	for len(c.waiting) >= maxCommits {
		c.room.Wait()
	}
	c.waiting = append(c.waiting, list...)
	began := !c.running
	c.running = true
	c.mu.Unlock()
	if began && alone {
		s.commitOnce()
		began = !s.commits.end()
	}
	if began {
		s.pending.Go(s.commitWaiting)
	}
}

// end ends the committer if nobody waits.
func (c *commits) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = len(c.waiting) > 0
	return !c.running
}

// commitWaiting stores and answers until nobody waits.
func (s *Server) commitWaiting() {
	for ended := false; !ended; ended = s.commits.end() {
		s.commitOnce()
	}
}

// commitOnce stores and answers those that wait. Only the committer calls it.
func (s *Server) commitOnce() {
	c := &s.commits
	c.mu.Lock()
	c.batch, c.waiting = c.waiting, c.batch[:0]
	c.room.Broadcast()
	c.mu.Unlock()
	c.leases = c.leases[:0]
	for _, a := range c.batch {
		c.leases = append(c.leases, *a.d.Lease)
	}
	if s.commit(c.leases) == nil {
		s.finish(c.batch)
	}
	clear(c.batch)
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
