// Package journal keeps records in files that are only appended to: one write and one sync make any
// number of records durable, whatever the size of what they belong to.
//
// There are two files of fixed size, written full of zeros when they are made, so that an append
// changes no length and no block map: the sync is that of the bytes alone, and a full disk is
// met when the files are made, not later. One file is appended to until it is full (ErrFull); its owner then
// begins the next generation in the other one (Next) and moves what the full one holds to where
// it belongs, before that is overwritten in turn.
//
// On the disk: a header of magic, generation and checksum; then records of length, checksum, bytes. A
// record's checksum covers generation and place, and the checksum before it unless it is the first of its append, which its
// length says: what an earlier generation or a failed append left behind, or a power cut let through out of order, is never
// taken for a record. A record that does not fit its checksum ends the file, for it was never acknowledged; but when
// one bit puts it right, or a later record is whole, it is damage: Read goes on behind it and says so. The
// first form (magic hatchlj1), whose checksums hang on each other from the header on, is still read, up to the first that does not fit.
//
// It knows nothing of what the records mean.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

const (
	magic      = "hatchlj2"
	magicOne   = "hatchlj1" // see the package's comment
	headerSize = 8 + 8 + 4  // magic, generation, checksum
	recordHead = 4 + 4      // length, checksum
	first      = 1 << 31    // added to the length of the first record of an append
	maxRecord  = 1 << 16    // of one record; a longer length is not a record
)

// ErrFull says that the records do not fit the present generation, or that none was begun.
var ErrFull = errors.New("journal is full")

var table = crc32.MakeTable(crc32.Castagnoli)

// Journal is the open pair of files. Not safe for concurrent use, but for Read of a generation that is not the
// present one.
type Journal struct {
	path   string
	size   int64
	files  [2]*os.File // nil = not made yet
	gens   [2]uint64   // what each holds; 0 = nothing
	one    [2]bool     // it is of the first form
	spoilt [2]bool     // its header was damaged
	at     int         // the file of the present generation; -1 = none was begun
	off    int64       // where its next record goes; 0 = its header is not written yet
	buf    []byte
	place  place // of Append
}

// Names are the files of the journal at path.
func Names(path string) []string { return []string{path + "-0", path + "-1"} }

// Open opens what there is of the journal at path. It makes and changes nothing. size is the length of
// each file to be made, in bytes.
func Open(path string, size int64) (*Journal, error) {
	j := &Journal{path: path, size: size, at: -1}
	for i, name := range Names(path) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, j.Close())
		}
		j.files[i] = f
		var h [headerSize]byte
		if _, err := f.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), j.Close())
		}
		j.gens[i], j.one[i], j.spoilt[i] = header(h)
	}
	for i := range j.files {
		if j.spoilt[i] && j.gens[i] == 0 {
			if err := j.guess(i); err != nil {
				return nil, errors.Join(err, j.Close())
			}
		}
	}
	return j, nil
}

// Generations are those that hold records, oldest first; the present one is the last.
func (j *Journal) Generations() []uint64 {
	gens := slices.DeleteFunc(slices.Clone(j.gens[:]), func(g uint64) bool { return g == 0 })
	slices.Sort(gens)
	return gens
}

// Next begins a new generation, higher than after and all there are, in the file that holds the older one: whose records the
// caller has moved elsewhere. The first time it makes both files. Nothing is written to them before Append.
func (j *Journal) Next(after uint64) error {
	if err := j.Make(); err != nil {
		return err
	}
	older := 0
	if j.gens[1] < j.gens[0] {
		older = 1
	}
	j.gens[older] = max(after, j.gens[0], j.gens[1]) + 1
	j.at, j.off, j.one[older], j.spoilt[older] = older, 0, false, false
	return nil
}

// Make makes the files that are not there yet, in their full length: from then on no full disk stands in the way.
func (j *Journal) Make() error {
	for i, name := range Names(j.path) {
		if j.files[i] != nil {
			continue
		}
		f, err := create(name, j.size)
		if err != nil {
			return err
		}
		j.files[i] = f
	}
	return nil
}

// File is the file of a generation, "" when none has it.
func (j *Journal) File(generation uint64) string {
	if i := slices.Index(j.gens[:], generation); i >= 0 && generation != 0 {
		return Names(j.path)[i]
	}
	return ""
}

// Present is the generation that is appended to, 0 when there is none.
func (j *Journal) Present() uint64 {
	if j.at < 0 {
		return 0
	}
	return j.gens[j.at]
}

// End ends the present generation: nothing more is appended to it.
func (j *Journal) End() { j.at = -1 }

// create makes a file of zeros, whole or not at all.
func create(name string, size int64) (f *os.File, err error) {
	if f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(name))
		}
	}()
	zeros := make([]byte, 1<<16)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return f, err
		}
	}
	if err := f.Sync(); err != nil {
		return f, err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return f, err
	}
	return f, errors.Join(d.Sync(), d.Close())
}

// Append writes the records and returns when they are on disk: all of them, or, after an error, perhaps some.
// ErrFull: nothing was written. After a failed sync (a syscall.Errno) the journal must not be used any more:
// what the system could not write it forgets.
func (j *Journal) Append(records [][]byte) error {
	if j.at < 0 {
		return ErrFull
	}
	b, sum := j.buf[:0], uint32(0)
	if j.off == 0 {
		b = append(b, magic...)
		b = binary.LittleEndian.AppendUint64(b, j.gens[j.at])
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, table))
	}
	for i, r := range records {
		if len(r) == 0 || len(r) > maxRecord {
			return fmt.Errorf("a journal record of %d bytes: want 1 to %d", len(r), maxRecord)
		}
		head := uint32(len(r))
		if i == 0 {
			head |= first
		}
		sum = checksum(&j.place, j.gens[j.at], j.off+int64(len(b)), sum, head, r)
		b = binary.LittleEndian.AppendUint32(b, head)
		b = binary.LittleEndian.AppendUint32(b, sum)
		b = append(b, r...)
	}
	j.buf = b[:0]
	if j.off+int64(len(b)) > j.size {
		return ErrFull
	}
	f := j.files[j.at]
	if _, err := f.WriteAt(b, j.off); err != nil {
		return err
	}
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("sync %s: %w", f.Name(), err)
		}
		break
	}
	j.off += int64(len(b))
	return nil
}

// Close lets go of the files.
func (j *Journal) Close() error {
	var errs []error
	for _, f := range j.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
