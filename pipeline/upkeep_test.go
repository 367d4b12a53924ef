package pipeline

import (
	"context"
	"fmt"
	"os"
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

// installed is a rig with an installed machine whose stage-0 is long over.
func installed(t *testing.T, n int, name, role string) (*rig, *machine) {
	t.Helper()
	r := newRig(t)
	r.start()
	return r, r.install(n, name, role)
}

func (r *rig) install(n int, name, role string) *machine {
	r.t.Helper()
	m := r.machine(n)
	m.powerOn()
	r.assign(m, name, role)
	r.untilState(m, inventory.StateInstalled)
	return m
}

func (r *rig) deploy(m *machine) {
	r.t.Helper()
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Deploy(tx, id, "admin", time.Now())
		return err
	})
}

// ended waits until the host's deploy or format is over.
func (r *rig) ended(m *machine) inventory.Host {
	r.t.Helper()
	return r.until(m, "was through with its job", func(h inventory.Host) bool { return h.Upkeep == "" })
}

// formatNow orders the format of a slot as a person does who looks at the plan.
func (r *rig) formatNow(m *machine, slot, word string) error {
	h := r.host(m)
	p := diskplan.Make(diskplan.Input{Host: h, Role: testRole(h.Role), WipePersistent: []string{slot}})
	o := inventory.FormatOrder{PlanID: p.ID, Slot: slot, Word: word}
	if err := p.ConfirmedFormat(o); err != nil {
		return err
	}
	return r.store.Update(func(tx *inventory.Tx) error {
		now := time.Now()
		_, _, err := inventory.Format(tx, h.ID, o, "admin", now.Add(time.Minute), now)
		return err
	})
}

func (r *rig) setVersion(v string) {
	r.hive.mu.Lock()
	defer r.hive.mu.Unlock()
	r.hive.version = v
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "server")
	before, installs := r.host(m), len(m.did())
	r.setVersion("-2")
	r.deploy(m)
	h := r.ended(m)
	if h.State != inventory.StateInstalled || h.Error != "" || h.InstalledSystem != "/nix/store/system-node1-2" || h.InstalledCommit != "commit-node1" {
		t.Fatalf("after the deploy: %+v\n%s", h, r.logText(m))
	}
	if diff := cmp.Diff([]string{"disk reach", "disk store", "disk plant", "disk switch", "disk node", "disk confirm"},
		slices.DeleteFunc(m.did()[installs:], func(s string) bool { return s == "disk trial" })); diff != "" {
		t.Errorf("what happened on the machine (-want +got):\n%s", diff)
	}
	if m.system != "/nix/store/system-node1-2" {
		t.Errorf("the machine boots %s", m.system)
	}
	if h.InstalledKey != before.InstalledKey || !cmp.Equal(h.Bound, before.Bound) || r.job(m).State != inventory.JobDone {
		t.Errorf("the deploy changed who the host is: %+v", h)
	}
	token := m.planted["var/lib/hatchery/k3s-token"]
	noSecretIn(t, r.cfg.Dir+"/logs", token)

	// Once more, with nothing new: nothing is copied or switched.
	installs = len(m.did())
	r.deploy(m)
	if h = r.ended(m); h.Error != "" {
		t.Errorf("a deploy of nothing new: %s", h.Error)
	}
	if did := m.did()[installs:]; slices.Contains(did, "disk store") || slices.Contains(did, "disk switch") {
		t.Errorf("a deploy of nothing new did %v", did)
	}
}

