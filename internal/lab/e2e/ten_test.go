package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// job is what the API says of a job, as far as the tests look.
type job struct {
	ID        string `json:"id"`
	HostID    string `json:"host_id"`
	State     string `json:"state"`
	Attempt   int
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// TestTenMachines installs ten machines that are powered on together: nine agents, which wait for the server that is
// given its role last, four at a time, in the order in which they were asked for. What their closures have in
// common is built once, and nothing is built twice.
func TestTenMachines(t *testing.T) {
	full(t)
	const machines = 10
	l := newLANWith(t, lab.Config{Ports: machines})
	a := startAppliance(t, l, serverFlags(l, append(hiveFlags(t), "--nix-arg=--verbose")...)...)
	counted := countedBuild(t, a)
	group := make([]*installation, machines)
	for n := range group {
		m := newMachine(t, l, lab.MachineConfig{Name: fmt.Sprintf("ten%d", n), Port: n, MemoryMiB: 1024, Disks: []lab.Disk{{Serial: fmt.Sprintf("OS-%04d", n), Size: 17 << 30}}})
		group[n] = &installation{appliance: a, m: m}
		powerOn(t, a, m)
	}
	if _, err := a.call(http.MethodPut, "/reservations/"+group[0].m.MAC(), map[string]string{"ip": l.Addr(50).String()}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Minute, func() string {
		for _, i := range group {
			if h, err := a.host(i.m.MAC()); err != nil || h == nil || h.State != "ready" {
				return describe(h, err)
			}
		}
		return ""
	})
	began := time.Now()
	for n := machines - 1; n >= 0; n-- { // the server last
		role := map[string]string{"name": fmt.Sprintf("node%d", n), "role": "worker"}
		if n == 0 {
			role["role"] = "server"
			waitForServer(t, a, group[1:])
		}
		if _, err := a.call(http.MethodPut, "/hosts/"+group[n].m.MAC(), role, nil); err != nil {
			t.Fatal(err)
		}
	}
	watchTen(t, a, machines)
	t.Logf("%d machines installed %.0f s after the last got its role", machines, time.Since(began).Seconds())
	checkOrder(t, a, group)
	if n := lines(t, counted); n != 1 {
		t.Errorf("what the ten closures have in common was built %d times, want once", n)
	}
	checkBuilds(t, group)
}

// countedBuild adds to every host of the hive a derivation that takes a while and leaves a line in a file each time it is built.
func countedBuild(t *testing.T, a *appliance) (file string) {
	t.Helper()
	dir, file := filepath.Join(a.data, "hive"), filepath.Join(t.TempDir(), "built")
	text := fmt.Sprintf(`{ pkgs, ... }: {
  boot.kernelParams = [ "shared=${pkgs.runCommand "shared" { } "echo built >>%s; sleep 5; mkdir $out; echo %s >$out/text"}" ];
}
`, file, file)
	path := filepath.Join(dir, "shared.nix")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	common := filepath.Join(dir, "common.nix")
	b, err := os.ReadFile(common)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(b), "time.timeZone", "imports = [ ./shared.nix ];\n  time.timeZone", 1)
	if err := os.WriteFile(common, []byte(with), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"add", "shared.nix", "common.nix"}, {"-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "a common part"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return file
}

// waitForServer demands that every agent says what it waits for.
func waitForServer(t *testing.T, a *appliance, agents []*installation) {
	t.Helper()
	eventually(t, 2*time.Minute, func() string {
		for _, i := range agents {
			h, err := a.host(i.m.MAC())
			if err != nil || h == nil || h.BlockedOn != "Waits for the first server of cluster home: no host has a server role of it yet." {
				return "an agent does not wait for a server: " + describe(h, err)
			}
		}
		return ""
	})
}

// watchTen waits until all machines are installed; never more than four may be worked on at once, and whoever waits says for what.
func watchTen(t *testing.T, a *appliance, machines int) {
	t.Helper()
	most, last, copied := 0, "", map[string]int{}
	eventually(t, time.Hour, func() string {
		all, err := a.hosts()
		if err != nil {
			return err.Error()
		}
		count := map[string]int{}
		for _, h := range all {
			count[h.State]++
			var done, total int
			if n, _ := fmt.Sscanf(h.Step, "install: copying the system, %d of %d MB", &done, &total); n == 2 {
				if done < copied[h.MAC] || done > total {
					t.Errorf("%s: %s after %d MB", h.MAC, h.Step, copied[h.MAC])
				}
				copied[h.MAC] = done
			}
			if h.State == "failed" {
				t.Fatalf("%s failed in step %s: %s", h.MAC, h.Step, h.Error)
			}
			if h.State == "queued" && !strings.HasSuffix(h.BlockedOn, ".") {
				t.Errorf("%s waits and does not say for what: %q", h.MAC, h.BlockedOn)
			}
		}
		most = max(most, count["installing"])
		if now := fmt.Sprint(count); now != last {
			t.Log(now)
			last = now
		}
		if count["installed"] == machines {
			return ""
		}
		return last
	})
	t.Logf("most that was seen copied of each, MB: %v", copied)
	if len(copied) < machines/2 {
		t.Errorf("%d machines showed copied bytes", len(copied))
	}
	if most != 4 {
		t.Errorf("at most %d machines were installed at the same time, want 4", most)
	}
}

// checkOrder demands that the server went first and that the agents began in the order of their jobs.
func checkOrder(t *testing.T, a *appliance, group []*installation) {
	t.Helper()
	var list struct{ Items []job }
	if _, err := a.call(http.MethodGet, "/jobs", nil, &list); err != nil {
		t.Fatal(err)
	}
	first, err := a.host(group[0].m.MAC())
	if err != nil {
		t.Fatal(err)
	}
	jobs := list.Items
	slices.SortFunc(jobs, func(a, b job) int { return a.StartedAt.Compare(b.StartedAt) })
	for k, j := range jobs {
		t.Logf("job %d: asked for at %s, waited %.0f s, took %.0f s, attempt %d", k, j.CreatedAt.Format(time.TimeOnly), j.StartedAt.Sub(j.CreatedAt).Seconds(), j.EndedAt.Sub(j.StartedAt).Seconds(), j.Attempt)
		switch {
		case k == 0 && j.HostID != first.ID:
			t.Error("the server was not the first")
		case k == 1 && j.StartedAt.Before(jobs[0].EndedAt):
			t.Error("an agent began before the server was installed")
		case k > 1 && j.CreatedAt.Before(jobs[k-1].CreatedAt):
			t.Error("an agent that was asked for earlier began later")
		case j.State != "done" || j.Attempt != 1:
			t.Errorf("job of %s: %s in attempt %d, want done in the first", j.HostID, j.State, j.Attempt)
		}
	}
}

var building = regexp.MustCompile(`building '(/nix/store/[^']+\.drv)'`)

// checkBuilds counts in all jobs' logs what nix built.
func checkBuilds(t *testing.T, group []*installation) {
	t.Helper()
	built := map[string]int{}
	systems := 0
	for _, i := range group {
		for _, m := range building.FindAllStringSubmatch(i.jobLog(), -1) {
			if built[m[1]]++; strings.Contains(m[1], "-nixos-system-") {
				systems++
			}
		}
	}
	for drv, n := range built {
		if n > 1 {
			t.Errorf("%s was built %d times", drv, n)
		}
	}
	t.Logf("%d derivations built, %d of them systems", len(built), systems)
	if systems != len(group) {
		t.Errorf("%d systems were built for %d machines", systems, len(group))
	}
}

func lines(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}
