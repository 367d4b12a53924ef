package web

import (
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// TestRolesPageTellsTheRulesAndTheTrace: all that a rule asks, what it would do to which disk, and what the
// evaluation of a broken hive said beside the last good roles.
func TestRolesPageTellsTheRulesAndTheTrace(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.update(func(tx *inventory.Tx) error {
		h := testHive()
		w := h.Roles["worker"]
		w.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "QEMU*", MinMemoryBytes: 4 << 30, MaxMemoryBytes: 16 << 30, MinDisks: 2, MaxDisks: 3,
			DiskType: "ssd", MinDiskBytes: 10e9, MaxDiskBytes: 2e12}}
		h.Roles["worker"] = w
		h.Error, h.Trace = "Reading the roles: attribute missing.", "error: <attribute> missing\n  at flake.nix:3"
		return tx.PutHive(h)
	})
	blank, foreign := facts(), facts()
	foreign.Serial, foreign.UUID = "SN-2", ""
	foreign.Disks = append(foreign.Disks[:0:0], foreign.Disks...)
	foreign.Disks[0].Signatures = []string{"ntfs"}
	b.checkIn(1, blank)
	b.checkIn(2, foreign)
	b.signIn()
	page := b.page("/roles")
	for _, want := range []string{"Reading the roles: attribute missing.", "last good ones", "error: &lt;attribute&gt; missing\n  at flake.nix:3",
		"vendor QEMU*, memory ≥ 4 GiB, memory ≤ 16 GiB, disks ≥ 2, disks ≤ 3, a disk of type ssd ≥ 10 GB ≤ 2 TB.",
		"It installs by itself and formats OS1 for os (nothing), formats DATA1 for data (nothing).",
		"It would wait for a person: Disk QEMU HARDDISK 20 GB serial OS1"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(page[strings.Index(page, "<main"):])
	}
}

// TestTwoRulesForOneMachineShow: nothing is done, and the table says why.
func TestTwoRulesForOneMachineShow(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.update(func(tx *inventory.Tx) error {
		h := testHive()
		for n, r := range h.Roles {
			r.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "QEMU*"}}
			h.Roles[n] = r
		}
		return tx.PutHive(h)
	})
	b.checkIn(1, facts())
	b.signIn()
	if page := b.page("/"); !strings.Contains(page, "The rules of roles server, worker all mean it, so none acts") {
		t.Errorf("the table does not say that two rules mean the machine:\n%s", page[strings.Index(page, "<tbody"):])
	}
}
