package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

func TestQueueInstallsSomeAtOnceAndTellsTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Jobs = 1
	r.hive.hold = make(chan struct{})
	r.start()
	a, b, c := r.machine(1), r.machine(2), r.machine(3)
	for i, m := range []*machine{a, b, c} {
		m.powerOn()
		r.assign(m, fmt.Sprintf("node%d", i+1), "plain")
	}
	r.until(a, "built", func(h inventory.Host) bool { return h.Step == StepBuild })
	r.until(b, "told its turn", func(h inventory.Host) bool {
		return h.BlockedOn == "Waits for its turn: 1 machine is being installed."
	})
	r.until(c, "told its turn", func(h inventory.Host) bool {
		return h.BlockedOn == "Waits for its turn: 1 machine is being installed, 1 other waits longer."
	})
	close(r.hive.hold)
	for _, m := range []*machine{a, b, c} {
		r.untilState(m, inventory.StateInstalled)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	roles := testRoles()
	rule := func(name string, m inventory.Match) {
		role := roles[name]
		role.AutoInstall = &inventory.AutoInstall{Match: m}
		roles[name] = role
	}
	t.Run("one match installs by itself", func(t *testing.T) {
		r := newRig(t)
		r.hive.roles = map[string]inventory.Role{"plain": roles["plain"]}
		role := roles["plain"]
		role.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "qemu*"}}
		r.hive.roles["plain"] = role
		r.start()
		m := r.machine(1)
		m.powerOn()
		h := r.untilState(m, inventory.StateInstalled)
		if j := r.job(m); j.By != "rule plain" || !j.Auto || h.Name != "plain-000001" {
			t.Errorf("job by %q auto %t, host %q", j.By, j.Auto, h.Name)
		}
	})
	t.Run("a rule never confirms foreign data", func(t *testing.T) {
		r := newRig(t)
		role := roles["plain"]
		role.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "qemu*"}}
		r.hive.roles = map[string]inventory.Role{"plain": role}
		r.start()
		m := r.machine(1)
		m.disks[0].Signatures = []string{"ntfs"}
		m.powerOn()
		r.until(m, "was blocked", func(h inventory.Host) bool { return strings.Contains(h.BlockedOn, "os1") })
	})
	rule("plain", inventory.Match{Vendor: "qemu*"})
	rule("server", inventory.Match{MinDisks: 2})
	t.Run("two matches are a message", func(t *testing.T) {
		r := newRig(t)
		r.hive.roles = roles
		m := r.machine(1)
		m.powerOn()
		r.start()
		r.until(m, "got the message", func(h inventory.Host) bool {
			return slices.ContainsFunc(r.diary(h.ID), func(s string) bool { return strings.Contains(s, "roles plain, server all mean this machine") })
		})
		if h := r.host(m); h.Role != "" || h.State != inventory.StateReady {
			t.Errorf("host: role %q, state %s", h.Role, h.State)
		}
		r.start()
		n := 0
		for _, s := range r.diary(r.host(m).ID) {
			if strings.Contains(s, "all mean this machine") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("told %d times, want once", n)
		}
	})
	t.Run("a held or installed host is left alone", func(t *testing.T) {
		for _, h := range []inventory.Host{{State: inventory.StateReady, Held: true}, {State: inventory.StateReady, EverFlipped: true},
			{State: inventory.StateReady, Attention: "Look."}, {State: inventory.StateReady, Role: "x"}, {State: inventory.StateInstalled}} {
			if h.NoRule() == "" {
				t.Errorf("a rule may act on %+v", h)
			}
		}
	})
}

