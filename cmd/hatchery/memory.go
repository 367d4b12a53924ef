package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// spareMemory has garbage collected when 40 % of what is in use has come on top of it, instead of as much again; GOGC overrules. An
// answer to DHCP leaves less than a kilobyte of garbage, so even 20,000 machines a second make it a few collections of a few
// milliseconds (measured: no difference in the processor time of an answer, a fifth more for a page of 1,000 machines than at 50 %).
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
}

// When memory is given back: once it is quiet after a burst.
const (
	lookAtMemory = 5 * time.Second
	quietBytes   = 8 << 20 // allocated between two looks at most: an idle appliance takes half a megabyte, a storm of machines 100
)

// giveBack returns what a burst needed and nobody uses any more to the kernel, each time it is quiet again, until ctx ends. By
// itself the runtime keeps most of it for minutes: as room until the next collection, which on a quiet appliance is long in coming.
func giveBack(ctx context.Context) error {
	t := time.NewTicker(lookAtMemory)
	defer t.Stop()
	b := burst{on: true} // the start is one
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if b.ended(allocated()) {
				runtime.GC() // pools of buffers keep theirs for one collection more
				debug.FreeOSMemory()
			}
		}
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// burst tells when a time in which much was allocated has ended.
type burst struct {
	before uint64 // the bytes of the last look
	on     bool
}

// ended is told, look by look, how many bytes were ever allocated, and reports whether a burst has ended since the last look.
func (b *burst) ended(allocated uint64) bool {
	quiet := allocated-b.before <= quietBytes
	b.before = allocated
	ended := b.on && quiet
	b.on = !quiet
	return ended
}
