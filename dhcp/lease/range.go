package lease

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// MaxRange is how many addresses a range may have: a /16's.
const MaxRange = 1 << 16

// Range is the IPv4 addresses from First to Last, both included. The zero value is no range.
type Range struct {
	First, Last netip.Addr
}

// ParseRange reads "10.0.0.100-10.0.0.200"; "10.0.0.100-200" is short for the same.
func ParseRange(s string) (Range, error) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return Range{}, fmt.Errorf("range %q: want FIRST-LAST, as 192.168.1.100-192.168.1.199", s)
	}
	first, err := netip.ParseAddr(strings.TrimSpace(a))
	if err != nil {
		return Range{}, fmt.Errorf("range %q: %w", s, err)
	}
	b = strings.TrimSpace(b)
	if !strings.Contains(b, ".") {
		b = first.String()[:strings.LastIndexByte(first.String(), '.')+1] + b
	}
	last, err := netip.ParseAddr(b)
	if err != nil {
		return Range{}, fmt.Errorf("range %q: %w", s, err)
	}
	r := Range{First: first, Last: last}
	if !first.Is4() || !last.Is4() || last.Less(first) {
		return Range{}, fmt.Errorf("range %q: the first address must not come after the last, both IPv4", s)
	}
	if r.Size() > MaxRange {
		return Range{}, fmt.Errorf("range %q: %d addresses, at most %d", s, r.Size(), MaxRange)
	}
	return r, nil
}

// IsZero reports whether there is no range.
func (r Range) IsZero() bool { return !r.First.IsValid() }

// String is the form ParseRange reads, "" for none.
func (r Range) String() string {
	if r.IsZero() {
		return ""
	}
	return r.First.String() + "-" + r.Last.String()
}

// Size is the number of addresses.
func (r Range) Size() int {
	if r.IsZero() {
		return 0
	}
	return int(num(r.Last)-num(r.First)) + 1
}

// Contains reports whether ip is in the range.
func (r Range) Contains(ip netip.Addr) bool {
	_, ok := r.index(ip)
	return ok
}

func (r Range) check(subnet netip.Prefix) error {
	if r.IsZero() || !r.First.Is4() || !r.Last.Is4() || r.Last.Less(r.First) || r.Size() > MaxRange {
		return fmt.Errorf("range %q: want two IPv4 addresses in order, at most %d apart", r, MaxRange)
	}
	if !subnet.Contains(r.First) || !subnet.Contains(r.Last) {
		return fmt.Errorf("range %s is not inside the subnet %s", r, subnet)
	}
	return nil
}

func (r Range) index(ip netip.Addr) (int, bool) {
	if r.IsZero() || !ip.Is4() || ip.Less(r.First) || r.Last.Less(ip) {
		return 0, false
	}
	return int(num(ip) - num(r.First)), true
}

func (r Range) at(i int) netip.Addr { return addr(num(r.First) + uint32(i)) }

func num(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func networkAddr(p netip.Prefix) netip.Addr { return p.Masked().Addr() }

func broadcastAddr(p netip.Prefix) netip.Addr {
	return addr(num(p.Masked().Addr()) | uint32(1<<(32-p.Bits())-1))
}

// bitmap marks the free addresses of a range.
type bitmap struct {
	words []uint64
	size  int
}

// newBitmap has every bit set.
func newBitmap(size int) bitmap {
	b := bitmap{words: make([]uint64, (size+63)/64), size: size}
	for i := range size {
		b.set(i, true)
	}
	return b
}

func (b bitmap) get(i int) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

func (b bitmap) set(i int, on bool) {
	if on {
		b.words[i/64] |= 1 << (i % 64)
	} else {
		b.words[i/64] &^= 1 << (i % 64)
	}
}

// next is the first set bit at or after start, going round.
func (b bitmap) next(start int) (int, bool) {
	if i, ok := b.nextNoWrap(start); ok {
		return i, true
	}
	return b.nextNoWrap(0)
}

func (b bitmap) nextNoWrap(start int) (int, bool) {
	for w := start / 64; w < len(b.words); w++ {
		v := b.words[w]
		if w == start/64 {
			v &= ^uint64(0) << (start % 64)
		}
		if v != 0 {
			return w*64 + bits.TrailingZeros64(v), true
		}
	}
	return 0, false
}

// expiryHeap orders records by when they end.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].rec.expires < h[j].rec.expires }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i)+1, int32(j)+1
}

// Push implements heap.Interface.
func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	*h = append(*h, e)
	e.place = int32(len(*h))
}

// Pop implements heap.Interface.
func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	e.place = 0
	*h = old[:len(old)-1]
	return e
}