func (r *rig) diary(id inventory.HostID) (texts []string) {
	r.t.Helper()
	if err := r.store.View(func(tx *inventory.Tx) error {
		entries, err := tx.Diary(id, 0, 1000)
		for _, e := range entries {
			texts = append(texts, e.Text)
		}
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return texts
}

func TestClusterServerFirstThenAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	agent, server := r.machine(1), r.machine(2)
	agent.powerOn()
	r.assign(agent, "agent1", "agent")
	r.until(agent, "waited for a server", func(h inventory.Host) bool { return strings.Contains(h.BlockedOn, "first server of cluster home") })
	server.powerOn()
	r.assign(server, "server1", "server")
	r.untilState(server, inventory.StateInstalled)
	r.untilState(agent, inventory.StateInstalled)
	serverToken, agentToken := server.planted["var/lib/hatchery/k3s-token"], server.planted["var/lib/hatchery/k3s-agent-token"]
	if got, ok := agent.planted["var/lib/hatchery/k3s-token"]; ok {
		t.Errorf("the agent has the server's token file: %t", got == serverToken)
	}
	if agent.planted["var/lib/hatchery/k3s-agent-token"] != agentToken || agentToken == "" || agentToken == serverToken {
		t.Error("the agent's token is not the cluster's agent token")
	}
	if got := agent.planted["var/lib/hatchery/host.json"]; !strings.Contains(got, "https://127.0.0.12:6443") || strings.Contains(got, agentToken) {
		t.Errorf("host.json of the agent: %s", got)
	}
}

func TestHiveThatBreaksKeepsTheRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	read := func() (hv inventory.Hive) {
		if err := r.store.View(func(tx *inventory.Tx) (err error) {
			hv, err = tx.Hive()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return hv
	}
	wait := func(what string, ok func(inventory.Hive) bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !ok(read()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the roles never %s: %+v", what, read())
			}
		}
	}
	wait("came", func(h inventory.Hive) bool { return len(h.Roles) == 3 && h.Error == "" })
	r.hive.mu.Lock()
	r.hive.rev, r.hive.evalErr = 1, errors.New("syntax error in flake.nix")
	r.hive.mu.Unlock()
	wait("showed the error", func(h inventory.Hive) bool { return len(h.Roles) == 3 && h.Error == "Syntax error in flake.nix." })
	r.hive.mu.Lock()
	r.hive.rev, r.hive.evalErr = 2, &hive.Failure{What: "reading the roles", Cause: "attribute missing",
		Output: strings.Repeat("x\n", inventory.MaxTrace) + "\x1b[31merror: attribute missing\nat flake.nix:3\n"}
	r.hive.mu.Unlock()
	wait("showed the trace", func(h inventory.Hive) bool {
		return len(h.Roles) == 3 && h.Error == "Reading the roles: attribute missing." && len(h.Trace) < inventory.MaxTrace &&
			strings.HasSuffix(h.Trace, "\n[31merror: attribute missing\nat flake.nix:3")
	})
	r.hive.mu.Lock()
	r.hive.rev, r.hive.evalErr = 3, nil
	r.hive.roles = map[string]inventory.Role{"plain": testRole("plain")}
	r.hive.mu.Unlock()
	wait("were replaced", func(h inventory.Hive) bool {
		return len(h.Roles) == 1 && h.Error == "" && h.Trace == "" && h.Revision == "3"
	})
}

func TestFollowStreamsTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.hive.hold = make(chan struct{})
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	id := r.host(m).ID
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough := errors.New("enough")
	var last uint64
	follow := func(until string) error {
		return r.Follow(ctx, id, last, func(l Line) error {
			if last != 0 && l.No != last+1 {
				t.Errorf("line %d after %d", l.No, last)
			}
			last = l.No
			if strings.Contains(l.Text, until) {
				return enough
			}
			return nil
		})
	}
	if err := follow("building node1"); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	close(r.hive.hold)
	if err := follow("installed: /nix/store/system-node1"); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	cancel()
	if err := follow("never"); err != nil {
		t.Errorf("Follow at the end: %v", err)
	}
}