func TestDeployGoesBack(t *testing.T) {
	t.Parallel()
	const next, back = "/nix/store/system-node1-2", "/nix/store/system-node1"
	for _, c := range []struct {
		name    string
		prepare func(r *rig, m *machine)
		step    string
		cause   string
	}{
		{"when the activation fails", func(_ *rig, m *machine) { m.onTrial.breaks = next }, StepSwitch, "The activation of the new system ended with 4: Activating. The machine runs its earlier system again."},
		{"when a unit fails that ran before", func(_ *rig, m *machine) {
			m.hook = func(name string) (string, int, bool) {
				if name == "switch" {
					m.onTrial.failed = []string{"web.service"}
				}
				return "", 0, false
			}
		}, StepHealth, "web.service failed that ran before. The machine runs its earlier system again."},
		{"when the node does not get ready", func(r *rig, m *machine) { m.notReady = true }, StepNode, "last: Server node1: node node1 is NotReady. The machine runs its earlier system again."},
		{"when it cannot be made what boots", func(_ *rig, m *machine) {
			m.hook = func(name string) (string, int, bool) {
				if name == "confirm" {
					m.back()
				}
				return "", exitBoot, name == "confirm"
			}
		}, StepConfirm, "could not be made the one that boots; the machine went back"},
		{"when the machine went back before the word came", func(_ *rig, m *machine) {
			m.hook = func(name string) (string, int, bool) {
				if name == "confirm" {
					m.back()
				}
				return "", exitLate, name == "confirm"
			}
		}, StepConfirm, "heard nothing of the appliance for too long and went back by itself. The machine runs its earlier system again."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Limits.Node = 2 * time.Second
			r.start()
			m := r.install(1, "node1", "server")
			m.mu.Lock()
			c.prepare(r, m)
			m.mu.Unlock()
			r.setVersion("-2")
			r.deploy(m)
			h := r.ended(m)
			if h.State != inventory.StateInstalled || h.Step != c.step || !strings.Contains(h.Error, c.cause) || h.Hint == "" {
				t.Errorf("got state %s step %q error %q hint %q; want step %q, an error with %q\n%s", h.State, h.Step, h.Error, h.Hint, c.step, c.cause, r.logText(m))
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.system != back || m.onTrial.running != back || h.InstalledSystem != back {
				t.Errorf("boots %s, runs %s, recorded %s; want %s thrice", m.system, m.onTrial.running, h.InstalledSystem, back)
			}
		})
	}
}

func TestDeployStopsWithTheMachineAsItWas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(r *rig, m *machine)
		step    string
		cause   string
	}{
		{"at a build that fails", func(r *rig, _ *machine) {
			r.hive.mu.Lock()
			defer r.hive.mu.Unlock()
			r.hive.buildErr = &hive.Failure{Kind: hive.KindEval, What: "building host node1", Cause: "attribute 'foo' missing", Next: "Correct the hive."}
		}, StepBuild, "attribute 'foo' missing"},
		{"at a copy that fails", func(_ *rig, m *machine) { m.onTrial.full = true }, StepCopy, "could not be copied to the machine (nix ended with 28): "},
		{"at a machine that is off", func(_ *rig, m *machine) { m.cut("off") }, StepReach, "did not answer over SSH"},
		{"at another machine at its address", func(r *rig, m *machine) { m.hostKey = sshtest.NewKey(r.t) }, StepReach, "does not show the SSH host key that was planted"},
		{"at a machine that does not let us in", func(_ *rig, m *machine) { m.key = nil }, StepReach, "does not let the appliance's SSH key in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.cfg.Limits.Reach = 3 * time.Second
			r.start()
			m := r.install(1, "node1", "plain")
			installs := len(m.did())
			if strings.Contains(c.name, "off") {
				c.prepare(r, m)
			} else {
				m.mu.Lock()
				c.prepare(r, m)
				m.mu.Unlock()
			}
			r.setVersion("-2")
			r.deploy(m)
			h := r.ended(m)
			if h.Step != c.step || !strings.Contains(h.Error, c.cause) || h.Hint == "" || h.State != inventory.StateInstalled {
				t.Errorf("got state %s step %q error %q hint %q; want step %q, an error with %q\n%s", h.State, h.Step, h.Error, h.Hint, c.step, c.cause, r.logText(m))
			}
			if did := m.did()[installs:]; slices.Contains(did, "disk switch") {
				t.Errorf("the machine was switched: %v", did)
			}
		})
	}
}

func TestDeployIsCancelledInItsTrial(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "server")
	m.mu.Lock()
	m.notReady = true
	m.mu.Unlock()
	r.setVersion("-2")
	r.deploy(m)
	r.until(m, "waited for its node", func(h inventory.Host) bool { return h.Step == StepNode })
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, err := inventory.Cancel(tx, id, time.Now())
		return err
	})
	h := r.ended(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.State != inventory.StateInstalled || h.Held || r.job(m).State != inventory.JobCancelled || m.onTrial.running != "/nix/store/system-node1" {
		t.Errorf("after the cancel: state %s held %v job %s, the machine runs %s", h.State, h.Held, r.job(m).State, m.onTrial.running)
	}
}

