package stage0

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testISO is a minimal ISO 9660 image: root, hatchery/ (with its name in Rock Ridge), and
// PERSONAL.JSON;1 of 4 KiB.
func testISO(t testing.TB) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xcc}, 64*isoSector)
	record := func(name string, lba, size uint32, folder bool, rr string) []byte {
		r := make([]byte, 33, 255)
		binary.LittleEndian.PutUint32(r[2:], lba)
		binary.LittleEndian.PutUint32(r[10:], size)
		if folder {
			r[25] = 2
		}
		r[32] = byte(len(name))
		r = append(r, name...)
		if len(r)%2 == 1 {
			r = append(r, 0)
		}
		if rr != "" {
			r = append(r, 'N', 'M', byte(5+len(rr)), 1, 0)
			r = append(r, rr...)
			r = append(r, 'P', 'X', 4, 1)
		}
		r[0] = byte(len(r))
		return r
	}
	put := func(sector int, parts ...[]byte) {
		d := bytes.Join(parts, nil)
		copy(b[sector*isoSector:], append(d, make([]byte, isoSector-len(d))...))
	}
	pvd := make([]byte, isoSector)
	pvd[0] = 1
	copy(pvd[1:], "CD001")
	copy(pvd[156:], record("\x00", 20, isoSector, true, ""))
	copy(b[16*isoSector:], pvd)
	put(20, record("\x00", 20, isoSector, true, ""), record("\x01", 20, isoSector, true, ""), record("OTHER.;1", 40, 10, false, ""), record("HATCH000", 21, isoSector, true, "hatchery"))
	put(21, record("\x00", 21, isoSector, true, ""), record("PERSONAL.JSON;1", 30, 4096, false, ""))
	copy(b[30*isoSector:], bytes.Repeat([]byte("\n"), 4096))
	return b
}

func isoStore(t *testing.T, content []byte) *Store {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stage0-x86_64.iso"), content)
	s, _ := open(t, dir)
	return s
}

func TestISOIsPersonalisedInPlace(t *testing.T) {
	t.Parallel()
	base := testISO(t)
	s := isoStore(t, base)
	iso, err := s.ISO("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"token":"abc"}`)
	r, err := iso.Personal(text)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(base)
	copy(want[30*isoSector:], text)
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d with only the area changed", len(got), err, len(want))
	}
	for _, c := range []struct {
		name    string
		off, to int64
	}{
		{"before the area", 0, 30 * isoSector},
		{"into the area", 30*isoSector - 3, 30*isoSector + 5},
		{"inside the area", 30*isoSector + 2, 30*isoSector + 9},
		{"out of the area", 30*isoSector + 4090, 30*isoSector + 4100},
		{"across all of it", 30*isoSector - 1, 32*isoSector + 1},
	} {
		p := make([]byte, c.to-c.off)
		if _, err := r.ReadAt(p, c.off); err != nil || !bytes.Equal(p, want[c.off:c.to]) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := iso.Personal(make([]byte, 4097)); !errors.Is(err, ErrTooLong) {
		t.Errorf("a text that does not fit: %v", err)
	}
	if again, err := s.ISO("x86_64"); err != nil || again != iso {
		t.Errorf("opened again: %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "stage0-x86_64.iso"), base[:len(base)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := iso.Personal(text); err == nil || !strings.Contains(err.Error(), "changed in place") {
		t.Errorf("an image overwritten in place: %v", err)
	}
}

func TestISOThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	other := testISO(t)
	copy(other[21*isoSector:22*isoSector], bytes.Repeat([]byte{0}, isoSector))
	outside := testISO(t)
	binary.LittleEndian.PutUint32(outside[21*isoSector+34+2:], 1<<30)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"no ISO at all":                   {make([]byte, 100_000), "not an ISO 9660"},
		"a short file":                    {[]byte("x"), "not an ISO 9660"},
		"another ISO":                     {other, "Hatchery USB image"},
		"an area that lies outside of it": {outside, "outside"},
		"a directory that lies outside":   {testISO(t)[:20*isoSector], "not an ISO 9660"},
	} {
		if _, err := isoStore(t, c.b).ISO("x86_64"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	s, _ := open(t, t.TempDir())
	if _, err := s.ISO("x86_64"); !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "nix build") {
		t.Errorf("a missing image: %v", err)
	}
	if _, err := s.ISO("../x"); !errors.Is(err, ErrNoImage) {
		t.Errorf("an unknown architecture: %v", err)
	}
}

func TestISOOfTheSameSizeAndAgeIsNoticed(t *testing.T) {
	t.Parallel()
	base := testISO(t)
	s := isoStore(t, base)
	path := s.isoPath("x86_64")
	nix := time.Unix(1, 0) // as all files of the Nix store
	if err := os.Chtimes(path, nix, nix); err != nil {
		t.Fatal(err)
	}
	old, err := s.ISO("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	next := bytes.Clone(base)
	next[50*isoSector]++
	tmp := path + ".next"
	write(t, tmp, next)
	if err := errors.Join(os.Chtimes(tmp, nix, nix), os.Rename(tmp, path)); err != nil {
		t.Fatal(err)
	}
	iso, err := s.ISO("x86_64")
	if err != nil || iso.Digest == old.Digest {
		t.Errorf("the replaced image: %v, digest %s as before", err, iso.Digest)
	}
	if again, err := s.ISO("x86_64"); err != nil || again != iso {
		t.Errorf("an image that is the same was hashed again: %v", err)
	}
}

func TestAddBringsTheISOAlong(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	testImage(t, filepath.Join(src, "x86_64"), "x86_64", "1")
	write(t, filepath.Join(src, "stage0-x86_64.iso"), testISO(t))
	s, _ := open(t, t.TempDir())
	for range 2 {
		if _, err := s.Add(src); err != nil {
			t.Fatal(err)
		}
	}
	if iso, err := s.ISO("x86_64"); err != nil || iso.Size != 64*isoSector {
		t.Errorf("%+v, %v", iso, err)
	}
}

func FuzzFindInISO(f *testing.F) {
	b := testISO(f)
	f.Add(b[16*isoSector:17*isoSector], b[20*isoSector:21*isoSector])
	f.Fuzz(func(t *testing.T, pvd, dir []byte) {
		img := make([]byte, 24*isoSector)
		copy(img[16*isoSector:17*isoSector], pvd)
		copy(img[20*isoSector:], dir[:min(len(dir), 4*isoSector)])
		at, n, err := findInISO(bytes.NewReader(img), int64(len(img)), PersonalFile)
		if err == nil && (at < 0 || n <= 0 || at+n > int64(len(img))) {
			t.Errorf("an area at %d of %d bytes", at, n)
		}
	})
}
