package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

func TestInstall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "server")
	h := r.untilState(m, inventory.StateInstalled)
	if !h.EverFlipped || h.InstalledSystem != "/nix/store/system-node1" {
		t.Errorf("host after the install: %+v", h)
	}
	if j := r.job(m); j.State != inventory.JobDone || !j.Wrote || !j.Flipped {
		t.Errorf("job after the install: %+v", j)
	}
	want := []string{"stage-0 look", "stage-0 facter", "stage-0 look", "stage-0 install", "stage-0 plant", "stage-0 mounts",
		"stage-0 unmount", "stage-0 reboot", "disk system", "disk node"}
	if diff := cmp.Diff(want, slices.DeleteFunc(m.did(), func(s string) bool { return s == "stage-0 true" })); diff != "" {
		t.Errorf("what happened on the machine (-want +got):\n%s", diff)
	}
	if got := m.modes["etc/ssh/ssh_host_ed25519_key"]; got != 0o600 {
		t.Errorf("mode of the planted host key: got %o, want 600", got)
	}
	if got := m.modes["etc/"]; got != 0o755 {
		t.Errorf("mode of /etc: got %o, want 755", got)
	}
	token := m.planted["var/lib/hatchery/k3s-token"]
	if len(token) != 64 || m.modes["var/lib/hatchery/k3s-token"] != 0o600 {
		t.Errorf("server token: %d characters, mode %o", len(token), m.modes["var/lib/hatchery/k3s-token"])
	}
	if log := r.logText(m); strings.Contains(log, token) || !strings.Contains(log, "•••") {
		t.Errorf("the log shows the token, or the tool did not print it:\n%s", log)
	}
	noSecretIn(t, filepath.Join(r.cfg.Dir, "logs"), token)
	if _, err := os.Stat(filepath.Join(r.cfg.Dir, "run", "jobs", string(r.job(m).ID))); !os.IsNotExist(err) {
		t.Errorf("the run's folder with the planted secrets is still there: %v", err)
	}
}

