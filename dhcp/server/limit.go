package server

import (
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Limits of what is answered, so that a flood costs bounded work: more than any honest client sends.
const (
	perMAC   = 50     // messages a second from one hardware address
	inAll    = 100000 // messages a second
	limSlots = 8192
)

// limiter bounds messages per MAC and in all, in fixed memory: addresses share slots by hash.
type limiter struct {
	mu    sync.Mutex
	slots [limSlots]struct {
		second int64
		n      uint16
	}
	last  time.Time
	spent float64 // of inAll, which fill up again in a second
}

// allow reports whether a message may be looked at.
func (l *limiter) allow(mac inventory.MAC, now time.Time) bool {
	h := uint32(2166136261) // FNV-1a
	for _, b := range mac {
		h = (h ^ uint32(b)) * 16777619
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if passed := now.Sub(l.last); passed > 0 {
		l.spent, l.last = max(0, l.spent-inAll*passed.Seconds()), now
	}
	s := &l.slots[h%limSlots]
	if second := now.Unix(); s.second != second {
		s.second, s.n = second, 0
	}
	if s.n >= perMAC || l.spent > inAll-1 {
		return false
	}
	s.n++
	l.spent++
	return true
}
