package doctor

import (
	"crypto/rand"
	"sync/atomic"

	"github.com/staged-hive/hatchery/inventory"
)

// Guise is the machine that the doctor plays. Its MAC counts only while it plays: nobody else can use it to stay
// unseen. Safe for concurrent use.
type Guise struct {
	mac     inventory.MAC
	playing atomic.Bool
}

// NewGuise makes one with a MAC of its own: locally administered, 02:d0:c7 and three random bytes.
func NewGuise() *Guise {
	g := &Guise{mac: inventory.MAC{0x02, 0xd0, 0xc7}}
	rand.Read(g.mac[3:]) // never fails (crypto/rand, since Go 1.24)
	return g
}

// Is reports whether the MAC is the doctor's, at work.
func (g *Guise) Is(mac inventory.MAC) bool { return mac == g.mac && g.playing.Load() }

// MAC is the machine's.
func (g *Guise) MAC() inventory.MAC { return g.mac }