func noSecretIn(t *testing.T, dir, s string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), s) {
			t.Errorf("%s holds a secret", path)
		}
		if st, serr := d.Info(); serr == nil && st.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s: got %o, want 600", path, st.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFailuresSayStepCauseAndHint(t *testing.T) {
	t.Parallel()
	long := func(l *Limits) {
		*l = Limits{Stage0: 5 * time.Second, Poll: 10 * time.Millisecond, Dial: 4 * time.Second, Fresh: time.Hour, Lost: 500 * time.Millisecond,
			Verify: 4 * time.Second, Reboot: 10 * time.Second, Grace: time.Second}
	}
	for _, c := range []struct {
		name    string
		prepare func(r *rig, m *machine)
		step    string
		cause   string // part of it
		wrote   bool
		flipped bool
	}{
		{"an evaluation that fails", func(r *rig, m *machine) {
			r.hive.buildErr = &hive.Failure{Kind: hive.KindEval, What: "building host node1", Cause: "attribute 'foo' missing", Next: "Correct the hive."}
		}, StepBuild, "attribute 'foo' missing", false, false},
		{"a build that takes too long", func(r *rig, m *machine) {
			r.cfg.Limits.Build, r.hive.hold = 200*time.Millisecond, make(chan struct{})
		}, StepBuild, "The step took longer than the 200ms it may.", false, false},
		{"a machine that does not answer", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			m.cut("off")
		}, StepStage0, "did not answer", false, false},
		{"another machine at the address", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			m.mu.Lock()
			m.hostKey = sshtest.NewKey(r.t)
			m.mu.Unlock()
		}, StepStage0, "another SSH host key", false, false},
		{"a stage-0 that does not let us in", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			m.mu.Lock()
			m.key = nil
			m.mu.Unlock()
		}, StepStage0, "does not let the appliance's SSH key in", false, false},
		{"a stage-0 that was restarted and did not check in", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			m.mu.Lock()
			m.bootID = "another"
			m.mu.Unlock()
		}, StepStage0, "did not answer", false, false},
		{"a disk that was swapped", func(r *rig, m *machine) {
			m.mu.Lock()
			m.disks = slices.Clone(m.disks)
			m.disks[0].Serial, m.noAgent = "other", true
			m.mu.Unlock()
		}, StepPreflight, "has serial number other, not os1; nothing was written", false, false},
		{"a disk that got content", func(r *rig, m *machine) {
			m.mu.Lock()
			m.disks = slices.Clone(m.disks)
			m.disks[1].Signatures, m.noAgent = []string{"ext4"}, true
			m.mu.Unlock()
		}, StepPreflight, "holds ext4, not nothing as when the plan was made; nothing was written", false, false},
		{"a disk that got content behind the plan", func(r *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) {
				if s == "look" {
					m.disks = slices.Clone(m.disks)
					m.disks[1].Signatures = []string{"ext4"}
				}
				return "", 0, false
			}
		}, StepPreflight, "holds [ext4] instead of []: nothing was written", false, false},
		{"something mounted at /mnt", func(r *rig, m *machine) {
			m.mu.Lock()
			m.mounted = true
			m.mu.Unlock()
		}, StepPreflight, "still mounted at /mnt", false, false},
		{"a machine with too little memory", func(r *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) {
				return strings.Replace(m.lookOutput(), "memory 2097152", "memory 500000", 1), 0, s == "look"
			}
		}, StepPreflight, "488 MiB of memory; the install needs 700", false, false},
		{"a machine that runs something else than stage-0", func(r *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) {
				return strings.Replace(m.lookOutput(), "installer", "desktop", 1), 0, s == "look"
			}
		}, StepPreflight, "runs another system than stage-0", false, false},
		{"a machine that does not restart", func(r *rig, m *machine) {
			r.cfg.Limits.Reboot = 4 * time.Second // the order to restart is part of it
			m.hook = func(s string) (string, int, bool) { return "", 0, s == "reboot" }
		}, StepReboot, "was told to restart but was still in stage-0", true, true},
		{"a machine that comes up with another key", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			m.noBoot = true
			m.hook = func(s string) (string, int, bool) {
				if s == "reboot" {
					m.hostKey, m.bootID = sshtest.NewKey(r.t), "another system"
				}
				return "", 0, s == "reboot"
			}
		}, StepVerify, "not with the SSH host key that was planted", true, true},
		{"a machine whose firmware ignores the boot order", func(r *rig, m *machine) {
			m.noBoot = true
			m.hook = func(s string) (string, int, bool) {
				if s == "reboot" {
					m.wg.Go(func() {
						m.cut("off")
						for range inventory.HoldAfter {
							m.boot(inventory.DiscoveryOnce)
							m.cut("off")
						}
					})
				}
				return "", 0, s == "reboot"
			}
		}, StepVerify, "was sent to its own disk five times and came back to the network each time", true, true},
		{"an install script that refuses with 24", func(r *rig, m *machine) { m.exit = 24 }, StepInstall, "nothing was written", false, false},
		{"an install script that refuses with 21", func(r *rig, m *machine) { m.exit = 21 }, StepInstall, "A persistent disk holds data", false, false},
		{"a program behind the install script that ends with a refusal's code", func(r *rig, m *machine) { m.exitBehind = 21 }, StepInstall, "exit code 21 while planting", true, false},
		{"an install script that breaks", func(r *rig, m *machine) { m.exit = 1 }, StepInstall, "exit code 1", true, false},
		{"no nixos-anywhere", func(r *rig, m *machine) { r.cfg.NixosAnywhere = []string{"/nowhere/nixos-anywhere"} }, StepInstall, "could not be started", false, false},
		{"mounts that are not the layout's", func(r *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) {
				return "mount /mnt ext4 /dev/vdo1\non /mnt /dev/vdo\ndisk virtio-os1 /dev/vdo\ndisk virtio-data1 /dev/vdd\nend\n", 0, s == "mounts"
			}
		}, StepMounts, "Nothing is mounted for /data", true, false},
		{"a system that never comes up", func(r *rig, m *machine) {
			long(&r.cfg.Limits)
			r.cfg.Limits.Stage0 = 5 * time.Second
			m.noBoot = true
		}, StepVerify, "did not answer", true, true},
		{"a machine that boots something else", func(r *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) { return "/nix/store/old\n", 0, s == "system" }
		}, StepVerify, "runs /nix/store/old, not the system that was built", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			m := r.machine(1)
			m.powerOn()
			c.prepare(r, m)
			r.assign(m, "node1", "plain")
			r.start()
			h := r.untilState(m, inventory.StateFailed)
			if h.Step != c.step || !strings.Contains(h.Error, c.cause) || h.Hint == "" {
				t.Errorf("got step %q, error %q, hint %q, want step %q, an error with %q and a hint\nlog:\n%s", h.Step, h.Error, h.Hint, c.step, c.cause, r.logText(m))
			}
			j := r.job(m)
			if h.Wrote != c.wrote || j.Wrote != c.wrote || h.EverFlipped != c.flipped || len(h.OwnedDisks) > 0 != c.wrote {
				t.Errorf("wrote %t %t owned %v flipped %t, want wrote %t flipped %t", h.Wrote, j.Wrote, h.OwnedDisks, h.EverFlipped, c.wrote, c.flipped)
			}
			if _, err := os.Stat(filepath.Join(r.cfg.Dir, "run", "jobs", string(j.ID))); !os.IsNotExist(err) {
				t.Errorf("the run's folder is still there: %v", err)
			}
		})
	}
}

