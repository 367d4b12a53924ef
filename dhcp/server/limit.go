package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

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
	all *rate.Limiter
}

// allow reports whether a message may be looked at.
func (l *limiter) allow(mac inventory.MAC, now time.Time) bool {
	h := uint32(2166136261) // FNV-1a
	for _, b := range mac {
		h = (h ^ uint32(b)) * 16777619
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = rate.NewLimiter(inAll, inAll)
	}
	s := &l.slots[h%limSlots]
	if s.second != now.Unix() {
		s.second, s.n = now.Unix(), 0
	}
	if s.n >= perMAC {
		return false
	}
	s.n++
	return l.all.AllowN(now, 1)
}
