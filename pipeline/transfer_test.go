package pipeline

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestCopiedBytesAreShown sends 6 MB of a system of 5 the way nixos-anywhere does, in two halves, and looks at what a person sees
// after each.
func TestCopiedBytesAreShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hive.bytes = 5e6
	pipe := filepath.Join(r.dir, "closure")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	closure, err := os.OpenFile(pipe, os.O_RDWR, 0) // for both, so that nobody waits for the other to open it
	if err != nil {
		t.Fatal(err)
	}
	defer closure.Close()
	if err := closure.SetWriteDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	r.cfg.NixosAnywhere = append(r.cfg.NixosAnywhere, "--copy", pipe)
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	var seen []uint64
	for _, least := range []uint64{2, 5} { // of the last bytes some are still in pipes
		if _, err := closure.Write(make([]byte, 3e6)); err != nil {
			t.Fatal(err)
		}
		r.until(m, fmt.Sprintf("showed %d MB", least), func(h inventory.Host) bool {
			var done, total uint64
			if n, err := fmt.Sscanf(h.Step, "install: copying the system, %d of %d MB", &done, &total); n == 2 && err == nil && total == 5 {
				seen = append(seen, done)
			}
			return len(seen) > 0 && seen[len(seen)-1] >= least
		})
		if least == 2 && seen[len(seen)-1] > 3 {
			t.Errorf("after 3 MB %d MB are shown", seen[len(seen)-1])
		}
	}
	if !slices.IsSorted(seen) || seen[len(seen)-1] != 5 {
		t.Errorf("shown in turn: %v of 5 MB, want steps up to 5", slices.Compact(seen))
	}
	if err := closure.Close(); err != nil {
		t.Fatal(err)
	}
	r.untilState(m, inventory.StateInstalled)
	if j := r.job(m); j.State != inventory.JobDone {
		t.Errorf("the job is %s", j.State)
	}
}

// TestTransferCountsOnlySSH: what other programs of a job read is no copy, and what an ended one read stays counted.
func TestTransferCountsOnlySSH(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mark := dir + ":job"
	run := func(name string) (stop func()) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.Symlink("/bin/cat", path); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path)
		cmd.Env = append(os.Environ(), jobVar+"="+mark)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write([]byte(strings.Repeat("x", 1e6))); err != nil {
			t.Fatal(err)
		}
		return func() {
			in.Close()
			_ = cmd.Wait()
		}
	}
	tr := newTransfer(thread{}, mark)
	stop := []func(){run("ssh"), run("tar")}
	var n uint64
	for deadline := time.Now().Add(60 * time.Second); n < 1e6 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		n = tr.look()
	}
	for _, s := range stop {
		s()
	}
	if n < 1e6 || n > 1.5e6 { // beside the bytes cat reads its libraries
		t.Errorf("got %d bytes, want a million and a little", n)
	}
	if after := tr.look(); after != n {
		t.Errorf("after its end: got %d bytes, want %d", after, n)
	}
}
