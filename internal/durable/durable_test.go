package durable

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("HATCHERY_DURABLE"); path != "" { // the child of TestWhatIsWrittenIsOnTheDisk
		if err := WriteFile(path, []byte("secret"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestWhatIsWrittenIsOnTheDisk has the kernel's calls listed: the file is synced before it gets its name, then the folder, and each
// folder that was made is followed by a sync of the one above.
func TestWhatIsWrittenIsOnTheDisk(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatalf("strace: %v\n%s", err, out)
		}
		t.Skipf("needs strace and the right to trace: %v", err)
	}
	root, calls := t.TempDir(), filepath.Join(t.TempDir(), "calls")
	path := filepath.Join(root, "secrets", "disks", "key")
	for _, c := range []struct {
		name string
		want []string
	}{
		{"with its folders", []string{"made /secrets", "synced /", "made /secrets/disks", "synced /secrets", "synced a file", "named /secrets/disks/key", "synced /secrets/disks"}},
		{"in place of the one before", []string{"synced a file", "named /secrets/disks/key", "synced /secrets/disks"}},
	} {
		cmd := exec.Command("strace", "-f", "-y", "-s", "4096", "-qq", "-o", calls, "-e", "trace=/mkdir.*|rename.*|fsync|fdatasync", os.Args[0])
		cmd.Env = append(os.Environ(), "HATCHERY_DURABLE="+path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		raw, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(c.want, told(string(raw), root)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", c.name, diff, raw)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	if left, err := filepath.Glob(filepath.Join(root, "secrets", "disks", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// told is what strace's lines say of the files below root.
func told(lines, root string) (out []string) {
	for line := range strings.Lines(lines) {
		paths := slices.DeleteFunc(strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(`"<>`, r) }), func(s string) bool { return !strings.HasPrefix(s, root) })
		if len(paths) == 0 || strings.Contains(line, " = -1 ") { // one that strace tells in two parts counts where it began
			continue
		}
		last := strings.TrimPrefix(paths[len(paths)-1], root)
		switch {
		case strings.Contains(line, "mkdir"):
			out = append(out, "made "+last)
		case strings.Contains(line, "rename"):
			out = append(out, "named "+last)
		case strings.Contains(last, "/."): // on its way to its name
			out = append(out, "synced a file")
		default:
			out = append(out, "synced "+cmp.Or(last, "/"))
		}
	}
	return out
}

func TestWriteFileSaysWhatItCouldNotWrite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(file, "below"), nil, 0o600); err == nil || !strings.Contains(err.Error(), filepath.Join(file, "below")) {
		t.Errorf("below a file: got %v", err)
	}
}
