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

// table is the entries by address: those of a range by their place in it; others, which only reservations bring, by number.
// An entry stays where it is.
type table struct {
	first   uint32
	slots   []uint32 // of each address in the range: where its entry is, counted from 1; 0 = nothing is known of it
	blocks  []*[entriesAtOnce]entry
	unused  []uint32 // entries that may be used again
	outside map[uint32]*entry
}

// entriesAtOnce is for how many addresses room is made when there is none, 4 kB with what the runtime adds: a large range may be
// nearly empty, or full.
const entriesAtOnce = 42

func newTable(r Range) table {
	return table{first: num(r.First), slots: make([]uint32, r.Size()), outside: map[uint32]*entry{}}
}

// slot is an address's place in the range.
func (t *table) slot(ip uint32) (int, bool) {
	i := ip - t.first // of a lower address: more than any range has
	return int(i), i < uint32(len(t.slots))
}

// entry is the one at a place.
func (t *table) entry(place uint32) *entry {
	return &t.blocks[(place-1)/entriesAtOnce][(place-1)%entriesAtOnce]
}

// at is the entry of an address; nil when nothing is known of it.
func (t *table) at(ip uint32) *entry {
	i, ok := t.slot(ip)
	if !ok {
		return t.outside[ip]
	}
	if t.slots[i] == 0 {
		return nil
	}
	return t.entry(t.slots[i])
}

// make is at, made when there is none.
func (t *table) make(ip uint32) *entry {
	e := t.at(ip)
	if e != nil {
		return e
	}
	i, ok := t.slot(ip)
	if !ok {
		e = &entry{ip: ip}
		t.outside[ip] = e
		return e
	}
	if len(t.unused) == 0 {
		t.grow()
	}
	last := len(t.unused) - 1
	t.slots[i], t.unused = t.unused[last], t.unused[:last]
	e = t.entry(t.slots[i])
	*e = entry{ip: ip}
	return e
}

// grow makes room for more entries.
func (t *table) grow() {
	t.blocks = append(t.blocks, new([entriesAtOnce]entry))
	for place := len(t.blocks) * entriesAtOnce; len(t.unused) < entriesAtOnce; place-- { // so that the first comes first
		t.unused = append(t.unused, uint32(place))
	}
}

// tidy drops an entry that says nothing any more.
func (t *table) tidy(e *entry) {
	if !e.blank() {
		return
	}
	if i, ok := t.slot(e.ip); ok && t.slots[i] != 0 && t.entry(t.slots[i]) == e {
		t.unused = append(t.unused, t.slots[i])
		t.slots[i] = 0
	} else if !ok {
		delete(t.outside, e.ip)
	}
}

// all are the entries, in no useful order.
func (t *table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, place := range t.slots {
			if place != 0 && !yield(t.entry(place)) {
				return
			}
		}
		for _, e := range t.outside {
			if !yield(e) {
				return
			}
		}
	}
}
