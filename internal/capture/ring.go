package capture

import (
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"
)

// chunkSize is by how many bytes a Ring grows, and forgets.
const chunkSize = 32 << 10

// headSize is what a frame takes beside its bytes: when it came (nanoseconds since 1970, 8 bytes), how many bytes of it were kept
// and how long it was (2 bytes each).
const headSize = 12

// Ring holds the last frames in a number of bytes that it grows to and never beyond; then it forgets the oldest chunkSize of them
// at a time. Safe for concurrent use.
type Ring struct {
	mu     sync.Mutex
	snap   int
	chunks [][]byte // each a row of frames behind their heads; oldest at next once there are as many as may be
	next   int      // the chunk that is filled after the present one
}

// frame is one that was kept.
type frame struct {
	at   time.Time
	orig int
	b    []byte
}

// NewRing makes one of at most so many bytes, rounded down to chunks of 32 KiB, for frames of up to snap bytes. It takes no memory
// before frames come.
func NewRing(bytes, snap int) *Ring {
	return &Ring{snap: snap, chunks: make([][]byte, 0, bytes/chunkSize)}
}

// Add copies a frame that was orig bytes long on the wire.
func (r *Ring) Add(at time.Time, b []byte, orig int) {
	b = b[:min(len(b), r.snap)]
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.room(headSize + len(b))
	le := binary.LittleEndian
	*c = le.AppendUint64(*c, uint64(at.UnixNano()))
	*c = le.AppendUint16(*c, uint16(len(b)))
	*c = le.AppendUint16(*c, uint16(min(max(orig, len(b)), 1<<16-1)))
	*c = append(*c, b...)
}

// room is the chunk that has so many bytes left: the present one, a new one, or the oldest, emptied.
func (r *Ring) room(n int) *[]byte {
	if len(r.chunks) > 0 {
		if c := &r.chunks[(r.next+cap(r.chunks)-1)%cap(r.chunks)]; len(*c)+n <= chunkSize {
			return c
		}
	}
	if len(r.chunks) < cap(r.chunks) {
		r.chunks = append(r.chunks, make([]byte, 0, chunkSize))
	}
	c := &r.chunks[r.next]
	*c = (*c)[:0]
	r.next = (r.next + 1) % cap(r.chunks)
	return c
}

// frames are copies of those that want takes, oldest first.
func (r *Ring) frames(want func([]byte) bool) (out []frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := 0
	if len(r.chunks) == cap(r.chunks) {
		first = r.next
	}
	le := binary.LittleEndian
	for k := range r.chunks {
		for c := r.chunks[(first+k)%len(r.chunks)]; len(c) > 0; {
			n := headSize + int(le.Uint16(c[8:]))
			if b := c[headSize:n]; want(b) {
				out = append(out, frame{time.Unix(0, int64(le.Uint64(c))), int(le.Uint16(c[10:])), slices.Clone(b)})
			}
			c = c[n:]
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
