package lease

import "iter"

// entry is what is known of one address. A hold and a record can coexist: an
// expired lease's address may be on offer to somebody else. A large site has tens of thousands.
type entry struct {
	ip      uint32
	place   int32 // in Pool.expiry, counted from 1; 0 = not there
	rec     record
	claim   HW    // whose record is being stored now
	claimed bool  // nobody else may have the address until Settle
	hold    *hold // nil = not on offer
	proved  int64 // when a probe found it unused; 0 = never
}

// blank reports whether nothing is known of the address.
func (e *entry) blank() bool {
	return !e.rec.valid() && e.hold == nil && !e.claimed && e.proved == 0
}

// hold is an offer that was not taken yet.
type hold struct {
	e          *entry
	holder     HW
	until      int64 // as in a record
	prev, next *hold
}

// holdList is the offers, oldest first.
type holdList struct {
	first, last *hold
	n           int
}

func (l *holdList) push(h *hold) {
	if h.prev = l.last; h.prev != nil {
		h.prev.next = h
	} else {
		l.first = h
	}
	l.last = h
	l.n++
}

func (l *holdList) remove(h *hold) {
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		l.first = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	} else {
		l.last = h.prev
	}
	l.n--
}

// chunkSize is how many neighbouring addresses get their entries together.
const chunkSize = 16

// table is the entries by address: those of a range side by side, made when the first of a chunk is needed; others, which
// only reservations bring, one by one. An entry stays where it is.
type table struct {
	first   uint32
	size    uint32
	chunks  []*[chunkSize]entry
	outside map[uint32]*entry
}

func newTable(r Range) table {
	n := r.Size()
	return table{first: num(r.First), size: uint32(n), chunks: make([]*[chunkSize]entry, (n+chunkSize-1)/chunkSize), outside: map[uint32]*entry{}}
}

// at is the entry of an address; nil when nothing was ever known of it, or of its neighbours.
func (t *table) at(ip uint32) *entry {
	i := ip - t.first // of a lower address: more than any size
	if i >= t.size {
		return t.outside[ip]
	}
	if c := t.chunks[i/chunkSize]; c != nil {
		return &c[i%chunkSize]
	}
	return nil
}

// make is at, made when there is none.
func (t *table) make(ip uint32) *entry {
	if e := t.at(ip); e != nil {
		return e
	}
	i := ip - t.first
	if i >= t.size {
		e := &entry{ip: ip}
		t.outside[ip] = e
		return e
	}
	c := new([chunkSize]entry)
	for k := range c {
		c[k].ip = t.first + i/chunkSize*chunkSize + uint32(k)
	}
	t.chunks[i/chunkSize] = c
	return &c[i%chunkSize]
}

// tidy drops an entry that says nothing any more.
func (t *table) tidy(e *entry) {
	if e.blank() && e.ip-t.first >= t.size {
		delete(t.outside, e.ip)
	}
}

// all are the entries that say something, in no useful order.
func (t *table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, c := range t.chunks {
			if c == nil {
				continue
			}
			for i := range c {
				if !c[i].blank() && !yield(&c[i]) {
					return
				}
			}
		}
		for _, e := range t.outside {
			if !e.blank() && !yield(e) {
				return
			}
		}
	}
}
