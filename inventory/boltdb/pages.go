package boltdb

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
)

// The layout of a page (bbolt v1.5.0 internal/common/page.go, in the machine's byte order).
const (
	pageHeader   = 16 // id, flags, count of elements, count of further pages
	pageElement  = 16 // of a leaf: flags, pos, ksize, vsize; of a branch: pos, ksize, id
	bucketHeader = 16 // the value of a bucket: page of its root, or 0 and the page itself behind it; its sequence number

	flagBranch, flagLeaf, flagFreelist = 0x01, 0x02, 0x10
)

const (
	readAtOnce  = 256 << 10 // so much of the file is read by one call: what the processor's cache holds
	checkers    = 4         // that read side by side, at most
	noBucket    = -1        // the tree of the buckets themselves
	noFreelist  = ^uint64(0)
	manyInFront = 0xffff // a freelist this long has its real length as its first entry
)

// pageCheck reads every page in use once, in the order of the file and past bbolt's memory map: so the pages stay the
// kernel's, a fault in them cannot end the program, and a large site is through in a fifth of a second. It proves what
// bbolt's own check does (every page belongs to exactly one tree or the free ones, all keys are in order), that the
// elements of a page lie behind one another without a gap, and sums up the records.
type pageCheck struct {
	file    io.ReaderAt
	size    int    // of a page, in bytes
	pages   uint64 // ever used
	owned   []bool // by page: it belongs to something
	buckets []bucketCheck
}

type bucketCheck struct {
	name   string
	prefix uint32 // what the sum of every record begins with
	sum    sum
}

// pageRef is a page that another one refers to.
type pageRef struct {
	id       uint64
	bucket   int    // its place in pageCheck.buckets, or noBucket
	further  uint32 // pages that belong to it, once it was read
	min, max []byte // its keys are min or more and less than max; nil = any
}

// found is what one page after another came to.
type found struct {
	children []pageRef
	buckets  []foundBucket
	sums     map[int]sum
}

type foundBucket struct {
	name      string
	root, seq uint64
	inline    []byte // the bucket's only page; nil when it has a root
}

// checkPages reads all pages in use. ErrCorrupt.
func checkPages(tx *bbolt.Tx, file io.ReaderAt) ([]bucketCheck, error) {
	size := tx.DB().Info().PageSize
	c := &pageCheck{file: file, size: size, pages: uint64(tx.Size() / int64(size))}
	c.owned = make([]bool, c.pages)
	root := uint64(tx.Cursor().Bucket().Root())
	if err := errors.Join(c.own(0, 1), c.checkFree(uint64(tx.ID()), root)); err != nil {
		return nil, err
	}
	level := []pageRef{{id: root, bucket: noBucket}}
	for len(level) > 0 {
		next, err := c.checkLevel(level)
		if err != nil {
			return nil, err
		}
		level = next
	}
	if id := slices.Index(c.owned, false); id >= 0 {
		return nil, damaged(uint64(id), "belongs to nothing")
	}
	return c.buckets, nil
}

func damaged(page uint64, what string) error {
	return fmt.Errorf("%w: page %d %s", ErrCorrupt, page, what)
}

// own marks a page and those behind it as belonging to something.
func (c *pageCheck) own(id uint64, further uint32) error {
	if id >= c.pages || uint64(further) >= c.pages-id {
		return damaged(id, "is longer than the file")
	}
	for i := id; i <= id+uint64(further); i++ {
		if c.owned[i] {
			return damaged(i, "belongs to two things")
		}
		c.owned[i] = true
	}
	return nil
}

