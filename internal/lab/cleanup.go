package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxLabs is how many LANs may exist side by side on one machine.
const maxLabs = 16

// stateDir holds every lab's scratch folder and lock file.
func stateDir() string { return filepath.Join(os.TempDir(), "hatchery-lab") }

func labName(i int) string { return "hy" + strconv.Itoa(i) }

// takeName takes the first name whose lock nobody holds. The lock goes with
// the process, however it ends, so a name is never taken by a dead run.
func takeName() (string, *os.File, error) {
	for i := range maxLabs {
		f, err := tryLock(labName(i))
		if err != nil {
			return "", nil, err
		}
		if f != nil {
			return labName(i), f, nil
		}
	}
	return "", nil, fmt.Errorf("%d virtual LANs are running already: stop one", maxLabs)
}

// tryLock returns nil without an error when somebody else holds the lock.
func tryLock(name string) (*os.File, error) {
	if err := os.MkdirAll(stateDir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(stateDir(), name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, f.Close()
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock of lab %s: %w", name, err), f.Close())
	}
	return f, nil
}

// Cleanup removes what labs left behind that ended without [LAN.Close].
// Running ones are not touched.
func Cleanup() error {
	for i := range maxLabs {
		name := labName(i)
		if !leftover(name) {
			continue
		}
		f, err := tryLock(name)
		if err != nil {
			return err
		}
		if f == nil {
			continue // it runs
		}
		if err := errors.Join(destroy(name), f.Close()); err != nil {
			return fmt.Errorf("leftovers of lab %s: %w", name, err)
		}
	}
	return nil
}

func leftover(name string) bool {
	if _, err := os.Stat(filepath.Join(stateDir(), name)); err == nil {
		return true
	}
	for _, s := range sides {
		if nsExists(name + "-" + string(s)) {
			return true
		}
	}
	return false
}

func nsPath(ns string) string { return "/run/netns/" + ns }

func nsExists(ns string) bool {
	_, err := os.Stat(nsPath(ns))
	return err == nil
}

// destroy ends whatever lives in the lab's namespaces, which only the lab
// itself can have started, and removes them and the scratch folder.
func destroy(name string) error {
	var errs []error
	for _, s := range sides {
		ns := name + "-" + string(s)
		if !nsExists(ns) {
			continue
		}
		if err := killAll(ns); err != nil {
			errs = append(errs, err)
		}
		errs = append(errs, commands("ip netns del "+ns))
	}
	errs = append(errs, os.RemoveAll(filepath.Join(stateDir(), name)))
	return errors.Join(errs...)
}

// killAll kills the processes of a namespace and waits until they are gone, at most 5 s.
func killAll(ns string) error {
	var pids []int
	for range 100 {
		pids = pids[:0]
		out, err := exec.Command("ip", "netns", "pids", ns).Output()
		if err != nil {
			return fmt.Errorf("processes of namespace %s: %w", ns, err)
		}
		for _, w := range strings.Fields(string(out)) {
			// A thread of our own may be inside for the moment of a dial.
			if pid, err := strconv.Atoi(w); err == nil && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("processes %v of namespace %s do not end", pids, ns)
}
