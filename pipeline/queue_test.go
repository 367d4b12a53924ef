package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
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
			if ruleMayAct(&h) {
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
		for deadline := time.Now().Add(10 * time.Second); !ok(read()); time.Sleep(5 * time.Millisecond) {
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
	r.hive.rev, r.hive.evalErr = 2, nil
	r.hive.roles = map[string]inventory.Role{"plain": testRole("plain")}
	r.hive.mu.Unlock()
	wait("were replaced", func(h inventory.Hive) bool { return len(h.Roles) == 1 && h.Error == "" && h.Revision == "2" })
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