func TestRetryCompletes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	m.exit = 1
	r.assign(m, "node1", "plain")
	r.untilState(m, inventory.StateFailed)
	m.mu.Lock()
	m.exit, m.mounted = 0, true // a partial run left its mounts
	m.mu.Unlock()
	r.retry(m)
	h := r.untilState(m, inventory.StateInstalled)
	if diff := cmp.Diff(map[string]string{"virtio-os1": "ephemeral", "virtio-data1": "persistent"}, h.OwnedDisks); diff != "" {
		t.Errorf("owned disks (-want +got):\n%s", diff)
	}
	if j := r.job(m); j.Attempt != 2 {
		t.Errorf("attempt: got %d, want 2", j.Attempt)
	}
	if !slices.Contains(m.did(), "stage-0 sweep") {
		t.Error("the second attempt did not sweep what the first left")
	}
}

func TestRetryAfterTheFlipOnlyVerifies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Limits.Verify = 3 * time.Second
	r.start()
	m := r.machine(1)
	m.powerOn()
	m.noBoot = true
	r.assign(m, "node1", "plain")
	h := r.untilState(m, inventory.StateFailed)
	if h.Step != StepVerify {
		t.Fatalf("failed in step %s: %s", h.Step, h.Error)
	}
	before := len(m.did())
	m.powerOn()
	r.cfg.Limits.Verify = 30 * time.Second
	r.start()
	r.retry(m)
	r.untilState(m, inventory.StateInstalled)
	for _, s := range m.did()[before:] {
		if s != "disk system" {
			t.Errorf("a retry after the flip did %q on the machine", s)
		}
	}
}

func TestReinstallKeepsIdentityAndPersistentDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	first := r.untilState(m, inventory.StateInstalled)
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		// The agent's last report is long ago by the time somebody reinstalls.
		h, err := tx.Host(id)
		if err != nil {
			return err
		}
		h.ReportedAt = time.Now().Add(-2 * time.Hour)
		if _, err = tx.PutHost(h); err != nil {
			return err
		}
		_, _, err = inventory.Reinstall(tx, id, inventory.Confirmation{}, "admin", time.Now())
		return err
	})
	h := r.until(m, "was installed again", func(h inventory.Host) bool {
		return h.State == inventory.StateInstalled && h.JobID != first.JobID
	})
	if h.InstalledKey != first.InstalledKey || h.Name != "node1" {
		t.Errorf("identity changed: key %s → %s, name %s", first.InstalledKey, h.InstalledKey, h.Name)
	}
	if !slices.Contains(m.did(), "disk reboot") {
		t.Error("the machine was not told to netboot for the reinstall")
	}
	r.hive.mu.Lock()
	defer r.hive.mu.Unlock()
	last := r.hive.written[len(r.hive.written)-1].Host.Plan
	if d := last.Disks["data"]; !d.Owned || len(d.Signatures) == 0 || len(last.WipePersistent) > 0 {
		t.Errorf("the plan of the reinstall does not keep the data disk: %+v", last)
	}
}

func TestForeignDataWaitsForAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.disks[0].Signatures = []string{"ext4"}
	m.powerOn()
	r.assign(m, "node1", "plain")
	h := r.until(m, "was blocked", func(h inventory.Host) bool { return strings.HasPrefix(h.BlockedOn, "Waits for a person.") })
	if !strings.Contains(h.BlockedOn, "os1") || h.State != inventory.StateQueued {
		t.Errorf("blocked on %q in state %s", h.BlockedOn, h.State)
	}
	p := diskplan.Make(diskplan.Input{Host: h, Role: testRole("plain")})
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Install(tx, id, inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{"os": "os1"}}, "admin", time.Now())
		return err
	})
	r.untilState(m, inventory.StateInstalled)
}

// TestCancelTakesBackWhatWasConfirmed: a person agreed to the loss of the data for one job. That job is cancelled before anything
// happened to the disk, and the next one must ask again.
func TestCancelTakesBackWhatWasConfirmed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.disks[0].Signatures = []string{"ext4"}
	m.powerOn()
	m.hang = make(chan struct{})
	r.assign(m, "node1", "plain")
	waits := func(h inventory.Host) bool { return strings.HasPrefix(h.BlockedOn, "Waits for a person. ") }
	p := diskplan.Make(diskplan.Input{Host: r.until(m, "was blocked", waits), Role: testRole("plain")})
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Install(tx, id, inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{"os": "os1"}}, "admin", time.Now())
		return err
	})
	r.until(m, "formatting", func(h inventory.Host) bool { return h.Wrote && strings.Contains(h.Step, "formatting") })
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, err := inventory.Cancel(tx, id, time.Now())
		return err
	})
	r.untilState(m, inventory.StateReady)
	r.assign(m, "node1", "plain")
	r.until(m, "asked again", waits)
}

func testRole(name string) inventory.Role {
	role := testRoles()[name]
	role.Name = name
	return role
}

func TestCancel(t *testing.T) {
	t.Parallel()
	cancel := func(r *rig, m *machine) {
		r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
			_, err := inventory.Cancel(tx, id, time.Now())
			return err
		})
	}
	t.Run("in the build leaves the machine untouched", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.hive.hold = make(chan struct{})
		r.start()
		m := r.machine(1)
		m.powerOn()
		r.assign(m, "node1", "plain")
		r.until(m, "built", func(h inventory.Host) bool { return h.Step == StepBuild })
		cancel(r, m)
		h := r.untilState(m, inventory.StateReady)
		if h.Wrote || !h.Held || r.job(m).State != inventory.JobCancelled {
			t.Errorf("after the cancel: %+v", h)
		}
	})
	t.Run("in the install ends the programs here and on the machine", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.start()
		m := r.machine(1)
		m.powerOn()
		m.hang = make(chan struct{})
		r.assign(m, "node1", "plain")
		r.until(m, "formatted", func(h inventory.Host) bool { return strings.Contains(h.Step, "formatting") })
		cancel(r, m)
		h := r.untilState(m, inventory.StateReady)
		if !h.Held || h.EverFlipped {
			t.Errorf("after the cancel: %+v", h)
		}
		if !slices.Contains(m.did(), "stage-0 sweep") {
			t.Error("the machine was not swept")
		}
		if pids, err := marked(thread{}, []byte(jobVar+"="+r.cfg.Dir+":"+string(r.job(m).ID))); err != nil || len(pids) > 0 {
			t.Errorf("programs left: %v, %v", pids, err)
		}
	})
}

func TestMachineLostDuringTheInstall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cause string
		cut         func(m *machine)
	}{
		{"a power cut that ends in another stage-0", "restarted", func(m *machine) { m.cut("off"); m.powerOn() }},
		{"a machine that stays away", "did not answer", func(m *machine) { m.cut("off") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Limits.Lost = 2 * time.Second
			r.start()
			m := r.machine(1)
			m.powerOn()
			m.keepKey = true
			m.hang = make(chan struct{})
			r.assign(m, "node1", "plain")
			r.until(m, "formatted", func(h inventory.Host) bool { return strings.Contains(h.Step, "formatting") })
			c.cut(m)
			h := r.untilState(m, inventory.StateFailed)
			if h.Step != StepInstall {
				t.Errorf("got step %q error %q", h.Step, h.Error)
			}
			m.cut("off")
			m.powerOn()
			r.retry(m)
			r.untilState(m, inventory.StateInstalled)
		})
	}
}
