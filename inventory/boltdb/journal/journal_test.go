package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testSize = 4096

func open(t testing.TB, path string) *Journal {
	t.Helper()
	j, err := Open(path, testSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // closed already in some tests
	return j
}

func begin(t testing.TB, j *Journal, after uint64) {
	t.Helper()
	if err := j.Next(after); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, j *Journal, records ...string) {
	t.Helper()
	var list [][]byte
	for _, r := range records {
		list = append(list, []byte(r))
	}
	if err := j.Append(list); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, j *Journal, generation uint64) (got []string) {
	t.Helper()
	got, _ = readDamaged(t, j, generation)
	return got
}

func readDamaged(t testing.TB, j *Journal, generation uint64) (got []string, d Damage) {
	t.Helper()
	d, err := j.Read(generation, func(r []byte) error { got = append(got, string(r)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got, d
}

func TestRecordsAreThereAfterReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j")
	j := open(t, path)
	if err := j.Append([][]byte{{1}}); !errors.Is(err, ErrFull) {
		t.Errorf("append before a generation was begun: got %v, want ErrFull", err)
	}
	begin(t, j, 7)
	put(t, j, "a", "b")
	put(t, j, "c")
	j = open(t, path)
	if got := j.Generations(); !slices.Equal(got, []uint64{8}) {
		t.Errorf("generations: got %v, want 8 alone", got)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, read(t, j, 8)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if err := j.Append([][]byte{{1}}); !errors.Is(err, ErrFull) {
		t.Errorf("append to what another run began: got %v, want ErrFull", err)
	}
	if _, err := j.Read(9, nil); err == nil {
		t.Error("a generation that is not there: got no error")
	}
}

func TestFilesAreTakenInTurn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j")
	j := open(t, path)
	var last []string
	for gen := uint64(1); gen < 8; gen++ {
		begin(t, j, 0)
		if gen > 1 {
			if diff := cmp.Diff(last, read(t, j, gen-1)); diff != "" {
				t.Fatalf("generation %d while %d is the present one (-want +got):\n%s", gen-1, gen, diff)
			}
		}
		last = nil
		for i := 0; ; i++ {
			r := fmt.Sprintf("%d/%d", gen, i)
			if err := j.Append([][]byte{[]byte(r)}); errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			last = append(last, r)
		}
		if diff := cmp.Diff(last, read(t, open(t, path), gen)); diff != "" || len(last) < 100 {
			t.Fatalf("generation %d, %d records (-want +got):\n%s", gen, len(last), diff)
		}
	}
	for _, name := range Names(path) {
		if info, err := os.Stat(name); err != nil || info.Size() != testSize {
			t.Errorf("%s: %v, %v, want %d bytes as ever", name, info, err, testSize)
		}
	}
}

func TestRecordsThatAreNone(t *testing.T) {
	t.Parallel()
	j := open(t, filepath.Join(t.TempDir(), "j"))
	begin(t, j, 0)
	for _, r := range [][]byte{nil, make([]byte, maxRecord+1)} {
		if err := j.Append([][]byte{{1}, r}); err == nil {
			t.Errorf("record of %d bytes: got no error", len(r))
		}
	}
	put(t, j, "a")
	if diff := cmp.Diff([]string{"a"}, read(t, j, 1)); diff != "" {
		t.Errorf("after refused ones (-want +got):\n%s", diff)
	}
}

// TestRemainsAreNoRecords: records of an earlier generation lie exactly where the next ones of this one will.
func TestRemainsAreNoRecords(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j")
	j := open(t, path)
	begin(t, j, 0)
	put(t, j, "one", "two", "six")
	begin(t, j, 0)
	begin(t, j, 0)
	put(t, j, "ten")
	if diff := cmp.Diff([]string{"ten"}, read(t, open(t, path), 3)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
