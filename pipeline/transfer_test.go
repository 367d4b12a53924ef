package pipeline

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestCopiedBytesAreShown sends 6 MB of a system of 5 the way nixos-anywhere does, and looks at what a person sees meanwhile.
func TestCopiedBytesAreShown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hive.bytes = 5e6
	r.cfg.NixosAnywhere = append(r.cfg.NixosAnywhere, "--copy", "6")
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	var seen []uint64
	r.until(m, "was installed", func(h inventory.Host) bool {
		var done, total uint64
		if n, err := fmt.Sscanf(h.Step, "install: copying the system, %d of %d MB", &done, &total); n == 2 && err == nil && total == 5 {
			seen = append(seen, done)
		}
		return h.State == inventory.StateInstalled
	})
	seen = slices.Compact(seen)
	if !slices.IsSorted(seen) || len(seen) < 2 || seen[len(seen)-1] < 4 || seen[len(seen)-1] > 5 {
		t.Errorf("shown in turn: %v of 5 MB, want steps up to 5", seen)
	}
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
	tr := newTransfer(mark)
	stop := []func(){run("ssh"), run("tar")}
	var n uint64
	for deadline := time.Now().Add(10 * time.Second); n < 1e6 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
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
