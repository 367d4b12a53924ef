package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestAnInstalledMachineIsNotWrittenTo does to an installed machine what might make it a target for install again, with a
// rule that means every machine and the boldest discovery, then lets it netboot: it runs its own disk, and nothing writes.
func TestAnInstalledMachineIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	cancel := func(r *rig, m *machine) {
		r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
			_, err := inventory.Cancel(tx, id, time.Now())
			return err
		})
	}
	reinstall := func(r *rig, m *machine) {
		r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
			_, _, err := inventory.Reinstall(tx, id, inventory.Confirmation{PlanID: "not this one"}, "admin", time.Now())
			return err
		})
	}
	for _, c := range []struct {
		name   string
		do     func(r *rig, m *machine)
		writes int // of the act itself
	}{
		{"a cancelled reinstall", func(r *rig, m *machine) {
			reinstall(r, m)
			r.until(m, "waited", func(h inventory.Host) bool { return h.BlockedOn != "" })
			cancel(r, m)
		}, 0},
		{"a verification that fails", func(r *rig, m *machine) {
			r.stop()
			r.cfg.Limits.Verify = time.Second
			r.start()
			m.mu.Lock()
			m.noBoot = true
			m.mu.Unlock()
			r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
				_, _, err := inventory.Reinstall(tx, id, inventory.Confirmation{}, "admin", time.Now())
				return err
			})
			r.until(m, "was restarted", func(inventory.Host) bool { return slices.Contains(m.did(), "disk reboot") })
			m.boot(inventory.DiscoveryOnce) // a person switches it on: into stage-0
			r.untilState(m, inventory.StateFailed)
		}, 1},
		{"forgetting it", func(r *rig, m *machine) {
			r.act(m, func(tx *inventory.Tx, id inventory.HostID) error { return inventory.Forget(tx, id, time.Now()) })
		}, 0},
		{"the restore of a backup", func(r *rig, m *machine) {
			reinstall(r, m)
			r.act(m, func(tx *inventory.Tx, _ inventory.HostID) error {
				return inventory.Restored(tx, time.Now(), time.Now())
			})
			cancel(r, m)
		}, 0},
		{"a deploy that fails", func(r *rig, m *machine) {
			m.mu.Lock()
			m.onTrial.full = true
			m.mu.Unlock()
			r.deploy(m)
			r.ended(m)
		}, 0},
		{"a deploy", func(r *rig, m *machine) { r.setVersion("-2"); r.deploy(m); r.ended(m) }, 0},
		{"a format", func(r *rig, m *machine) {
			if err := r.formatNow(m, "data", "data1"); err != nil {
				t.Error(err)
			}
			r.ended(m)
		}, 1},
		{"a cancelled format", func(r *rig, m *machine) {
			m.mu.Lock()
			m.noBoot = true // it does not come to stage-0
			m.mu.Unlock()
			if err := r.formatNow(m, "data", "data1"); err != nil {
				t.Error(err)
			}
			cancel(r, m)
		}, 0},
		{"a rescue", func(r *rig, m *machine) {
			r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
				_, err := inventory.Rescue(tx, id, time.Now().Add(time.Minute))
				return err
			})
			m.powerOn()
			if m.mode != "stage-0" {
				t.Errorf("the rescue led to %s", m.mode)
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, m := installed(t, 1, "node1", "plain")
			r.forgetStage0(m)
			r.hive.mu.Lock()
			rule := r.hive.roles["agent"]
			rule.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "*"}}
			r.hive.roles["agent"] = rule
			r.hive.rev++
			r.hive.mu.Unlock()
			c.do(r, m)
			m.cut("off")
			m.mu.Lock()
			m.noBoot = false
			m.mu.Unlock()
			for range 2 {
				m.boot(inventory.DiscoveryAlways)
				m.mu.Lock()
				mode := m.mode
				m.mu.Unlock()
				if mode != "disk" {
					t.Errorf("its netboot leads to %s", mode)
				}
			}
			if h := r.host(m); !h.EverFlipped || h.State != inventory.StateInstalled && !(h.State == inventory.StateFailed && h.Flipped) {
				t.Errorf("it is %s, ever installed %v", h.State, h.EverFlipped)
			}
			writes := 0
			for _, d := range m.did() {
				if strings.HasSuffix(d, " install") || strings.Contains(d, " format ") {
					writes++
				}
			}
			if writes != 1+c.writes {
				t.Errorf("its disks were written to %d times, want %d: %v", writes, 1+c.writes, m.did())
			}
		})
	}
}

func TestServersWaitForAFixedAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Reserved = nil
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "server1", "server")
	r.until(m, "waited for an address", func(h inventory.Host) bool {
		return h.BlockedOn == "Waits for a fixed address: server1 is to be a server of cluster home, whose nodes know it by its address. Reserve one for it, or give it a static one."
	})
	// Where it will be found once its own system runs; DHCP has given stage-0 another one.
	fixed := inventory.Address{IP: m.addr.Addr(), Static: true, Prefix: 8}
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Assign(tx, id, inventory.Assignment{Address: &fixed}, "admin", false, time.Now())
		return err
	})
	h := r.untilState(m, inventory.StateInstalled)
	if h.IP != m.addr.Addr() {
		t.Errorf("it is recorded at %s, want where it answers, %s", h.IP, m.addr.Addr())
	}
	r.hive.mu.Lock()
	got := r.hive.written[len(r.hive.written)-1].Host.Address
	r.hive.mu.Unlock()
	if got == nil || got.IP != fixed.IP || !got.Static || got.Prefix != 8 {
		t.Errorf("host.json has address %+v, want %+v", got, fixed)
	}
	agent := r.machine(2)
	agent.powerOn()
	r.assign(agent, "agent1", "agent")
	r.untilState(agent, inventory.StateInstalled)
	r.hive.mu.Lock()
	part := r.hive.written[len(r.hive.written)-1].Host.K3s
	r.hive.mu.Unlock()
	if want := "https://" + fixed.IP.String() + ":6443"; part == nil || part.ServerURL != want {
		t.Errorf("the agent joins %+v, want %s", part, want)
	}
	if agent.planted["var/lib/hatchery/k3s-token"] != "" || agent.planted["var/lib/hatchery/k3s-agent-token"] == "" {
		t.Error("an agent got the server's token, or not its own")
	}
}

func TestNothingElseOrdersAMachineAroundDuringUpkeep(t *testing.T) {
	t.Parallel()
	r, m := installed(t, 1, "node1", "plain")
	r.hive.mu.Lock()
	r.hive.hold = make(chan struct{})
	hold := r.hive.hold
	r.hive.mu.Unlock()
	r.deploy(m)
	r.until(m, "was built", func(h inventory.Host) bool { return h.Step == StepBuild })
	if err := r.Reboot(t.Context(), r.host(m).ID, "admin"); err == nil || !strings.Contains(err.Error(), "a job works on host node1") {
		t.Errorf("a reboot during a deploy: got %v", err)
	}
	close(hold)
	r.ended(m)
	if err := r.Reboot(t.Context(), r.host(m).ID, "admin"); err != nil {
		t.Errorf("a reboot afterwards: %v", err)
	}
}
