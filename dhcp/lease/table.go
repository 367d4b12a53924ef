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
	size    uint32
	slots   []*[slotsAtOnce]*entry // nil = nothing is known
	outside map[uint32]*entry
}

// slotsAtOnce is for how many addresses room is made when something is known of the first of them: a large range may be nearly empty.
const slotsAtOnce = 256

func newTable(r Range) table {
	return table{first: num(r.First), size: uint32(r.Size()), slots: make([]*[slotsAtOnce]*entry, (r.Size()+slotsAtOnce-1)/slotsAtOnce), outside: map[uint32]*entry{}}
}

// slot is an address's place in the range.
func (t *table) slot(ip uint32) (uint32, bool) {
	i := ip - t.first // of a lower address: more than any range has
	return i, i < t.size
}

// at is the entry of an address; nil when nothing is known of it.
func (t *table) at(ip uint32) *entry {
	i, ok := t.slot(ip)
	if !ok {
		return t.outside[ip]
	}
	if c := t.slots[i/slotsAtOnce]; c != nil {
		return c[i%slotsAtOnce]
	}
	return nil
}

// set makes e the entry of an address in the range; nil = nothing is known of it any more.
func (t *table) set(i uint32, e *entry) {
	c := &t.slots[i/slotsAtOnce]
	if *c == nil {
		*c = new([slotsAtOnce]*entry)
	}
	(*c)[i%slotsAtOnce] = e
}

// make is at, made when there is none.
func (t *table) make(ip uint32) *entry {
	e := t.at(ip)
	if e != nil {
		return e
	}
	e = &entry{ip: ip}
	if i, ok := t.slot(ip); ok {
		t.set(i, e)
	} else {
		t.outside[ip] = e
	}
	return e
}

// tidy drops an entry that says nothing any more.
func (t *table) tidy(e *entry) {
	if !e.blank() {
		return
	}
	if i, ok := t.slot(e.ip); ok {
		t.set(i, nil)
	} else {
		delete(t.outside, e.ip)
	}
}

// all are the entries, in no useful order.
func (t *table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, c := range t.slots {
			if c == nil {
				continue
			}
			for _, e := range c {
				if e != nil && !yield(e) {
					return
				}
			}
		}
		for _, e := range t.outside {
			if !yield(e) {
				return
			}
		}
	}
}
