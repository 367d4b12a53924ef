package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"syscall"
)

// Damage is what Read found that no power cut leaves behind.
type Damage struct {
	Repaired int // records, or the header, that one flipped bit had spoilt, and that were read all the same
	Lost     int // places at which one or more records could not be read
}

// Found reports whether anything was damaged.
func (d Damage) Found() bool { return d != Damage{} }

// place is room for what a record's checksum begins with: of its own, because what crc32 is given is allocated anew otherwise.
type place [24]byte

// checksum is a record's: before is the one before it in the same append.
func checksum(place *place, generation uint64, off int64, before, head uint32, record []byte) uint32 {
	*place = [24]byte{}
	binary.LittleEndian.PutUint64(place[0:], generation)
	binary.LittleEndian.PutUint64(place[8:], uint64(off))
	binary.LittleEndian.PutUint32(place[16:], head)
	if head&first == 0 {
		binary.LittleEndian.PutUint32(place[20:], before)
	}
	return crc32.Update(crc32.Checksum(place[:], table), table, record)
}

// header reads a file's: the generation, 0 = none; whether it is of the first form; whether it is damaged, which one flipped bit is
// put right of.
func header(h [headerSize]byte) (generation uint64, one, spoilt bool) {
	if h == [headerSize]byte{} {
		return 0, false, false
	}
	read := func() bool {
		one = string(h[:8]) == magicOne
		return (one || string(h[:8]) == magic) && crc32.Checksum(h[:16], table) == binary.LittleEndian.Uint32(h[16:])
	}
	if read() {
		return binary.LittleEndian.Uint64(h[8:]), one, false
	}
	for bit := range 8 * headerSize {
		h[bit/8] ^= 1 << (bit % 8)
		if read() {
			return binary.LittleEndian.Uint64(h[8:]), one, true
		}
		h[bit/8] ^= 1 << (bit % 8)
	}
	return 0, false, true
}

// guess finds the generation of a file with a damaged header by its records: the two files take turns.
func (j *Journal) guess(i int) error {
	for _, step := range []uint64{1, ^uint64(0), 2, 3} {
		g := j.gens[1-i] + step
		if g == 0 || g == ^uint64(0) {
			continue
		}
		found := false
		if err := j.with(i, g, func(r *reader) error {
			_, found = r.begins(headerSize)
			return nil
		}); err != nil {
			return err
		}
		if found {
			j.gens[i] = g
			return nil
		}
	}
	return nil // a torn one: nothing in it was acknowledged
}

// with calls fn with a reader of a file's records, of what was written by this run, or of all of it. What it reads is fn's only until it
// returns: its memory is the system's and goes back to it at once, not the collector's, whose room would stay twice as large.
func (j *Journal) with(i int, generation uint64, fn func(r *reader) error) (err error) {
	size := j.size
	if i == j.at {
		size = j.off
	}
	b, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("room to read %s: %w", j.files[i].Name(), err)
	}
	defer func() { err = errors.Join(err, syscall.Munmap(b)) }()
	r := &reader{b: b, file: j.files[i], generation: generation}
	if err = fn(r); err == nil && r.err != nil {
		err = fmt.Errorf("read %s: %w", j.files[i].Name(), r.err)
	}
	return err
}

// Read calls fn for each record of a generation, in the order they were appended in. The record is fn's only until it
// returns.
func (j *Journal) Read(generation uint64, fn func(record []byte) error) (d Damage, err error) {
	i := slices.Index(j.gens[:], generation)
	if i < 0 || generation == 0 {
		return d, fmt.Errorf("journal %s has no generation %d", j.path, generation)
	}
	if i == j.at && j.off == 0 {
		return d, nil // not written yet
	}
	if j.spoilt[i] {
		d.Repaired++
	}
	err = j.with(i, generation, func(r *reader) error {
		switch {
		case !r.fill(headerSize):
			return nil
		case j.one[i]:
			r.fill(len(r.b))
			return readOne(r.b[:r.have], fn)
		}
		return r.all(&d, fn)
	})
	return d, err
}

// all calls fn for each record, and counts in d what is damaged.
func (r *reader) all(d *Damage, fn func(record []byte) error) error {
	for off, before := headerSize, uint32(0); ; {
		r.drop(off)
		n, ok := r.record(off, before)
		if !ok {
			if n, ok = r.repair(off, before); ok {
				d.Repaired++
			}
		}
		if !ok {
			if off, before, ok = r.next(off); !ok {
				return nil
			}
			d.Lost++
			continue
		}
		if err := fn(r.b[off+recordHead : off+recordHead+n]); err != nil {
			return err
		}
		off, before = off+recordHead+n, binary.LittleEndian.Uint32(r.b[off+4:])
	}
}

