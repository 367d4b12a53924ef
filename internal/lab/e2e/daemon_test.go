package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// startNixDaemon runs a nix-daemon on a socket of its own, outside all folders that an appliance may write to. It builds
// into the machine's store, like root's nix in the other tests.
func startNixDaemon(t *testing.T) (socket string, log func() string) {
	t.Helper()
	program, err := exec.LookPath("nix-daemon")
	if err != nil {
		t.Fatalf("nix-daemon (Debian: nix-bin): %v", err)
	}
	dir, err := os.MkdirTemp("/run", "hatchery-nix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "socket")
	c := exec.Command(program)
	c.Env = append(os.Environ(), "NIX_DAEMON_SOCKET_PATH="+socket)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(os.Chmod(dir, 0o755), c.Start(), out.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // killed
	})
	log = func() string {
		b, err := os.ReadFile(out.Name())
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	eventually(t, 30*time.Second, func() string {
		if _, err := os.Stat(socket); err != nil {
			return fmt.Sprintf("nix-daemon: %v\n%s", err, log())
		}
		return ""
	})
	return socket, log
}

// waitingForPower is a data folder with a machine that checked in once and is off now.
func waitingForPower(t *testing.T, data string) {
	t.Helper()
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(data, "hatchery.db")})
	if err != nil {
		t.Fatal(err)
	}
	mac := inventory.MAC{0x52, 0x54, 0, 0xda, 0xe0, 1}
	disk := func(name string, size uint64) inventory.Disk {
		return inventory.Disk{ID: "virtio-" + name, Name: "vda", Serial: name, SizeBytes: size, Type: "ssd", Transport: "virtio"}
	}
	err = db.Update(func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "00000000000000da", MAC: mac, MACs: []inventory.MAC{mac}, State: inventory.StateReady,
			Facts: &inventory.Facts{Arch: "x86_64", Firmware: "uefi", MemoryBytes: 4 << 30, NICs: []inventory.NIC{{Name: "eth0", MAC: mac}},
				Disks: []inventory.Disk{disk("OS-0001", 17<<30), disk("STATE-0001", 34<<30)}}})
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// jobLogs are the logs of all jobs as they are kept: the API's go on until the job has ended.
func jobLogs(data string) (all string) {
	names, err := filepath.Glob(filepath.Join(data, "logs", "jobs", "*"))
	if err != nil {
		return err.Error()
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if all += string(b); err != nil {
			all += err.Error()
		}
	}
	return all
}

// TestBuildsThroughTheDaemon has root start the appliance where nix has a daemon: it becomes a user that can write to
// nothing but its folders, and still makes its hive, reads the roles and builds the system of a machine.
func TestBuildsThroughTheDaemon(t *testing.T) {
	l := newLAN(t)
	socket, daemonLog := startNixDaemon(t)
	flakes, err := exec.Command(filepath.Join(root, "nix", "tests", "mkflakes.sh"), filepath.Join(t.TempDir(), "flakes")).Output()
	if err != nil {
		t.Fatalf("mkflakes.sh: %v", err)
	}
	args := serverFlags(l, "--user", "nobody", "--nix-arg=--verbose")
	for f := range strings.FieldsSeq(string(flakes)) {
		args = append(args, "--nix-arg="+f)
	}
	a := startAs(t, l, 0, []string{"env", "NIX_DAEMON_SOCKET_PATH=" + socket}, func(data string) { waitingForPower(t, data) }, args...)
	if got := limits(t, a.proc.PID()); !strings.HasPrefix(got["Uid"], "65534 65534 ") || got["CapEff"] != "0000000000002400" || got["NoNewPrivs"] != "1" {
		t.Fatalf("it is not held: %v", got)
	}
	if text := a.logTail(200); !strings.Contains(text, `writes="`+a.data+" "+a.data+"/stage0 "+os.TempDir()+`" landlock=true`) {
		t.Errorf("it may write elsewhere, too:\n%s", text)
	}
	if _, err := a.call(http.MethodPut, "/reservations/52:54:00:da:e0:01", map[string]string{"ip": l.Addr(50).String()}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.call(http.MethodPut, "/hosts/52:54:00:da:e0:01", map[string]string{"name": "node1", "role": "server"}, nil); err != nil {
		t.Fatal(err)
	}
	var log, path string
	eventually(t, 4*time.Minute, func() string {
		log = jobLogs(a.data)
		if m := regexp.MustCompile(`built ahead: (/nix/store/\S+)`).FindStringSubmatch(log); m != nil {
			path = m[1]
			return ""
		}
		h, err := a.host("52:54:00:da:e0:01")
		return fmt.Sprintf("%s\nthe job's log:\n%s\nnix-daemon's:\n%s", describe(h, err), tail(log, 40), tail(daemonLog(), 20))
	})
	if !building.MatchString(log) {
		t.Errorf("nothing was built for it:\n%s", log)
	}
	if _, err := os.Stat(filepath.Join(path, "nixos-version")); err != nil {
		t.Errorf("what was built is no system: %v", err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode().Perm()&0o222 != 0 && info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("what was built is not the daemon's: %v %v", info, err)
	}
	if !regexp.MustCompile(`accepted connection from pid \d+, user nobody`).MatchString(daemonLog()) {
		t.Errorf("the daemon was not asked by the appliance's user:\n%s", daemonLog())
	}
}
