// Package clocktest is a clock that tests move.
package clocktest

import (
	"sync"
	"time"
)

// Clock stands still until it is moved. Any number of goroutines may use it.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// New is a clock that shows t.
func New(t time.Time) *Clock { return &Clock{t: t} }

// Now is what it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Add moves it, back too.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
