package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// fakeNix is a nix whose copy puts the system into the machine's store through the ssh that stands first in PATH.
const fakeNix = `#!/bin/sh
set -eu
for last; do :; done
while [ "$1" != copy ]; do shift; done
[ "$2" = --no-check-sigs ] && [ "$3" = --to ]
host=${4#ssh://}
echo "copying 1 path" >&2
exec ssh -o StrictHostKeyChecking=no $NIX_SSHOPTS "$host" "store $last"
`

// onTrial is the machine's part of a deploy: what trial.go's scripts do on a real one.
type onTrial struct {
	stored             []string // systems in its store besides the one it boots
	running            string   // "" = what it boots
	old, exit, undone  string
	pending, confirmed bool
	undoing            bool     // stays, as on a real machine
	failed             []string // units
	breaks             string   // system whose activation fails
	full               bool     // its disk
	activations        []string
}

// deploy answers the scripts of a deploy; it reports false for any other. The machine's lock is held.
func (m *machine) deploy(name, script string) (out string, code int, ok bool) {
	t := &m.onTrial
	runs := t.running
	if runs == "" {
		runs = m.system
	}
	tell := func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "system %s\nboots %s\nstate running\n", runs, m.system)
		for _, u := range t.failed {
			fmt.Fprintf(&b, "failed %s\n", u)
		}
		for word, is := range map[string]bool{"pending": t.pending, "confirmed": t.confirmed, "undoing": t.undoing, "exit " + t.exit: t.exit != "", "undone " + t.undone: t.undone != ""} {
			if is {
				b.WriteString(word + "\n")
			}
		}
		return b.String() + "log activating\nend\n"
	}
	switch name {
	case "reach":
		return tell(), 0, true
	case "switch":
		_, rest, _ := strings.Cut(script, "new='")
		next, _, _ := strings.Cut(rest, "'")
		if !slices.Contains(t.stored, next) {
			return "", 1, true
		}
		t.old, t.running, t.pending, t.confirmed, t.undoing, t.exit, t.undone = runs, next, true, false, false, "0", ""
		t.activations = append(t.activations, next)
		if next == t.breaks {
			t.exit = "4"
			m.back()
		}
		return "", 0, true
	case "trial":
		return tell(), 0, true
	case "undo":
		if t.pending {
			m.back()
		}
		runs = t.running
		return tell(), 0, true
	case "confirm":
		if !t.pending && m.system != t.running {
			return "", exitLate, true
		}
		t.pending, t.confirmed, m.system = false, true, t.running
		return "", 0, true
	}
	return "", 0, false
}

// back activates the earlier system again. The machine's lock is held.
func (m *machine) back() {
	t := &m.onTrial
	t.pending, t.running, t.undone, t.undoing = false, t.old, "0", true
	t.activations = append(t.activations, t.old)
}

// storeSystem takes a system into the store.
func (m *machine) storeSystem(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.onTrial.full {
		return 28
	}
	m.onTrial.stored = append(m.onTrial.stored, path)
	m.journal = append(m.journal, m.mode+" store")
	return 0
}

// formatScript is the script that formats one slot; it holds the invariants of that write.
func (m *machine) formatScript(command string) (string, int) {
	err := m.store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(m.mac)
		if err != nil {
			return err
		}
		j, err := tx.Job(h.JobID)
		if !j.Wrote || j.Kind != inventory.JobFormat || h.Upkeep != j.Kind || h.OwnedDisks[m.disks[1].ID] != inventory.ClassPersistent {
			m.violate("a format while host %+v job %+v", h, j)
		}
		return err
	})
	if err != nil {
		m.violate("check of a format: %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.journal = append(m.journal, m.mode+" format "+command)
	if m.exit == 0 {
		m.disks = slices.Clone(m.disks)
		m.disks[1].Signatures, m.disks[1].Partitions = []string{"gpt"}, []inventory.Partition{{Number: 1, UUID: "fresh", FS: "ext4"}}
	}
	return "", m.exit
}