// TestDeploySurvivesARestart stops the appliance after each durable update of a deploy and starts it again: the deploy
// ends well, switched once, or fails honestly with the machine back in its earlier system.
func TestDeploySurvivesARestart(t *testing.T) {
	t.Parallel()
	every := 2 // each of them in the long run
	if os.Getenv("HATCHERY_FULL") == "1" {
		every = 1
	}
	for n := 1; n < 40; n += every {
		r, m := installed(t, 1, "node1", "server")
		r.stop()
		r.setVersion("-2")
		r.deploy(m)
		f := &frozen{Store: r.store, left: n, done: make(chan struct{})}
		r.cfg.Store = f
		r.start()
		died := false
		for r.host(m).Upkeep != "" && !died {
			select {
			case <-f.done:
				died = true
			case <-time.After(5 * time.Millisecond):
			}
		}
		r.stop()
		r.cfg.Store = r.store
		if died {
			r.start()
		}
		h := r.ended(m)
		m.mu.Lock()
		runs, switched := m.onTrial.running, len(m.onTrial.activations)
		m.mu.Unlock()
		well := h.Error == "" && runs == "/nix/store/system-node1-2" && switched == 1
		honest := died && h.Error != "" && runs == "/nix/store/system-node1"
		if m.system != runs || !well && !honest {
			t.Fatalf("stopped after update %d: error %q, runs %s, boots %s, switched %d times\n%s", n, h.Error, runs, m.system, switched, r.logText(m))
		}
		if !died {
			if n < 8 {
				t.Fatalf("only %d durable updates", n)
			}
			return
		}
	}
	t.Error("it never came through")
}

// TestDeployGoesOnAfterARestart stops the appliance in the middle of a trial: the next one goes on with it.
func TestDeployGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "server")
	m.mu.Lock()
	m.notReady = true
	m.mu.Unlock()
	r.setVersion("-2")
	r.deploy(m)
	r.until(m, "waited for its node", func(h inventory.Host) bool { return h.Step == StepNode })
	r.stop()
	m.mu.Lock()
	m.notReady = false
	m.mu.Unlock()
	r.start()
	h := r.ended(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.Error != "" || m.system != "/nix/store/system-node1-2" || len(m.onTrial.activations) != 1 {
		t.Errorf("after the restart: error %q, boots %s, activations %v", h.Error, m.system, m.onTrial.activations)
	}
}

func TestServersAreDeployedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	first := r.install(1, "server1", "server")
	second := r.install(2, "server2", "server")
	r.hive.mu.Lock()
	r.hive.version, r.hive.hold = "-2", make(chan struct{})
	hold := r.hive.hold
	r.hive.mu.Unlock()
	r.deploy(first)
	r.until(first, "was built", func(h inventory.Host) bool { return h.Step == StepBuild })
	r.deploy(second)
	r.until(second, "said that it waits for server1", func(h inventory.Host) bool {
		return h.BlockedOn == "Waits for server1, another server of cluster home, to be deployed."
	})
	close(hold)
	for _, m := range []*machine{first, second} {
		if h := r.ended(m); h.Error != "" || h.InstalledSystem != "/nix/store/system-"+h.Name+"-2" {
			t.Errorf("host %s: error %q, system %s", h.Name, h.Error, h.InstalledSystem)
		}
	}
}

func TestFormatOfAnInstalledHost(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "plain")
	r.forgetStage0(m)
	before, did := r.host(m), len(m.did())
	if err := r.formatNow(m, "data", "os1"); err == nil {
		t.Error("another disk's serial was taken for the data disk's")
	}
	if err := r.formatNow(m, "os", "os1"); err == nil || !strings.Contains(err.Error(), "formatted by a reinstall") {
		t.Errorf("the format of the system disk: got %v", err)
	}
	if err := r.formatNow(m, "data", "data1"); err != nil {
		t.Fatal(err)
	}
	h := r.ended(m)
	if h.Error != "" || h.State != inventory.StateInstalled || r.job(m).State != inventory.JobDone {
		t.Fatalf("after the format: %+v\n%s", h, r.logText(m))
	}
	want := []string{"disk netboot-once", "disk reboot", "stage-0 look", "stage-0 look", "stage-0 format /nix/store/format-node1-data", "stage-0 unmount", "stage-0 reboot", "disk system"}
	if diff := cmp.Diff(want, slices.DeleteFunc(m.did()[did:], func(s string) bool { return s == "stage-0 true" })); diff != "" {
		t.Errorf("what happened on the machine (-want +got):\n%s", diff)
	}
	if h.InstalledSystem != before.InstalledSystem || !cmp.Equal(h.OwnedDisks, before.OwnedDisks) || !h.StageZeroUntil.IsZero() {
		t.Errorf("the format changed more than the disk: %+v", h)
	}
	r.hive.mu.Lock()
	defer r.hive.mu.Unlock()
	last := r.hive.written[len(r.hive.written)-1].Host.Plan
	if len(last.WipePersistent) > 0 || last.Disks["os"].ID != "virtio-os1" || last.Disks["data"].ID != "virtio-data1" {
		t.Errorf("the hive's plan of the host: %+v", last)
	}
}

