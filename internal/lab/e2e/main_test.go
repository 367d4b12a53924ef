package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// root is the repository's folder.
const root = "../../.."

func TestMain(m *testing.M) {
	if os.Getenv("HATCHERY_E2E") == "1" {
		// Debian's nix as root, without users of its own to build with and nothing to fetch from.
		if err := os.Setenv("NIX_CONFIG", "sandbox = false\nsubstituters =\nbuild-users-group =\n"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// Under a lock: two runs that start together would make the same files.
		cmd := exec.Command("flock", "Makefile", "make", "--no-print-directory", "-s", "build", "lab-images", "build/hatchery-demo")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "flock Makefile make build lab-images build/hatchery-demo: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// built is the absolute path of something that make builds.
func built(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(root, "build", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newLAN lays a LAN for a test, which is skipped where such tests are not asked for.
func newLAN(t *testing.T) *lab.LAN { return newLANWith(t, lab.Config{}) }

func newLANWith(t *testing.T, cfg lab.Config) *lab.LAN {
	t.Helper()
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs root, network namespaces and QEMU: run `make e2e` or set HATCHERY_E2E=1")
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	l, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// full skips a test that takes too long for every change.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("HATCHERY_FULL") != "1" {
		t.Skip("part of the long run: make test-full, or set HATCHERY_FULL=1")
	}
}

// newMachine makes a machine that is off; when the test fails, its console is shown.
func newMachine(t *testing.T, l *lab.LAN, cfg lab.MachineConfig) *lab.Machine {
	t.Helper()
	m, err := l.NewMachine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.PowerOff()
		if t.Failed() {
			t.Logf("console of %s:\n%s", cfg.Name, tail(m.Console(), 40))
		}
	})
	return m
}

// bootable makes the disk of a machine that has a system on it.
func bootable(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootable.raw")
	if err := lab.MakeBootableDisk(path, filepath.Join(built(t, "ipxe"), "ipxe-amd64.efi")); err != nil {
		t.Fatal(err)
	}
	return path
}

// hashes of a machine's disks.
func hashes(t *testing.T, m *lab.Machine) string {
	t.Helper()
	h, err := m.HashDisks()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(h, " ")
}

// patience is how many times longer than on a quiet machine a wait may take before it is given up: a limit here ends a hang, it
// measures nothing.
const patience = 3

// within is a context that ends with the test, or when something takes far longer than the d that it takes on a quiet machine.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience*d)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks check again and again until it has nothing to complain about.
func eventually(t *testing.T, d time.Duration, check func() (complaint string)) {
	t.Helper()
	ctx := within(t, d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %s: %s", patience*d, complaint)
		}
	}
}

// tail is the last n lines of s.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