// checkFree marks the list of free pages and what it lists; the meta page of the transaction says where it is.
func (c *pageCheck) checkFree(txid, root uint64) error {
	list := noFreelist
	for id := range 2 {
		m := make([]byte, 72) // magic, version, page size, flags; root, sequence, freelist, pages, transaction, sum
		if err := c.read(m, uint64(id)); err != nil {
			return err
		}
		if u := func(at int) uint64 { return binary.NativeEndian.Uint64(m[pageHeader+at:]) }; u(48) == txid && u(16) == root {
			list = u(32)
		}
	}
	if list == noFreelist {
		return fmt.Errorf("%w: it does not say which pages are free", ErrCorrupt)
	}
	head := make([]byte, pageHeader+8)
	if list >= c.pages {
		return damaged(list, "is not in the file")
	}
	if err := c.read(head, list); err != nil {
		return err
	}
	h := headerOf(head)
	if h.id != list || h.flags != flagFreelist {
		return damaged(list, "is not the list of free pages")
	}
	if err := c.own(list, h.further); err != nil {
		return err
	}
	raw := make([]byte, c.bytes(h.further))
	if err := c.read(raw, list); err != nil {
		return err
	}
	raw = raw[pageHeader:]
	count := uint64(h.count)
	if h.count == manyInFront {
		count, raw = binary.NativeEndian.Uint64(raw), raw[8:]
	}
	if count > uint64(len(raw)/8) {
		return damaged(list, "lists more free pages than it has room for")
	}
	for i := range count {
		if err := c.own(binary.NativeEndian.Uint64(raw[8*i:]), 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *pageCheck) bytes(further uint32) int { return (int(further) + 1) * c.size }

func (c *pageCheck) read(into []byte, page uint64) error {
	if _, err := c.file.ReadAt(into, int64(page)*int64(c.size)); err != nil {
		return fmt.Errorf("%w: page %d cannot be read: %w", ErrCorrupt, page, err)
	}
	return nil
}

// checkLevel checks the pages and returns the ones they refer to.
func (c *pageCheck) checkLevel(level []pageRef) ([]pageRef, error) {
	slices.SortFunc(level, func(a, b pageRef) int { return cmp.Compare(a.id, b.id) })
	if last := level[len(level)-1].id; last >= c.pages {
		return nil, damaged(last, "is not in the file")
	}
	n := min(runtime.GOMAXPROCS(0), checkers, 1+len(level)/64)
	results := make([]found, n)
	var g errgroup.Group
	for i := range n {
		from, to := i*len(level)/n, (i+1)*len(level)/n
		limit := c.pages // no page of a part reaches into the next one's
		if to < len(level) {
			limit = level[to].id
		}
		g.Go(func() (err error) {
			results[i], err = c.checkPart(level[from:to], limit)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, r := range level {
		if err := c.own(r.id, r.further); err != nil {
			return nil, err
		}
	}
	var next []pageRef
	for _, f := range results {
		next = append(next, f.children...)
		for b, s := range f.sums {
			c.buckets[b].sum.take(s)
		}
		for _, b := range f.buckets {
			root, err := c.begin(b)
			if err != nil {
				return nil, err
			}
			next = append(next, root...)
		}
	}
	return next, nil
}

// begin adds a bucket, and returns its root when that is a page of the file.
func (c *pageCheck) begin(b foundBucket) ([]pageRef, error) {
	at := len(c.buckets)
	c.buckets = append(c.buckets, bucketCheck{name: b.name, prefix: prefixOf(b.name), sum: sum{seq: b.seq}})
	if b.inline == nil {
		return []pageRef{{id: b.root, bucket: at}}, nil
	}
	f := found{sums: map[int]sum{}}
	if h := headerOf(b.inline); h.flags != flagLeaf || h.further != 0 {
		return nil, fmt.Errorf("%w: the records of %q are not where they were written", ErrCorrupt, b.name)
	}
	if err := c.checkPage(&pageRef{bucket: at}, b.inline, &f); err != nil {
		return nil, fmt.Errorf("the records of %q: %w", b.name, err)
	}
	c.buckets[at].sum.take(f.sums[at])
	return nil, nil
}

// checkPart checks pages in the order of the file, which end before the page limit.
func (c *pageCheck) checkPart(part []pageRef, limit uint64) (found, error) {
	f := found{sums: map[int]sum{}}
	buf := make([]byte, readAtOnce)
	for len(part) > 0 {
		first, n := part[0].id, 1
		for n < len(part) && part[n].id-part[n-1].id <= 8 && c.bytes(uint32(part[n].id-first)) <= readAtOnce {
			n++
		}
		end := min(part[n-1].id+8, first+uint64(readAtOnce/c.size), c.pages) // some pages more, for what is longer
		chunk := buf[:int(end-first)*c.size]
		if err := c.read(chunk, first); err != nil {
			return f, err
		}
		for i := range n {
			next := limit
			if i+1 < len(part) {
				next = part[i+1].id
			}
			if err := c.checkRef(&part[i], chunk[int(part[i].id-first)*c.size:], next, &f); err != nil {
				return f, err
			}
		}
		part = part[n:]
	}
	return f, nil
}

// checkRef checks a page of which raw is the beginning, and which ends before the page next.
func (c *pageCheck) checkRef(r *pageRef, raw []byte, next uint64, f *found) error {
	h := headerOf(raw)
	if h.id != r.id {
		return damaged(r.id, "is another")
	}
	if r.further = h.further; next <= r.id || uint64(h.further) >= next-r.id {
		return damaged(r.id, "reaches into the next one")
	}
	all := c.bytes(h.further)
	if all > len(raw) {
		raw = make([]byte, all)
		if err := c.read(raw, r.id); err != nil {
			return err
		}
	}
	return c.checkPage(r, raw[:all], f)
}

// checkPage checks what is on a page.
func (c *pageCheck) checkPage(r *pageRef, raw []byte, f *found) error {
	h := headerOf(raw)
	head := pageHeader + int(h.count)*pageElement
	if head > len(raw) || !contiguous(raw[:head], h.flags == flagLeaf, len(raw)) {
		return damaged(r.id, "has its elements not where they were written")
	}
	switch h.flags {
	case flagLeaf:
		return c.checkLeaf(r, raw, f)
	case flagBranch:
		return c.checkBranch(r, slices.Clone(raw), f) // its keys are the children's bounds
	}
	return damaged(r.id, "is not one of records")
}

// checkLeaf checks a page of records, whose elements are contiguous.
func (c *pageCheck) checkLeaf(r *pageRef, raw []byte, f *found) error {
	var s sum
	last := r.min
	for off := pageHeader; off < pageHeader+int(headerOf(raw).count)*pageElement; off += pageElement {
		flags, pos := binary.NativeEndian.Uint32(raw[off:]), binary.NativeEndian.Uint32(raw[off+4:])
		data := raw[off+int(pos):]
		keySize, size := binary.NativeEndian.Uint32(raw[off+8:]), binary.NativeEndian.Uint32(raw[off+12:])
		key, value := data[:keySize], data[keySize:keySize+size]
		if !inOrder(last, key, off == pageHeader, r.max) {
			return damaged(r.id, "is not in order")
		}
		last = key
		switch {
		case flags == 0 && r.bucket != noBucket:
			s.count++
			s.crc ^= recordCRC(c.buckets[r.bucket].prefix, key, value)
		case flags == 1 && r.bucket == noBucket && len(value) >= bucketHeader:
			b := foundBucket{name: string(key), root: binary.NativeEndian.Uint64(value), seq: binary.NativeEndian.Uint64(value[8:])}
			if b.root == 0 {
				if b.inline = slices.Clone(value[bucketHeader:]); len(b.inline) < pageHeader {
					return damaged(r.id, "has an empty bucket")
				}
			}
			f.buckets = append(f.buckets, b)
		default:
			return damaged(r.id, "has records of another kind")
		}
	}
	if r.bucket != noBucket {
		all := f.sums[r.bucket]
		all.take(s)
		f.sums[r.bucket] = all
	}
	return nil
}

// checkBranch checks a page of references, whose elements are contiguous.
func (c *pageCheck) checkBranch(r *pageRef, raw []byte, f *found) error {
	last, before := r.min, len(f.children)
	for off := pageHeader; off < pageHeader+int(headerOf(raw).count)*pageElement; off += pageElement {
		pos, size := binary.NativeEndian.Uint32(raw[off:]), binary.NativeEndian.Uint32(raw[off+4:])
		key := raw[off+int(pos):][:size]
		if !inOrder(last, key, off == pageHeader, r.max) {
			return damaged(r.id, "is not in order")
		}
		if n := len(f.children); n > before {
			f.children[n-1].max = key
		}
		f.children = append(f.children, pageRef{id: binary.NativeEndian.Uint64(raw[off+8:]), bucket: r.bucket, min: key, max: r.max})
		last = key
	}
	if len(f.children) == before {
		return damaged(r.id, "leads nowhere")
	}
	return nil
}

// inOrder reports whether a key follows the one before it (the first of a page may be the same as its bound) and is less than end.
func inOrder(last, key []byte, first bool, end []byte) bool {
	order := bytes.Compare(last, key)
	return (order < 0 || order == 0 && first) && (end == nil || bytes.Compare(key, end) < 0)
}

type header struct {
	id      uint64
	flags   uint16
	count   uint16
	further uint32
}

func headerOf(raw []byte) header {
	u := binary.NativeEndian
	return header{u.Uint64(raw), u.Uint16(raw[8:]), u.Uint16(raw[10:]), u.Uint32(raw[12:])}
}

// contiguous reports whether the data of a page's elements fills it from behind the elements on; raw is its head.
func contiguous(raw []byte, leaf bool, size int) bool {
	at := uint64(len(raw))
	for off := pageHeader; off < len(raw); off += pageElement {
		e := raw[off : off+pageElement]
		var value uint32
		if leaf {
			value, e = binary.NativeEndian.Uint32(e[12:]), e[4:]
		}
		pos, key := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
		if key == 0 || uint64(off)+uint64(pos) != at {
			return false
		}
		at += uint64(key) + uint64(value)
	}
	return at <= uint64(size)
}
