package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// storeCommits are the commits that changed how state is stored, oldest first, since there is a program to run.
func storeCommits(t *testing.T) []string {
	t.Helper()
	git := exec.Command("git", "log", "--reverse", "--format=%h", "--", ":(glob)inventory/boltdb/**/*.go", ":!:(glob)**/*_test.go")
	git.Dir = root
	out, err := git.Output()
	all := strings.Fields(string(out))
	if err != nil || len(all) == 0 {
		t.Skipf("no history here: %v", err)
	}
	return slices.DeleteFunc(all, func(c string) bool {
		has := exec.Command("git", "cat-file", "-e", c+":cmd/hatchery/serve.go")
		has.Dir = root
		return has.Run() != nil
	})
}

// buildAt builds the program of an earlier commit; "" when that commit does not build.
func buildAt(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("git -C %s archive %s | tar -x -C %s", root, commit, dir)).CombinedOutput(); err != nil {
		t.Fatalf("git archive: %v\n%s", err, out)
	}
	cmd := exec.Command("go", "build", "-o", "hatchery", "./cmd/hatchery")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s does not build: %v\n%s", commit, err, tail(string(out), 5))
	}
	return filepath.Join(dir, "hatchery")
}

// launch starts a program of any version on the appliance's data and waits until it answers; an error when it ends.
func (a *appliance) launch(program string) error {
	p, err := a.lan.Start(lab.Appliance, a.log, program, append([]string{"serve", "--data", a.data, "--interface", "eth0", "--ipxe", built(a.t, "ipxe")}, a.args...)...)
	if err != nil {
		return err
	}
	a.proc = p
	for deadline := time.Now().Add(60 * time.Second); ; {
		select {
		case <-p.Done():
			a.proc = nil
			return fmt.Errorf("it ended: %w", p.Err())
		case <-time.After(200 * time.Millisecond):
		}
		if err := a.connect(); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return err
		}
	}
}

// state is what must outlive an upgrade, as the API tells it.
func (a *appliance) state() (string, error) {
	var hosts, leases, reservations struct{ Items []map[string]any }
	for path, into := range map[string]any{"/hosts": &hosts, "/leases": &leases, "/reservations": &reservations} {
		if _, err := a.call(http.MethodGet, path, nil, into); err != nil {
			return "", err
		}
	}
	var out []string
	for kind, list := range map[string][]map[string]any{"host": hosts.Items, "lease": leases.Items, "reservation": reservations.Items} {
		for _, it := range list {
			out = append(out, fmt.Sprint(kind, " ", it["mac"], " ", it["ip"], " ", it["name"], " ", it["serial"]))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n"), nil
}

// TestDataOfEarlierCommits lets the program of every commit that changed the store make data, kills it, and
// opens that with today's. Then the old program gets its data back: it goes on with it, or refuses in words
// and changes nothing.
func TestDataOfEarlierCommits(t *testing.T) {
	full(t)
	l := newLAN(t)
	for _, commit := range storeCommits(t) {
		t.Run(commit, func(t *testing.T) {
			old := buildAt(t, commit)
			a := &appliance{t: t, lan: l, addr: l.ApplianceAddr(), data: filepath.Join(t.TempDir(), "data"), args: serverFlags(l)}
			var err error
			if a.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(a.cleanup)
			if err := a.launch(old); err != nil {
				t.Skipf("that program does not serve: %v\n%s", err, a.logTail(4))
			}
			const mac = "52:54:00:fd:0b:01"
			if _, err := a.call(http.MethodPost, "/hosts", map[string]string{"serial": "SN-0815", "name": "alpha", "role": "worker"}, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := a.call(http.MethodPut, "/reservations/52:54:00:fd:0b:02", map[string]string{"ip": l.Addr(60).String()}, nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, func() string { // the earliest serve leases a little later than pages
				if err := a.firmware(t, mac); err != nil {
					return err.Error()
				}
				return ""
			})
			before := ""
			eventually(t, 10*time.Second, func() string { // its diary is written afterwards
				if before, err = a.state(); err != nil || strings.Count(before, "\n") < 3 {
					return fmt.Sprintf("%v\n%s", err, before)
				}
				return ""
			})
			a.crash()
			if err := a.launch(built(t, "hatchery")); err != nil {
				t.Fatalf("today's program on that data: %v\n%s", err, a.logTail(5))
			}
			after, err := a.state()
			if err != nil || after != before {
				t.Errorf("after the upgrade: %v\n%s\nbefore it:\n%s", err, after, before)
			}
			a.crash()
			if err := a.launch(old); err == nil {
				if again, err := a.state(); err != nil || again != before {
					t.Errorf("the old program with the data that it still reads: %v\n%s\nbefore:\n%s", err, again, before)
				}
				t.Log("the old program goes on with that data")
				return
			}
			if log := a.logTail(3); !strings.Contains(log, "written by a newer hatchery") {
				t.Errorf("the old program does not say why it refuses:\n%s", log)
			}
			if err := a.launch(built(t, "hatchery")); err != nil {
				t.Fatalf("today's program after the old one refused: %v", err)
			}
			if again, err := a.state(); err != nil || again != before {
				t.Errorf("after the old program refused: %v\n%s", err, again)
			}
			t.Log("the old program refuses that data, and changes nothing")
		})
	}
}
