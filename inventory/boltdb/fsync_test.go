package boltdb

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// strace runs the test program under strace with faults injected into fdatasync; it skips where that is
// not possible. The program itself is the child (-D), so that it can be killed.
func strace(t *testing.T, inject string) *exec.Cmd {
	t.Helper()
	args := []string{"-D", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:" + inject}
	out, err := exec.Command("strace", append(args, "true")...).CombinedOutput()
	if err != nil {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatalf("strace: %v\n%s", err, out)
		}
		t.Skipf("needs strace and the right to trace: %v", err)
	}
	return exec.Command("strace", append(args, os.Args[0])...)
}

// fsyncUpdates is how many updates the child tries.
const fsyncUpdates = 20

// fsyncChild tries updates one after another on one thread, because strace counts per thread, and prints
// what it was told of each; then a lease.
func fsyncChild(dir string) {
	runtime.LockOSThread()
	d, err := Open(Config{Path: filepath.Join(dir, "hatchery.db")})
	if err != nil {
		fmt.Println("open", err)
		os.Exit(1)
	}
	say := func(what string, err error) {
		switch {
		case err == nil:
			fmt.Println(what, "acknowledged")
		case errors.Is(err, ErrDisk) && errors.Is(err, syscall.EIO):
			fmt.Println(what, "failed")
		default:
			fmt.Println(what, err)
		}
	}
	for n := range fsyncUpdates {
		say(fmt.Sprint("update ", n), d.Update(func(tx *inventory.Tx) error { return tx.Put("x", fmt.Sprintf("%06d", n), make([]byte, 3000)) }))
	}
	say("lease", d.CommitLeases(crashLease(1, 1)))
	if err := d.Health(); !errors.Is(err, ErrDisk) {
		fmt.Println("health:", err)
	}
	err = d.View(func(tx *inventory.Tx) error { _, err := tx.Get("x", "000000"); return err })
	fmt.Println("reads:", err)
	if err := d.Close(); err != nil {
		fmt.Println("close", err)
	}
	os.Exit(0)
}

// TestFailedFsyncIsNeverAcknowledged lets one sync fail, of a commit's data or of its end, and the next
// ones succeed again, as Linux does: no later write may build on what is perhaps not there.
func TestFailedFsyncIsNeverAcknowledged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, inject string
		good         int // updates before the fault: each syncs twice
	}{
		{"the sync of the data fails once", "error=EIO:when=11", 5},
		{"the sync of the end fails once", "error=EIO:when=12", 5},
		{"every sync fails", "error=EIO", 0},
		{"every sync fails from some time on", "error=EIO:when=15+", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := strace(t, c.inject)
			dir := t.TempDir()
			closed(t, open(t, filepath.Join(dir, "hatchery.db")))
			cmd.Env = append(os.Environ(), "HATCHERY_FSYNC_DIR="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("child: %v\n%s", err, out)
			}
			var want strings.Builder
			for n := range fsyncUpdates {
				word := "acknowledged"
				if n >= c.good {
					word = "failed"
				}
				fmt.Fprintln(&want, "update", n, word)
			}
			want.WriteString("lease failed\nreads: <nil>\n")
			if diff := cmp.Diff(want.String(), string(out)); diff != "" {
				t.Errorf("what the child was told (-want +got):\n%s", diff)
			}
			checkFsync(t, open(t, filepath.Join(dir, "hatchery.db")), c.good)
		})
	}
}

// checkFsync looks for all that was acknowledged, and nothing that was refused; the one update whose sync
// failed may be there or not. The database takes updates again.
func checkFsync(t *testing.T, d *DB, good int) {
	t.Helper()
	n := 0
	if err := d.View(func(tx *inventory.Tx) error {
		return tx.Scan("x", "", "", func(k string, v []byte) (bool, error) {
			if k != fmt.Sprintf("%06d", n) || len(v) != 3000 {
				t.Errorf("record %d: got %s of %d bytes", n, k, len(v))
			}
			n++
			return true, nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if n != good && n != good+1 {
		t.Errorf("records: got %d, want %d or one more", n, good)
	}
	if leases, err := d.Leases(); err != nil || len(leases) != 0 {
		t.Errorf("leases: got %v, %v, want none", leases, err)
	}
	if err := d.Update(func(tx *inventory.Tx) error { return tx.Put("x", "again", nil) }); err != nil {
		t.Errorf("after opening it again: %v", err)
	}
}

// TestSlowFsyncLosesNothing kills a writing process whose disk takes its time for every sync.
func TestSlowFsyncLosesNothing(t *testing.T) {
	t.Parallel()
	rounds := 2
	if os.Getenv("HATCHERY_FULL") == "1" {
		rounds = 30
	}
	dir := t.TempDir()
	acked := map[string]int{}
	for round := range rounds {
		crashRound(t, strace(t, "delay_enter=30000"), dir, acked, 5+rand.IntN(20))
		checkCrashed(t, dir, acked)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was ever acknowledged")
	}
}

func TestWhatLeavesTheFileUncertain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"a failed sync", syscall.EIO, true},
		{"a sync that finds the disk full", syscall.ENOSPC, true},
		{"a failed write", &fs.PathError{Op: "write", Err: syscall.EIO}, true},
		{"a full disk", &fs.PathError{Op: "write", Err: syscall.ENOSPC}, false},
		{"a quota", &fs.PathError{Op: "write", Err: syscall.EDQUOT}, false},
		{"a failed sync of the grown file", fmt.Errorf("file sync error: %s", syscall.EIO), true},
		{"a file that cannot grow", fmt.Errorf("file resize error: %s", syscall.ENOSPC), false},
	} {
		if got := diskFailed(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