// reader reads the records of one file, from its beginning to its end: of a file of megabytes it holds what it looks at.
type reader struct {
	b          []byte // room for the whole file; its memory is taken as it is filled
	have, gone int    // it holds the bytes from gone on, up to have
	file       io.ReaderAt
	err        error // why no more could be read
	place      place
	generation uint64
}

// window is how many bytes a reader reads, and lets go of, at a time: whole pages.
const window = 64 << 10

// fill reports whether the file has so many bytes, and reads them.
func (r *reader) fill(to int) bool {
	for r.have < to && to <= len(r.b) && r.err == nil {
		n, err := r.file.ReadAt(r.b[r.have:min(r.have+window, len(r.b))], int64(r.have))
		r.have += n
		switch {
		case errors.Is(err, io.EOF): // it is shorter than it should be
			r.b = r.b[:r.have]
		case err != nil:
			r.err = err
		}
	}
	return to <= r.have
}

// drop gives the memory of what lies before off back: nobody looks at it any more.
func (r *reader) drop(off int) {
	if off-r.gone < 2*window {
		return
	}
	to := off / window * window
	_ = syscall.Madvise(r.b[r.gone:to], syscall.MADV_DONTNEED) // without it more is held, that is all
	r.gone = to
}

// head is the length of the record that would be at off, 0 = there is none, and its head as it stands there.
func (r *reader) head(off int) (n int, head uint32) {
	if !r.fill(off + recordHead) {
		return 0, 0
	}
	head = binary.LittleEndian.Uint32(r.b[off:])
	if n = int(head &^ first); n > maxRecord || !r.fill(off+recordHead+n) {
		return 0, head
	}
	return n, head
}

// record is the length of the record at off; false when none is there.
func (r *reader) record(off int, before uint32) (int, bool) {
	n, head := r.head(off)
	if n == 0 {
		return 0, false
	}
	sum := checksum(&r.place, r.generation, int64(off), before, head, r.b[off+recordHead:off+recordHead+n])
	return n, sum == binary.LittleEndian.Uint32(r.b[off+4:])
}

// mostRepaired is how long a record may be for a flipped bit to be sought in it, in bytes.
const mostRepaired = 4096

// repair puts a record right that one flipped bit spoilt: the bit that makes it fit is the one. That something else is
// taken for a record so is as likely as that a checksum fits by chance, some thousand in 2^32.
func (r *reader) repair(off int, before uint32) (int, bool) {
	if !r.fill(off + recordHead) {
		return 0, false
	}
	n, _ := r.head(off)
	if n > mostRepaired {
		n = 0
	}
	for bit := range 8 * (recordHead + n) {
		at := &r.b[off+bit/8]
		*at ^= 1 << (bit % 8)
		if n, ok := r.record(off, before); ok {
			return n, true
		}
		*at ^= 1 << (bit % 8)
	}
	return 0, false
}

// next finds where records go on behind one that cannot be read: behind its length, when that and its checksum are
// whole, or at the next append.
func (r *reader) next(off int) (next int, before uint32, ok bool) {
	if n, _ := r.head(off); n > 0 {
		sum := binary.LittleEndian.Uint32(r.b[off+4:])
		if _, ok := r.record(off+recordHead+n, sum); ok {
			return off + recordHead + n, sum, true
		}
	}
	next, ok = r.begins(off + 1)
	return next, 0, ok
}

// begins finds the first whole record at or behind off that begins an append.
func (r *reader) begins(off int) (int, bool) {
	for ; r.fill(off + recordHead + 1); off++ {
		r.drop(off)
		if r.b[off+3] != first>>24 { // most are none: a record is shorter than 2^24 bytes
			continue
		}
		if _, ok := r.record(off, 0); ok {
			return off, true
		}
	}
	return 0, false
}

// readOne reads a file of the first form.
func readOne(b []byte, fn func(record []byte) error) error {
	sum := binary.LittleEndian.Uint32(b[16:])
	for off := headerSize; off+recordHead <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[off:]))
		if n == 0 || n > maxRecord || off+recordHead+n > len(b) {
			return nil
		}
		record := b[off+recordHead : off+recordHead+n]
		sum = crc32.Update(crc32.Update(sum, table, b[off:off+4]), table, record)
		if sum != binary.LittleEndian.Uint32(b[off+4:]) {
			return nil
		}
		if err := fn(record); err != nil {
			return err
		}
		off += recordHead + n
	}
	return nil
}
