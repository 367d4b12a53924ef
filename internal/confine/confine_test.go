package confine

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The test program is started again to be confined: there is no way back.
func TestMain(m *testing.M) {
	if how := os.Getenv("HATCHERY_CONFINE"); how != "" {
		if err := child(how, os.Getenv("HATCHERY_CONFINE_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// report is what a child tells.
type report struct {
	Tries        []Try
	Folders      bool
	Capabilities string
	Work         []string // what it could not do though it needs it
	Programs     []string // what programs of its could do though they must not
}

const nobody = 65534

func child(how, dir string) error {
	keep := []Capability{NetBindService, NetRaw}
	if how == "nobody" {
		if err := Become(User{UID: nobody, GID: nobody}, append(keep, DACReadSearch)...); err != nil {
			return err
		}
	}
	r := report{}
	if how != "free" {
		var err error
		if r.Folders, err = (Limit{Keep: keep, Dirs: []string{dir, filepath.Join(dir, "missing")}}).Set(); err != nil {
			return err
		}
		r.Work, r.Programs = work(dir), programs()
	}
	r.Tries, r.Capabilities = Probe([]string{dir}, how != "nobody"), Capabilities()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// work does what the appliance does all day.
func work(dir string) (not []string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"make folders", func() error { return os.MkdirAll(b, 0o700) }},
		{"write a file", func() error { return os.WriteFile(a, []byte("x"), 0o600) }},
		{"cut it", func() error { return os.Truncate(a, 0) }},
		{"move it to another folder", func() error { return os.Rename(a, filepath.Join(b, "a")) }},
		{"link to it", func() error { return os.Symlink(b, a) }},
		{"remove it", func() error { return os.RemoveAll(b) }},
		{"write to /dev/null", func() error { return os.WriteFile(os.DevNull, []byte("x"), 0) }},
		{"read its own /proc", func() error { _, err := os.ReadDir("/proc/self/fd"); return err }},
		{"run a program", func() error { return exec.Command("true").Run() }},
	} {
		if err := step.do(); err != nil {
			not = append(not, fmt.Sprintf("%s: %v", step.what, err))
		}
	}
	return not
}

// programs tries the same through programs that it starts.
func programs() (could []string) {
	for _, script := range []string{
		"echo x > /var/tmp/hatchery-must-not",
		"grep -q '^CapEff:.*[1-9a-f]' /proc/self/status", // as nobody: none is handed on
		"grep -q '^NoNewPrivs:.*0' /proc/self/status",
	} {
		if os.Geteuid() == 0 && strings.Contains(script, "CapEff") {
			continue // root's programs have what is left of root
		}
		if exec.Command("sh", "-c", script).Run() == nil {
			could = append(could, script)
		}
	}
	return could
}

func run(t *testing.T, how string) (r report) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatal("needs root")
		}
		t.Skip("needs root: run `make unit`")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // another user's way to it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if how == "nobody" {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HATCHERY_CONFINE="+how, "HATCHERY_CONFINE_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child %s: %v\n%s", how, err, out)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// TestConfined lets a confined process work, and then try what it must not be able to.
func TestConfined(t *testing.T) {
	t.Parallel()
	for how, caps := range map[string]string{"nobody": "cap_net_bind_service,cap_net_raw", "root": "cap_net_bind_service,cap_net_raw"} {
		t.Run("as "+how, func(t *testing.T) {
			t.Parallel()
			r := run(t, how)
			if !r.Folders {
				t.Skip("this kernel has no Landlock of 5.19 or later")
			}
			if err := Wrong(r.Tries); err != nil || len(r.Tries) < 8 {
				t.Errorf("%d tries: %v", len(r.Tries), err)
			}
			if r.Capabilities != caps {
				t.Errorf("capabilities: got %q, want %q", r.Capabilities, caps)
			}
			if len(r.Work) > 0 || len(r.Programs) > 0 {
				t.Errorf("cannot do its work: %q; its programs can do: %q", r.Work, r.Programs)
			}
		})
	}
}

// TestProbeFindsWhatIsPossible holds the self-test itself: root without limits can do nearly all of it.
func TestProbeFindsWhatIsPossible(t *testing.T) {
	t.Parallel()
	r := run(t, "free")
	for _, want := range []string{"write a file in /etc", "write a file in /var/tmp", "take another capability", "gain rights from a set-uid program"} {
		if !slices.Contains(r.Tries, Try{want, true}) {
			t.Errorf("%q was not found to be possible: %v", want, r.Tries)
		}
	}
	left, err := filepath.Glob("/etc/.hatchery-must-not-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