// forgetStage0 lets the host's last report from stage-0 be long ago, as it is by the time somebody comes back to it.
func (r *rig) forgetStage0(m *machine) {
	r.t.Helper()
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		h, err := tx.Host(id)
		if err == nil {
			h.ReportedAt = time.Time{}
			_, err = tx.PutHost(h)
		}
		return err
	})
}

func TestFormatThatMustNotBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(r *rig, m *machine)
		step    string
		cause   string
		wrote   bool
	}{
		{"another disk in the slot's place", func(_ *rig, m *machine) { m.disks[1].Serial = "swapped" }, StepPlan, "are not as they were when plan", false},
		{"a disk that changed behind the plan", func(_ *rig, m *machine) {
			m.hook = func(s string) (string, int, bool) {
				if s == "look" {
					m.disks = slices.Clone(m.disks)
					m.disks[1].Signatures = []string{"ext4"}
				}
				return "", 0, false
			}
		}, StepPreflight, "nothing was written", false},
		{"a script that refuses", func(_ *rig, m *machine) { m.exit = 24 }, StepFormat, "nothing was written", false},
		{"a script that breaks", func(_ *rig, m *machine) { m.exit = 1 }, StepFormat, "exit code 1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, m := installed(t, 1, "node1", "plain")
			r.forgetStage0(m)
			before := r.host(m)
			m.mu.Lock()
			m.disks = slices.Clone(m.disks)
			c.prepare(r, m)
			m.mu.Unlock()
			if err := r.formatNow(m, "data", "data1"); err != nil {
				t.Fatal(err)
			}
			h := r.ended(m)
			if h.Step != c.step || !strings.Contains(h.Error, c.cause) || h.State != inventory.StateInstalled || r.job(m).Wrote != c.wrote {
				t.Errorf("got state %s step %q error %q wrote %v; want step %q, an error with %q, wrote %v\n%s", h.State, h.Step, h.Error, r.job(m).Wrote, c.step, c.cause, c.wrote, r.logText(m))
			}
			if diff := cmp.Diff(before.OwnedDisks, h.OwnedDisks); diff != "" {
				t.Errorf("owned disks (-before +after):\n%s", diff)
			}
			target, _ := inventory.BootTarget(&h, inventory.DiscoveryAlways, time.Now())
			if target != inventory.TargetDisk {
				t.Errorf("the next netboot leads to %s", target)
			}
		})
	}
}

func TestWhoLagsBehindTheHive(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "plain")
	for _, c := range []struct {
		name    string
		history []hive.Commit
		want    int
	}{
		{"nothing new", []hive.Commit{{Hash: "commit-node1"}}, 0},
		{"another host's facts", []hive.Commit{{Hash: "b", Files: []string{"hosts/node2/host.json"}}, {Hash: "commit-node1"}}, 0},
		{"two commits that concern it", []hive.Commit{{Hash: "c", Files: []string{"roles.nix", "hosts/node2/host.json"}}, {Hash: "b", Files: []string{"hosts/node1/host.json"}},
			{Hash: "commit-node1", Files: []string{"roles.nix"}}}, 2},
		{"a history without its commit", []hive.Commit{{Hash: "z", Files: []string{"roles.nix"}}}, -1},
	} {
		r.hive.mu.Lock()
		r.hive.history = c.history
		r.hive.rev++
		r.hive.mu.Unlock()
		r.until(m, fmt.Sprintf("was counted %d behind for %s", c.want, c.name), func(h inventory.Host) bool { return h.Behind == c.want })
	}
	r.setVersion("-2")
	r.deploy(m)
	if h := r.ended(m); h.Behind != 0 {
		t.Errorf("after a deploy: %d behind", h.Behind)
	}
}

func TestDeployWakesAMachineThatIsOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	woken := make(chan inventory.MAC, 10)
	r.cfg.Wake = func(_ context.Context, mac inventory.MAC) error { woken <- mac; return nil }
	r.start()
	m := r.install(1, "node1", "plain")
	for len(woken) > 0 { // its install may have woken it, too
		<-woken
	}
	m.cut("off")
	r.setVersion("-2")
	r.deploy(m)
	select {
	case mac := <-woken:
		if mac != m.mac {
			t.Errorf("woken: %s", mac)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nothing was woken:\n%s", r.logText(m))
	}
	m.powerOn()
	if h := r.ended(m); h.Error != "" || h.InstalledSystem != "/nix/store/system-node1-2" {
		t.Errorf("after it was woken: error %q, system %s", h.Error, h.InstalledSystem)
	}
	if n := len(woken); n != 0 {
		t.Errorf("it was woken %d times more", n)
	}
}