// TestTheWholeLogIsRead: what memory does not hold any more comes from the file.
func TestTheWholeLogIsRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const printed = 2*ringLines + 17
	r.hive.print = strings.Repeat("a line of the build\n", printed)
	r.start()
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	r.untilState(m, inventory.StateInstalled)
	over := errors.New("over")
	n, last := 0, uint64(0)
	err := r.Follow(t.Context(), r.host(m).ID, 0, func(l Line) error {
		if last != 0 && l.No != last+1 {
			t.Errorf("line %d after %d", l.No, last)
		}
		if last = l.No; l.Text == "a line of the build" {
			n++
		}
		if strings.HasPrefix(l.Text, "installed: ") {
			return over
		}
		return nil
	})
	if !errors.Is(err, over) || n != printed {
		t.Errorf("%d lines of the build, %v; want %d", n, err, printed)
	}
}

func TestOddMachines(t *testing.T) {
	t.Parallel()
	t.Run("a clock that is wrong by years is set", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.start()
		m := r.machine(1)
		m.hook = func(s string) (string, int, bool) {
			return strings.Replace(m.lookOutput(), "\nnow ", "\nnow 1\nwas ", 1), 0, s == "look"
		}
		m.powerOn()
		r.assign(m, "node1", "plain")
		r.untilState(m, inventory.StateInstalled)
		if !slices.Contains(m.did(), "stage-0 clock") {
			t.Errorf("the clock was not set: %v", m.did())
		}
	})
	t.Run("an array that assembled itself is let go of", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.start()
		m := r.machine(1)
		released := false
		m.hook = func(s string) (string, int, bool) {
			released = released || s == "release"
			return strings.Replace(m.lookOutput(), "end\n", "disk virtio-data1 child md127 raid1\nend\n", 1), 0, s == "look" && !released
		}
		m.powerOn()
		r.assign(m, "node1", "plain")
		r.untilState(m, inventory.StateInstalled)
		if !slices.Contains(m.did(), "stage-0 release") {
			t.Errorf("nothing was released: %v", m.did())
		}
	})
	t.Run("one that moved to another address before the install is found there", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.hive.hold = make(chan struct{})
		r.start()
		m, other := r.machine(1), r.machine(2)
		m.powerOn()
		r.assign(m, "node1", "plain")
		r.until(m, "built", func(h inventory.Host) bool { return h.Step == StepBuild })
		m.mu.Lock()
		other.mu.Lock()
		other.mac, other.disks, other.hostKey, other.bootID, other.mode, m.mode = m.mac, m.disks, m.hostKey, m.bootID, m.mode, "off"
		other.mu.Unlock()
		m.mu.Unlock()
		r.act(other, func(tx *inventory.Tx, id inventory.HostID) error { // as its agent's next report does
			h, err := tx.Host(id)
			if err == nil {
				_, err = inventory.Heard(tx, id, h.HostKey, h.BootID, other.addr.Addr(), time.Now())
			}
			return err
		})
		close(r.hive.hold)
		r.untilState(other, inventory.StateInstalled)
	})
}

func TestFullDiskFailsTheJobInWords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	// Stands for a disk that takes no more files: a folder of the data directory that is a file.
	if err := os.RemoveAll(filepath.Join(r.cfg.Dir, "ssh")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.cfg.Dir, "ssh"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	h := r.untilState(m, inventory.StateFailed)
	if h.Step != StepFacts || !strings.Contains(h.Hint, "free space") || h.Wrote {
		t.Errorf("step %s: %s %s, wrote %t", h.Step, h.Error, h.Hint, h.Wrote)
	}
}

func TestOperate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	id := r.host(m).ID
	if err := r.PowerOff(t.Context(), id, "admin"); err != nil {
		t.Fatal(err)
	}
	if err := r.Reboot(t.Context(), id, "admin"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"stage-0 poweroff", "stage-0 reboot"}, m.did()); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	m.cut("off")
	if err := r.Reboot(t.Context(), id, "admin"); err == nil {
		t.Error("a machine that is off took an order")
	}
	if err := r.Reboot(t.Context(), "none", "admin"); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("an unknown host: %v", err)
	}
}

