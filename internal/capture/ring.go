package capture

import (
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"
)

// Ring holds the last frames, each up to a number of bytes. Its memory is taken at the start and never grows. Safe for
// concurrent use.
type Ring struct {
	mu    sync.Mutex
	snap  int
	slots []slot
	bytes []byte // snap bytes for each slot
	n     uint64 // frames that were ever added
}

type slot struct {
	at      time.Time
	n, orig int // bytes kept, and how long the frame was
}

// frame is one that was kept.
type frame struct {
	at   time.Time
	orig int
	b    []byte
}

// NewRing makes one of so many frames of up to snap bytes.
func NewRing(frames, snap int) *Ring {
	return &Ring{snap: snap, slots: make([]slot, frames), bytes: make([]byte, frames*snap)}
}

// Add copies a frame that was orig bytes long on the wire.
func (r *Ring) Add(at time.Time, b []byte, orig int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := int(r.n % uint64(len(r.slots)))
	n := copy(r.bytes[i*r.snap:(i+1)*r.snap], b)
	r.slots[i] = slot{at, n, max(orig, n)}
	r.n++
}

// frames are copies of those that want takes, oldest first.
func (r *Ring) frames(want func([]byte) bool) (out []frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := min(r.n, uint64(len(r.slots)))
	for k := r.n - kept; k < r.n; k++ {
		i := int(k % uint64(len(r.slots)))
		s := r.slots[i]
		if b := r.bytes[i*r.snap : i*r.snap+s.n]; want(b) {
			out = append(out, frame{s.at, s.orig, slices.Clone(b)})
		}
	}
	return out
}

// writePcap writes frames as a pcap file (libpcap 2.4, nanoseconds, Ethernet; pcap-savefile(5)). By hand, for its 40
// bytes of headers: the library that knows them brings decoders of a hundred protocols into the program.
func writePcap(w io.Writer, frames []frame) error {
	le := binary.LittleEndian
	head := make([]byte, 24)
	le.PutUint32(head[0:], 0xa1b23c4d) // nanosecond times
	le.PutUint16(head[4:], 2)
	le.PutUint16(head[6:], 4)
	le.PutUint32(head[16:], 65535)
	le.PutUint32(head[20:], 1) // Ethernet
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, f := range frames {
		rec := make([]byte, 16, 16+len(f.b))
		le.PutUint32(rec[0:], uint32(f.at.Unix()))
		le.PutUint32(rec[4:], uint32(f.at.Nanosecond()))
		le.PutUint32(rec[8:], uint32(len(f.b)))
		le.PutUint32(rec[12:], uint32(f.orig))
		if _, err := w.Write(append(rec, f.b...)); err != nil {
			return err
		}
	}
	return nil
}
