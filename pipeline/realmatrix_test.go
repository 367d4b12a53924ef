package pipeline

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// realNS is set in the run of the test binary that has a network of its own.
const realNS = "HATCHERY_TEST_NETNS"

// inOwnNetwork runs the test once more in a network and mount namespace of its own, and reports whether this is that run.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs root, namespaces, loop devices and the stage-0 stand-in: set HATCHERY_E2E=1 to run it")
	}
	if os.Getenv(realNS) == "1" {
		return true
	}
	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c", `ip link set lo up; exec "$@"`, "sh",
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.parallel=8", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), realNS+"=1")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if err != nil || strings.Contains(line, "--- ") || strings.Contains(line, "ended as") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("in its own network: %v", err)
	}
	return false
}

// TestRealDisturbances disturbs a job once in each of its steps, against a machine of real programs, processes, mounts and
// disks: the appliance is killed and started again, a person cancels, the cable is pulled for longer than a machine may
// be silent, the machine's power is cut. Whatever happens, the job ends honestly, never two runs meet on the machine, nothing
// is written after the flip, nothing of a job that has ended runs on either side, a retry completes it, and what was on the
// persistent disk stays.
func TestRealDisturbances(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	n := 0
	t.Cleanup(func() {
		if dir, err := unpacked(); err == nil {
			os.RemoveAll(dir)
		}
	})
	t.Run("matrix", func(t *testing.T) {
		for _, kind := range []string{"killed", "cancelled", "unplugged", "without power"} {
			for _, step := range Steps(inventory.Host{}, testRole("plain"), plan0, inventory.Job{}) {
				n++
				no := n
				t.Run(kind+" in step "+step.Name, func(t *testing.T) {
					t.Parallel()
					disturbReal(t, no, kind, step.Name)
				})
			}
		}
	})
}

func disturbReal(t *testing.T, n int, kind, step string) {
	s := newSite(t, step)
	m := newReal(t, s, n)
	m.powerOn()
	// The persistent disk holds what an earlier install put there.
	s.must(order{Do: "assign", MAC: m.mac, Name: "node1", Role: "plain"})
	s.until(m.mac, "came to the step", func(a answer) bool {
		at, detail, _ := strings.Cut(a.Host.Step, ": ")
		return at == step && (step != StepInstall || detail == "formatting the disks") || a.Host.State == inventory.StateInstalled
	})
	switch kind {
	case "killed":
		s.kill(syscall.SIGKILL)
		s.start("")
	case "cancelled":
		if _, err := s.do(order{Do: "cancel", MAC: m.mac}); err != nil && !strings.Contains(err.Error(), "installed") {
			t.Error(err)
		}
	case "unplugged":
		m.unplug(7 * time.Second)
	case "without power":
		m.off()
		m.powerOn()
	}
	a := s.until(m.mac, "came to an end", func(a answer) bool { return !a.Job.Open() })
	t.Logf("ended as %s in step %q: %s", a.Host.State, a.Host.Step, a.Host.Error)
	nothingLeft(t, s, m, a)
	a = m.complete(t, kind, a)
	m.checkDisks(t, a)
	if b, err := os.ReadFile(filepath.Join(m.root, "var/violations")); err == nil {
		t.Errorf("on the machine: %s", b)
	}
	if t.Failed() {
		t.Log(s.log(m.mac))
	}
}

// TestRealFullDisk fills the appliance's disk before a job begins: it fails in words with nothing written, goes on being readable,
// and a retry completes it once there is room.
func TestRealFullDisk(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	r := newRig(t)
	r.cfg.Dir = t.TempDir()
	if err := syscall.Mount("tmpfs", r.cfg.Dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(r.cfg.Dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r.start()
	m := r.machine(1)
	m.powerOn()
	full := filepath.Join(r.cfg.Dir, "full")
	if err := os.WriteFile(full, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	r.assign(m, "node1", "plain")
	h := r.untilState(m, inventory.StateFailed)
	if !strings.Contains(h.Hint, "free space") || h.Wrote {
		t.Errorf("step %s: %s %s, wrote %t", h.Step, h.Error, h.Hint, h.Wrote)
	}
	if text := r.logText(m); !strings.Contains(text, "FAILED") {
		t.Errorf("its log: %s", text)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	r.retry(m)
	r.untilState(m, inventory.StateInstalled)
}

// nothingLeft demands that nothing of a job that has ended runs on the appliance, and nothing of a cancelled one on the machine.
func nothingLeft(t *testing.T, s *site, m *realMachine, a answer) {
	t.Helper()
	mark := jobVar + "=" + filepath.Join(s.dir, "data") + ":" + string(a.Job.ID)
	if pids, err := marked(thread{}, []byte(mark)); err != nil || len(pids) > 0 {
		t.Errorf("programs of the job that go on: %v, %v", pids, err)
	}
	if a.Job.State != inventory.JobCancelled || a.Host.State != inventory.StateReady {
		return
	}
	out, err := m.ask(a.Host.HostKey, "grep ' /mnt' /proc/mounts; ps | grep -E '[m]kfs|[s]cript-node1|[p]lant'; exit 0\n")
	if err != nil || out != "" {
		t.Errorf("left on the machine after the cancel: %v\n%s", err, out)
	}
}

// complete takes the job to its end: a failure must have words and is retried, a cancelled host gets its role again.
func (m *realMachine) complete(t *testing.T, kind string, a answer) answer {
	t.Helper()
	switch {
	case a.Host.State == inventory.StateInstalled && (a.Job.State == inventory.JobDone || kind == "cancelled" && a.Host.EverFlipped):
		return a
	case a.Job.State == inventory.JobCancelled:
		if kind != "cancelled" || !a.Host.Held || a.Host.State != inventory.StateReady {
			t.Fatalf("cancelled: state %s, held %t", a.Host.State, a.Host.Held)
		}
		m.must(order{Do: "assign", MAC: m.mac, Name: "node1", Role: "plain"})
	case a.Host.State == inventory.StateFailed:
		if kind == "cancelled" || a.Host.Error == "" || a.Host.Hint == "" {
			t.Errorf("failed after it was %s, error %q, hint %q", kind, a.Host.Error, a.Host.Hint)
		}
		m.must(order{Do: "retry", MAC: m.mac})
	}
	end := m.until(m.mac, "completed", func(a answer) bool { return !a.Job.Open() })
	if end.Host.State != inventory.StateInstalled || end.Job.State != inventory.JobDone {
		t.Fatalf("the second try: state %s, step %s: %s (first: %s)\n%s", end.Host.State, end.Host.Step, end.Host.Error, a.Host.Error, m.log(m.mac))
	}
	return end
}

// checkDisks looks at the installed disk: the planted key is there with its mode, and is the one that was recorded.
func (m *realMachine) checkDisks(t *testing.T, a answer) {
	t.Helper()
	m.off()
	at := filepath.Join(m.dir, "os.mnt")
	m.sh(mountDisk, m.loops["os"], at)
	got := m.sh("cd $1 && stat -c '%a %n' etc/ssh/ssh_host_ed25519_key; ssh-keygen -y -f etc/ssh/ssh_host_ed25519_key", at)
	m.sh("for i in $(seq 100); do umount $1 2>/dev/null && exit; sleep 0.05; done; umount $1", at)
	mode, key, _ := strings.Cut(strings.TrimSpace(got), "\n")
	if want := "600 etc/ssh/ssh_host_ed25519_key"; mode != want || !strings.HasPrefix(key, a.Host.InstalledKey) {
		t.Errorf("planted: got %q %q, want %q %q", mode, key, want, a.Host.InstalledKey)
	}
}
