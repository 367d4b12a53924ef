package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/internal/lab"
)

// shell runs a script of the test's own as root; arguments are $1 and so on.
func shell(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", script, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestDiskTurnsReadOnly keeps the data on a file system that gives up in the middle, as ext4 does when its disk fails: from then
// on nothing can be written. Machines with a system of their own are sent to it, everything that cannot be done is said, and after a
// repair and a restart nothing that was acknowledged is missing.
func TestDiskTurnsReadOnly(t *testing.T) {
	chaos(t)
	dir := t.TempDir()
	image, disk := filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk")
	shell(t, `truncate -s 400M "$1"; mkfs.ext4 -q "$1"; mkdir "$2"; mount -o loop "$1" "$2"`, image, disk)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
	l := newLAN(t)
	a := startApplianceIn(t, l, filepath.Join(disk, "data"), serverFlags(l, "--discovery", "always", "--log-level", "info")...)
	s := &site{a, nil, newSims(t, a, 0, 3)}
	shell(t, `find "$1" -type f -exec sync {} +`, filepath.Join(s.data, "stage0")) // the test's copy; what the appliance wrote it syncs itself
	bootAll(t, time.Minute, s.sims[:2]...)
	shell(t, `mount -o remount,abort "$1" || :`, disk)
	eventually(t, 40*time.Second, func() string { // the next write meets it
		_ = s.sims[0].lease(t.Context(), 1)
		res, err := s.http.Get(s.url("/healthz"))
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			return "/healthz says " + res.Status
		}
		return ""
	})
	if text, err := s.fetchBoot(t.Context(), s.sims[1].http, "/boot.ipxe?mac="+strings.ReplaceAll(s.sims[1].mac, ":", "-")+"&uuid=&serial=&platform=efi&buildarch=x86_64", 1<<16); err != nil || !strings.HasPrefix(text, "#!ipxe") {
		t.Errorf("the script of a machine while nothing can be written: %v\n%s", err, text)
	}
	if code, err := s.call(http.MethodPost, "/hosts", map[string]string{"mac": "52:54:00:fd:0d:01", "name": "late"}, nil); err == nil || code < 500 {
		t.Errorf("a host was taken although nothing can be written: %d %v", code, err)
	} else {
		t.Logf("refused: %v", err)
	}
	if log := s.logTail(200); !strings.Contains(log, "database not writable any more") {
		t.Errorf("the log does not say it:\n%s", s.logTail(10))
	}
	s.crash()
	// A copy: namespaces of other tests may still hold the old mount.
	shell(t, `umount "$1"; cp --sparse=always "$2" "$2.new"; e2fsck -fy "$2.new" >/dev/null || [ $? -le 1 ]; mount -o loop "$2.new" "$1"`, disk, image)
	s.start()
	s.sound(t)
	eventually(t, time.Minute, func() string { // made at the first start, perhaps cut short by the fault
		if _, err := os.Stat(filepath.Join(s.data, "hive", "flake.nix")); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestReadOnlyDataFolder starts the program over a folder that it cannot write to.
func TestReadOnlyDataFolder(t *testing.T) {
	chaos(t)
	l := newLAN(t)
	data := t.TempDir()
	shell(t, `mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"`, data)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", data).Run() })
	out, err := l.Command(within(t, 30*time.Second), lab.Appliance, built(t, "hatchery"), "serve", "--data", data, "--interface", "eth0", "--dhcp", "proxy").CombinedOutput()
	if err == nil || !strings.Contains(string(out), data) || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("got %v\n%s", err, out)
	}
	t.Log(tail(string(out), 2))
}

// TestSlowSync lets every sync of the disk take half a second.
func TestSlowSync(t *testing.T) {
	chaos(t)
	s := newSite(t, 4)
	strace := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=500000", "-p", fmt.Sprint(s.proc.PID()))
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = strace.Process.Signal(os.Interrupt) // lets go of the process
			_ = strace.Wait()
		}
	}
	t.Cleanup(end)
	eventually(t, 10*time.Second, func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.proc.PID()))
		if err != nil || strings.Contains(string(b), "TracerPid:\t0\n") {
			return fmt.Sprintf("strace does not hold it: %v", err)
		}
		return ""
	})
	for range 2 {
		began := time.Now()
		bootAll(t, 3*time.Minute, s.sims...)
		t.Logf("4 machines booted in %.1f s", time.Since(began).Seconds())
	}
	s.crash()
	end()
	s.start()
	s.sound(t)
}

// TestFewFiles leaves the process room for a few more open files and takes them all with idle connections.
func TestFewFiles(t *testing.T) {
	chaos(t)
	s := newSite(t, 3)
	bootAll(t, time.Minute, s.sims...)
	open := len(shellLines(t, fmt.Sprintf("ls /proc/%d/fd", s.proc.PID())))
	var was unix.Rlimit
	if err := unix.Prlimit(s.proc.PID(), unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(s.proc.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(open + 12), Max: was.Max}, nil); err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for range 60 {
		c, err := s.lan.Dial(t.Context(), s.sims[0].side, "tcp", s.addr.String()+":8080")
		if err != nil {
			break
		}
		idle = append(idle, c)
	}
	t.Logf("%d idle connections on %d open files, %d allowed", len(idle), open, open+12)
	if err := s.sims[1].lease(t.Context(), 6); err != nil { // its sockets are open: needs no file
		t.Errorf("no address while all files are open: %v", err)
	}
	for _, c := range idle {
		_ = c.Close()
	}
	bootAll(t, 2*time.Minute, s.sims...) // within the same small limit
	if err := unix.Prlimit(s.proc.PID(), unix.RLIMIT_NOFILE, &was, nil); err != nil {
		t.Fatal(err)
	}
	s.sound(t)
}

func shellLines(t *testing.T, script string) []string {
	t.Helper()
	return strings.Fields(shell(t, script))
}

// TestLittleMemory holds the process to 128 MiB, file cache and all (a memory cgroup), while eight machines boot and fetch at once.
func TestLittleMemory(t *testing.T) {
	chaos(t)
	s := newSite(t, 8)
	kind, top, file, peak := "cgroup -o memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
	if _, err := os.Stat(filepath.Join(top, file)); err != nil {
		kind, top, file, peak = "cgroup2", "/sys/fs/cgroup", "memory.max", "memory.peak"
	}
	group := filepath.Join(top, s.lan.Name())
	_ = os.Remove(group) // of a run that was killed; it has no process any more
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no memory cgroups here: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(filepath.Join(group, file), []byte("134217728"), 0o644); err != nil {
		t.Skipf("this cgroup takes no limit: %v", err)
	}
	s.crash()
	p, err := s.lan.StartReady(within(t, time.Minute), lab.Appliance, s.log, "sh", append([]string{"-ec", `mount -t $1 none "$2"; echo $$ >"$2/$3/cgroup.procs"; shift 3; exec "$@"`, "sh", kind, t.TempDir(), s.lan.Name(), built(t, "hatchery"),
		"serve", "--data", s.data, "--interface", "eth0", "--ipxe", built(t, "ipxe")}, s.args...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.proc = p
	for range 3 {
		bootAll(t, 3*time.Minute, s.sims...)
	}
	b, err := os.ReadFile(filepath.Join(group, peak))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	t.Logf("at most %.0f of 128 MiB in use, file cache included (%v)", n/(1<<20), err)
	select {
	case <-p.Done():
		t.Errorf("the process was ended: %v", p.Err())
	default:
	}
	s.sound(t)
	s.crash() // leaves the group, which can be removed then
	s.start()
	s.sound(t)
}