// TestPlanThatIsOutOfDate confirms a plan that the disks have outgrown: the job must end up waiting for the new one.
func TestPlanThatIsOutOfDate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	m.mu.Lock()
	m.disks = slices.Clone(m.disks)
	m.disks[0].Signatures = []string{"ntfs"} // after the check-in
	m.mu.Unlock()
	r.assign(m, "node1", "plain")
	h := r.untilState(m, inventory.StateFailed)
	if h.Step != StepPlan || !strings.Contains(h.Error, "ntfs") {
		t.Errorf("failed in step %s: %s", h.Step, h.Error)
	}
	r.retry(m)
	h = r.until(m, "was blocked", func(h inventory.Host) bool { return strings.Contains(h.BlockedOn, "ntfs") })
	p := diskplan.Make(diskplan.Input{Host: h, Role: testRole("plain")})
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Install(tx, id, inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{"os": "os1"}}, "admin", time.Now())
		return err
	})
	r.untilState(m, inventory.StateInstalled)
}

func TestMachineThatIsOffIsWokenAndBuiltAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.Limits.Fresh = time.Minute
	var woken atomic.Int32
	m := r.machine(1)
	r.cfg.Wake = func(_ context.Context, mac inventory.MAC) error {
		if mac != m.mac {
			t.Errorf("woke %s", mac)
		}
		woken.Add(1)
		return nil
	}
	r.start()
	m.powerOn()
	m.cut("off")
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		h, err := tx.Host(id)
		h.ReportedAt = time.Now().Add(-time.Hour)
		if err == nil {
			_, err = tx.PutHost(h)
		}
		return err
	})
	r.assign(m, "", "plain")
	r.until(m, "was built ahead", func(h inventory.Host) bool {
		return h.State == inventory.StateQueued && h.BlockedOn == waitPower && strings.Contains(r.logText(m), "built ahead: /nix/store/system-plain-000001")
	})
	if n := woken.Load(); n != 1 {
		t.Errorf("woken %d times, want once", n)
	}
	m.powerOn()
	r.untilState(m, inventory.StateInstalled)
}

func TestOnlyServerOfAClusterIsNotLostUnasked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	role := testRole("server")
	role.Disks = map[string]inventory.Slot{"os": role.Disks["os"]}
	r.hive.roles["server"] = role
	r.start()
	m := r.machine(1)
	m.powerOn()
	m.hook = func(s string) (string, int, bool) {
		return fmt.Sprintf("mount /mnt ext4 /dev/vdo1\non /mnt /dev/vdo\nmount /mnt/data ext4 /dev/vdo2\non /mnt/data /dev/vdo\ndisk %s /dev/vdo\nend\n", m.disks[0].ID), 0, s == "mounts"
	}
	r.hive.layout = []hive.Mount{{Path: "/", FS: "ext4", Slot: "os"}}
	m.disks = m.disks[:1]
	r.assign(m, "server1", "server")
	first := r.untilState(m, inventory.StateInstalled)
	again := func(c inventory.Confirmation) {
		r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
			_, _, err := inventory.Reinstall(tx, id, c, "admin", time.Now())
			return err
		})
	}
	again(inventory.Confirmation{})
	h := r.until(m, "was asked about", func(h inventory.Host) bool { return strings.Contains(h.BlockedOn, "loses the cluster") })
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, err := inventory.Cancel(tx, id, time.Now())
		return err
	})
	p := diskplan.Make(diskplan.Input{Host: h, Role: role})
	again(inventory.Confirmation{PlanID: p.ID})
	r.until(m, "went on", func(h inventory.Host) bool {
		return h.JobID != first.JobID && !strings.Contains(h.BlockedOn, "loses the cluster")
	})
}
