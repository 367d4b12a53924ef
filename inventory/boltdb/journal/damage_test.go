package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// written is a journal whose files hold the remains of others, and what its last generation holds.
type written struct {
	path, name string
	generation uint64
	bytes      []byte // of the file
	appends    [][]string
	ends       []int // where each append ends
}

// writeJournal appends to a journal whose files were used before.
func writeJournal(t testing.TB, path string, earlier []string, appends [][]string) written {
	t.Helper()
	for _, name := range Names(path) {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	j := open(t, path)
	for range 3 {
		begin(t, j, 0)
		put(t, j, earlier...)
	}
	begin(t, j, 0)
	w := written{path: path, name: j.files[j.at].Name(), generation: j.Present(), appends: appends}
	for _, a := range appends {
		put(t, j, a...)
		w.ends = append(w.ends, int(j.off))
	}
	b, err := os.ReadFile(w.name)
	if err != nil {
		t.Fatal(err)
	}
	w.bytes = b
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// memoryDir is a folder in memory, where there is one: what a sync costs is no part of these tests.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hatchery-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// with reads the journal with the file's content replaced; ok is false when the generation is gone.
func (w *written) with(t testing.TB, b []byte) (got []string, d Damage, ok bool) {
	t.Helper()
	if err := os.WriteFile(w.name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := Open(w.path, testSize)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if !slices.Contains(j.Generations(), w.generation) {
		return nil, d, false
	}
	got, d = readDamaged(t, j, w.generation)
	return got, d, true
}

// TestEveryFlippedBitIsFoundAndPutRight: whatever single bit of what was appended flips, in the header, in a length, in a checksum or in a record,
// all records are read, and it is told.
func TestEveryFlippedBitIsFoundAndPutRight(t *testing.T) {
	t.Parallel()
	appends := [][]string{{"one", "two"}, {"three"}, {"four and some more", "five", "six"}, {"seven"}}
	w := writeJournal(t, filepath.Join(memoryDir(t), "j"), []string{"an", "earlier", "generation", "that was longer than what is in the file now, so that much of it is left"}, appends)
	want := slices.Concat(appends...)
	end := w.ends[len(w.ends)-1]
	for bit := range 8 * end {
		b := slices.Clone(w.bytes)
		b[bit/8] ^= 1 << (bit % 8)
		got, d, ok := w.with(t, b)
		if !ok || !slices.Equal(got, want) || d != (Damage{Repaired: 1}) {
			t.Fatalf("bit %d of byte %d flipped: got %q, %+v, %t; want all records and one put right", bit%8, bit/8, got, d, ok)
		}
	}
	for bit := 8 * end; bit < 8*len(w.bytes); bit += 13 { // nobody reads what is behind
		b := slices.Clone(w.bytes)
		b[bit/8] ^= 1 << (bit % 8)
		if got, d, ok := w.with(t, b); !ok || !slices.Equal(got, want) || d.Found() {
			t.Fatalf("bit %d of byte %d behind the end flipped: got %q, %+v, %t; want all records and nothing said", bit%8, bit/8, got, d, ok)
		}
	}
}

// TestALargeFileIsReadInPieces: all of it, and on behind damage, though no more is held than a few pieces.
func TestALargeFileIsReadInPieces(t *testing.T) {
	t.Parallel()
	const size, length = 20 * window, 50
	path := filepath.Join(memoryDir(t), "j")
	j, err := Open(path, size)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	begin(t, j, 0)
	var want []string
	for {
		r := fmt.Sprintf("%*d", length, len(want))
		if err := j.Append([][]byte{[]byte(r), []byte(r)}); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		want = append(want, r, r)
	}
	if got := read(t, j, j.Present()); !slices.Equal(got, want) {
		t.Fatalf("got %d records, want the %d that were written", len(got), len(want))
	}
	name, generation := j.files[j.at].Name(), j.Present()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[5*window-100 : 9*window+100]) // a hole that is longer than a reader looks at at once
	b[15*window] ^= 4
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if j, err = Open(path, size); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got, d := readDamaged(t, j, generation)
	holed := (4*window + 200) / (length + recordHead)
	if lost := len(want) - len(got); d != (Damage{Repaired: 1, Lost: 1}) || lost < holed || lost > holed+4 {
		t.Errorf("lost %d records of %d, %+v; want %d to %d, in one place, and one put right", lost, len(want), d, holed, holed+4)
	}
	for i, r := range got {
		if r != want[i] && r != want[len(want)-len(got)+i] {
			t.Fatalf("record %d is %q", i, r)
		}
	}
}

// TestDamageInTheMiddleLosesWhatItHit: bytes that nothing can put right cost the appends that they hit, and it is told.
func TestDamageInTheMiddleLosesWhatItHit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(memoryDir(t), "j")
	rapid.Check(t, func(rt *rapid.T) {
		words := rapid.SliceOfN(rapid.StringN(1, 40, 60), 1, 3)
		appends := rapid.SliceOfN(words, 2, 6).Draw(rt, "appends")
		w := writeJournal(t, path, words.Draw(rt, "earlier"), appends)
		last := len(appends) - 1
		from := rapid.IntRange(headerSize, w.ends[last-1]-1).Draw(rt, "from")
		to := min(from+rapid.IntRange(4, 60).Draw(rt, "bytes"), w.ends[last-1])
		b := slices.Clone(w.bytes)
		for i := from; i < to; i++ {
			b[i] ^= byte(rapid.IntRange(1, 255).Draw(rt, "byte"))
		}
		got, d, ok := w.with(t, b)
		if !ok || !d.Found() {
			rt.Fatalf("got %q, %+v, %t; want it to be told", got, d, ok)
		}
		// What was appended before and after what was hit is there; of the rest nothing that was not appended.
		var whole, all []string
		start := headerSize
		for i, a := range appends {
			if w.ends[i] <= from || start >= to {
				whole = append(whole, a...)
			}
			all, start = append(all, a...), w.ends[i]
		}
		if !subsequence(whole, got) || !subsequence(got, all) {
			rt.Errorf("bytes %d to %d of %v spoilt: got %q, want at least %q of %q", from, to, w.ends, got, whole, all)
		}
	})
}

// subsequence reports whether all of part is in all, in that order.
func subsequence(part, all []string) bool {
	for _, s := range all {
		if len(part) > 0 && part[0] == s {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// TestATornTailIsNoDamage: a power cut leaves the beginning of the last append, byte by byte, and then what was there
// before it: what is read is what was acknowledged, and nothing is said.
func TestATornTailIsNoDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(memoryDir(t), "j")
	for _, tail := range [][]string{{"the last"}, {"the last", "and more", "of it"}} {
		w := writeJournal(t, path, []string{"earlier records", "of whatever length", "they are left"}, [][]string{{"one", "two"}, {"three"}})
		before := slices.Clone(w.bytes)
		full := writeJournal(t, path, []string{"earlier records", "of whatever length", "they are left"}, [][]string{{"one", "two"}, {"three"}, tail})
		for cut := w.ends[1]; cut < full.ends[2]; cut++ {
			b := append(slices.Clone(full.bytes[:cut]), before[cut:]...)
			got, d, ok := full.with(t, b)
			n := 3
			for n < len(got) && n < 3+len(tail) && got[n] == tail[n-3] { // whole records of it may be there
				n++
			}
			if !ok || d.Found() || !slices.Equal(got[:3], []string{"one", "two", "three"}) || n != len(got) || n == 3+len(tail) {
				t.Fatalf("cut at %d of %d to %d: got %q, %+v, %t", cut, w.ends[1], full.ends[2], got, d, ok)
			}
		}
	}
}

// TestACutFileEnds: so does one whose end is not there at all.
func TestACutFileEnds(t *testing.T) {
	t.Parallel()
	w := writeJournal(t, filepath.Join(memoryDir(t), "j"), []string{"x"}, [][]string{{"one"}, {"two"}})
	for cut := headerSize; cut < w.ends[1]; cut++ {
		want := []string{"one"}
		if cut < w.ends[0] {
			want = nil
		}
		if got, d, ok := w.with(t, w.bytes[:cut]); !ok || d.Found() || !slices.Equal(got, want) {
			t.Errorf("cut at %d: got %q, %+v, %t, want %q", cut, got, d, ok, want)
		}
	}
}

// TestAHeaderThatIsGone: the records tell the generation.
func TestAHeaderThatIsGone(t *testing.T) {
	t.Parallel()
	w := writeJournal(t, filepath.Join(memoryDir(t), "j"), []string{"x"}, [][]string{{"one"}, {"two", "three"}})
	b := slices.Clone(w.bytes)
	copy(b, "no header at all....")
	if got, d, ok := w.with(t, b); !ok || !d.Found() || !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("got %q, %+v, %t, want all records, and that it is told", got, d, ok)
	}
	for i := headerSize; i < w.ends[1]; i++ {
		b[i] = 0xff
	}
	if _, _, ok := w.with(t, b); ok {
		t.Error("a file of which nothing is left has a generation")
	}
}

// TestTheFirstFormIsRead: files that programs before this one wrote.
func TestTheFirstFormIsRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(memoryDir(t), "j")
	b := append([]byte(magicOne), 7, 0, 0, 0, 0, 0, 0, 0)
	sum := crc32.Checksum(b, table)
	b = binary.LittleEndian.AppendUint32(b, sum)
	for _, r := range []string{"a", "bc", "def"} {
		start := len(b)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
		sum = crc32.Update(crc32.Update(sum, table, b[start:]), table, []byte(r))
		b = append(binary.LittleEndian.AppendUint32(b, sum), r...)
	}
	if err := os.WriteFile(Names(path)[1], append(b, make([]byte, testSize-len(b))...), 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, path)
	if diff := cmp.Diff([]string{"a", "bc", "def"}, read(t, j, 7)); diff != "" || !slices.Equal(j.Generations(), []uint64{7}) {
		t.Errorf("generations %v, records (-want +got):\n%s", j.Generations(), diff)
	}
	for range 2 { // and both files go on in the new one
		begin(t, j, 7)
		put(t, j, "new")
	}
	if got := j.Generations(); !slices.Equal(got, []uint64{8, 9}) || !slices.Equal(read(t, open(t, path), 9), []string{"new"}) {
		t.Errorf("generations after it: %v", got)
	}
}
