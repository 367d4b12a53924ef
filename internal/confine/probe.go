package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Try is one thing that must be impossible.
type Try struct {
	What     string // "write a file in /var/tmp"
	Possible bool
}

// Probe tries what a confined process must not be able to do. Whatever succeeds is undone.
// dirs are where it may write; asRoot says that it stayed root, whom nobody can keep from being root again.
func Probe(dirs []string, asRoot bool) []Try {
	var out []Try
	add := func(what string, possible bool) { out = append(out, Try{what, possible}) }
	for _, dir := range []string{"/", "/etc", "/usr", "/root", "/var/tmp", "/dev/shm"} {
		if !within(dir, dirs) {
			add("write a file in "+dir, canWrite(dir))
		}
	}
	for _, disk := range disks() {
		add("write to the disk "+disk, canOpen(disk))
	}
	if len(dirs) > 0 {
		add("mount a file system", canMount(dirs[0]))
	}
	if !asRoot {
		add("become root", alone(func() bool { _, _, e := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0); return e == 0 }))
		add("read what only root may (/etc/shadow)", canRead("/etc/shadow"))
	}
	add("take another capability", alone(canGain))
	add("gain rights from a set-uid program", !noNewPrivs())
	return out
}

func within(dir string, dirs []string) bool {
	for _, d := range dirs {
		if rel, err := filepath.Rel(d, dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

func canWrite(dir string) bool {
	f, err := os.CreateTemp(dir, ".hatchery-must-not-*")
	if err != nil {
		return false
	}
	_ = os.Remove(f.Name())
	_ = f.Close()
	return true
}

// disks are the device files of this machine's first disks.
func disks() (out []string) {
	for _, pattern := range []string{"/sys/block/[shv]d*", "/sys/block/nvme*", "/sys/block/mmcblk*"} {
		all, _ := filepath.Glob(pattern) // errors on a wrong pattern alone
		for _, d := range all[:min(1, len(all))] {
			if dev := "/dev/" + filepath.Base(d); exists(dev) {
				out = append(out, dev)
			}
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func canOpen(device string) bool {
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
}

func canRead(path string) bool {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

func canMount(dir string) bool {
	err := unix.Mount("none", dir, "tmpfs", 0, "size=4k")
	if err == nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	return err == nil
}

// canGain tries to have CAP_SYS_ADMIN.
func canGain() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if unix.Capget(&h, &d[0]) != nil {
		return false
	}
	d[0].Permitted |= 1 << unix.CAP_SYS_ADMIN
	d[0].Effective |= 1 << unix.CAP_SYS_ADMIN
	return unix.Capset(&h, &d[0]) == nil
}

// alone runs fn on a thread of its own, which ends with what fn may have got.
func alone(fn func() bool) bool {
	got := make(chan bool)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		got <- fn()
	}()
	return <-got
}

func noNewPrivs() bool {
	n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && n == 1
}

// Capabilities names those the process has, as "cap_net_raw", comma separated; "" = none.
func Capabilities() string {
	set, names := cap.GetProc(), []string(nil)
	for v := range cap.MaxBits() {
		if on, err := set.GetFlag(cap.Effective, v); err == nil && on {
			names = append(names, v.String())
		}
	}
	return strings.Join(names, ",")
}

// Wrong is what of the tries succeeded; nil when none did.
func Wrong(tries []Try) error {
	var errs []error
	for _, t := range tries {
		if t.Possible {
			errs = append(errs, fmt.Errorf("the process can %s", t.What))
		}
	}
	return errors.Join(errs...)
}
