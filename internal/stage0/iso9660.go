package stage0

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reading a file's place in an ISO 9660 image (ECMA-119 §8.4, §9.1), with the real names of
// Rock Ridge (RRIP 1.12 §4.1.4) where they are.
const (
	isoSector    = 2048
	maxDirectory = 1 << 20
)

var errNotISO = errors.New("not an ISO 9660 image")

// findInISO tells where a file's bytes are. The image is trusted no more than any other
// file: every place and size is checked against the image's own.
func findInISO(r io.ReaderAt, size int64, path string) (at, n int64, err error) {
	pvd := make([]byte, isoSector)
	if _, err := r.ReadAt(pvd, 16*isoSector); err != nil || string(pvd[1:6]) != "CD001" || pvd[0] != 1 {
		return 0, 0, errNotISO
	}
	dir, found := isoRecord(pvd[156:190])
	if !found {
		return 0, 0, errNotISO
	}
	parts := strings.Split(path, "/")
	for i, name := range parts {
		next, err := findInDirectory(r, size, dir, name)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", strings.Join(parts[:i+1], "/"), err)
		}
		if next.folder != (i < len(parts)-1) {
			return 0, 0, fmt.Errorf("%s: not what was expected there", strings.Join(parts[:i+1], "/"))
		}
		dir = next
	}
	if dir.at < 0 || dir.size <= 0 || dir.at+dir.size > size {
		return 0, 0, fmt.Errorf("%s lies outside the image", path)
	}
	return dir.at, dir.size, nil
}

// isoEntry is one directory record.
type isoEntry struct {
	name     string
	at, size int64
	folder   bool
}

func findInDirectory(r io.ReaderAt, size int64, dir isoEntry, name string) (isoEntry, error) {
	if dir.size <= 0 || dir.size > maxDirectory || dir.at+dir.size > size {
		return isoEntry{}, errNotISO
	}
	b := make([]byte, dir.size)
	if _, err := r.ReadAt(b, dir.at); err != nil && !errors.Is(err, io.EOF) {
		return isoEntry{}, fmt.Errorf("directory: %w", err)
	}
	for i := 0; i < len(b); {
		n := int(b[i])
		if n == 0 { // records do not cross sectors: go on with the next one
			i = (i/isoSector + 1) * isoSector
			continue
		}
		if i+n > len(b) {
			break
		}
		if e, ok := isoRecord(b[i : i+n]); ok && strings.EqualFold(e.name, name) {
			return e, nil
		}
		i += n
	}
	return isoEntry{}, errors.New("is not in the image: was it built as a Hatchery USB image?")
}

// isoRecord reads one directory record.
func isoRecord(b []byte) (isoEntry, bool) {
	if len(b) < 34 || 33+int(b[32]) > len(b) {
		return isoEntry{}, false
	}
	e := isoEntry{at: int64(binary.LittleEndian.Uint32(b[2:])) * isoSector, size: int64(binary.LittleEndian.Uint32(b[10:])), folder: b[25]&2 != 0}
	nameLen := int(b[32])
	e.name, _, _ = strings.Cut(string(b[33:33+nameLen]), ";")
	rest := 33 + nameLen
	rest += rest % 2 // a padding byte makes the system use area start at an even place
	if rr := rockRidge(b[min(rest, len(b)):]); rr != "" {
		e.name = rr
	}
	return e, true
}

// rockRidge is the name in the NM entries of a record's system use area, "" when there are none.
func rockRidge(b []byte) string {
	var name strings.Builder
	for len(b) >= 4 && int(b[2]) >= 4 && int(b[2]) <= len(b) {
		if string(b[:2]) == "NM" && b[2] >= 5 {
			name.Write(b[5:b[2]])
		}
		b = b[b[2]:]
	}
	return name.String()
}
