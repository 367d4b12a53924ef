package boltdb

import (
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// The layout of a page (bbolt v1.5.0 internal/common/page.go, in the machine's byte order).
const (
	pageHeader  = 16 // id, flags, count of elements, count of further pages
	pageElement = 16 // of a leaf: flags, pos, ksize, vsize; of a branch: pos, ksize, id
)

// checkPages holds the elements of every page in use against what bbolt writes: they lie behind one another without
// a gap. bbolt's own check follows a damaged length wherever it leads, in a goroutine of its own, where a fault in
// the memory map ends the program. ErrCorrupt.
func checkPages(tx *bbolt.Tx, file io.ReaderAt) error {
	size := tx.DB().Info().PageSize
	for id := 2; ; id++ {
		p, err := tx.Page(id)
		if err != nil {
			return err
		}
		if p == nil {
			return nil
		}
		if p.Type != "branch" && p.Type != "leaf" {
			if p.Type == "freelist" {
				id += p.OverflowCount
			}
			continue
		}
		all := (p.OverflowCount + 1) * size
		if over := int64(id)*int64(size) + int64(all) - tx.Size(); over > 0 || pageHeader+p.Count*pageElement > all {
			return fmt.Errorf("%w: page %d is longer than the file", ErrCorrupt, id)
		}
		raw := make([]byte, pageHeader+p.Count*pageElement)
		if _, err := file.ReadAt(raw, int64(id)*int64(size)); err != nil {
			return err
		}
		if !contiguous(raw, p.Type == "leaf", all) {
			return fmt.Errorf("%w: the elements of page %d are not where they were written", ErrCorrupt, id)
		}
		id += p.OverflowCount
	}
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
