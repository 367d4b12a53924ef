package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Capability is a Linux capability, see capabilities(7).
type Capability = cap.Value

// Those that callers name.
const (
	NetBindService = cap.NET_BIND_SERVICE // ports below 1024
	NetRaw         = cap.NET_RAW          // frames to machines that have no address
	DACReadSearch  = cap.DAC_READ_SEARCH  // read any file
	SysPtrace      = cap.SYS_PTRACE       // see whose a socket is
	Chown          = cap.CHOWN
	DACOverride    = cap.DAC_OVERRIDE
	Fowner         = cap.FOWNER
	Kill           = cap.KILL
	Setgid         = cap.SETGID
	Setuid         = cap.SETUID
	SysChroot      = cap.SYS_CHROOT
)

// User is whom [Become] makes of the process.
type User struct {
	UID, GID int
	Groups   []int // further ones
}

// Become makes the process, which is root, the user with these capabilities and no others, and no way to get more.
func Become(u User, keep ...Capability) error {
	if err := cap.DropBound(others(keep)...); err != nil {
		return fmt.Errorf("drop capabilities for good: %w", err)
	}
	if err := cap.SetGroups(u.GID, u.Groups...); err != nil {
		return fmt.Errorf("take the groups of user %d: %w", u.UID, err)
	}
	if err := cap.SetUID(u.UID); err != nil {
		return fmt.Errorf("become user %d: %w", u.UID, err)
	}
	// The kernel hides /proc/self from a process that changed its user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("see its own /proc again: %w", err)
	}
	return narrow(keep)
}

// others are all capabilities that the kernel knows but these.
func others(keep []Capability) (out []Capability) {
	for v := range cap.MaxBits() {
		if !slices.Contains(keep, v) {
			out = append(out, v)
		}
	}
	return out
}

// narrow keeps those of the capabilities that the process has, hands none on to programs, and forbids to gain any.
func narrow(keep []Capability) error {
	have, set := cap.GetProc(), cap.NewSet()
	for _, v := range keep {
		on, err := have.GetFlag(cap.Permitted, v)
		if err != nil {
			return fmt.Errorf("capability %v: %w", v, err)
		}
		if err := errors.Join(set.SetFlag(cap.Permitted, on, v), set.SetFlag(cap.Effective, on, v)); err != nil {
			return fmt.Errorf("capability %v: %w", v, err)
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	if err := set.SetProc(); err != nil {
		return fmt.Errorf("keep the capabilities %v alone: %w", keep, err)
	}
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("set no-new-privileges: %w", e)
	}
	return nil
}

// Limit is all that the process may do from now on, and so may the programs it starts.
type Limit struct {
	// Keep are the capabilities of the process that stay, as far as it has them.
	Keep []Capability
	// Dirs are the folders that may be written to with all that is below them; those that do not exist are left out.
	Dirs []string
}

// devices may be written to by anybody.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"}

const (
	writeFile = ll.AccessFSWriteFile | ll.AccessFSTruncate
	writeDir  = writeFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile | ll.AccessFSMakeDir | ll.AccessFSMakeReg |
		ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym | ll.AccessFSRefer
	writes = writeDir | ll.AccessFSMakeChar | ll.AccessFSMakeBlock
)

// Set applies the limit. It reports whether the kernel holds the folders: one without Landlock (or older than
// 5.19, where it has no word for moving a file between folders) does not, and that is no error.
func (l Limit) Set() (folders bool, err error) {
	if err := narrow(l.Keep); err != nil {
		return false, err
	}
	if abi, err := ll.LandlockGetABIVersion(); err != nil || abi < 2 {
		return false, nil
	}
	rules := []landlock.Rule{landlock.PathAccess(writeDir, present(l.Dirs)...)}
	for _, d := range present(devices) {
		rules = append(rules, landlock.PathAccess(writeFile, d))
	}
	if err := landlock.MustConfig(landlock.AccessFSSet(writes)).BestEffort().RestrictPaths(rules...); err != nil {
		return false, fmt.Errorf("write to %s alone: %w", strings.Join(l.Dirs, ", "), err)
	}
	return true, nil
}

func present(paths []string) (out []string) {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			out = append(out, p)
		}
	}
	return out
}
