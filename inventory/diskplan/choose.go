package diskplan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// unfit says why disk i may not be used for anything, "" when it may; pinned lifts what a person may decide.
func (m *planner) unfit(i int, slot inventory.Slot, pinned bool) BlockerKind {
	d := &m.disks[i]
	named := slot.Select.Transport == "usb" && d.Transport == "usb" ||
		(slot.Select.Serial != "" && inventory.Glob(slot.Select.Serial, d.Serial)) ||
		(slot.Select.Model != "" && inventory.Glob(slot.Select.Model, d.Model))
	switch {
	case d.Boot:
		return BlockBootMedium
	case d.ReadOnly:
		return BlockReadOnly
	case d.SizeBytes == 0:
		return BlockTooSmall
	case d.ID == "" && (!pinned || d.Path == ""):
		return BlockNoID
	case m.double[i]:
		return BlockDuplicate
	case (d.Removable || d.Transport == "usb") && !pinned && !named:
		return BlockRemovable
	case d.Serial == "" && d.WWN == "" && !pinned:
		return BlockNoSerial
	}
	return ""
}

// wants reports whether a slot's select means the disk, its size left aside.
func wants(s inventory.Select, d *inventory.Disk) bool {
	return d.TypeIs(s.Type) && (s.Transport == "" || strings.EqualFold(s.Transport, d.Transport)) &&
		inventory.Glob(s.Model, d.Model) && inventory.Glob(s.Serial, d.Serial)
}

func sizeFits(s inventory.Select, d *inventory.Disk) bool {
	return d.SizeBytes >= s.MinBytes && (s.MaxBytes == 0 || d.SizeBytes <= s.MaxBytes)
}

// bindPins binds the slots that a person pinned. A pin wins over what the role selects,
// never over what must not be written to nor over the size it needs.
func (m *planner) bindPins(names []string) {
	for _, n := range names {
		pin := m.in.Host.Pins[n]
		slot := m.in.Role.Disks[n]
		if pin == "" || pin == PinNone && slot.Optional {
			continue
		}
		i := m.find(pin)
		if i < 0 {
			m.block(Blocker{Kind: BlockMissing, Slot: n, Disk: pin, Text: fmt.Sprintf("Slot %s is pinned to disk %s, which the machine does not have.", n, pin),
				Do: "Plug the disk in and power the machine on again, or change the pin."})
			continue
		}
		if other, dup := m.taken[i]; dup {
			m.blockDisk(BlockSameDisk, n, i, fmt.Sprintf("Slots %s and %s are both pinned to disk %s.", other, n, pin), "Pin one of them to another disk.")
			continue
		}
		if text, do := m.wrongPin(n, i); text != "" {
			m.blockDisk(BlockPort, n, i, text, do)
			continue
		}
		kind := m.unfit(i, slot, true)
		if kind == "" && m.disks[i].SizeBytes < slot.Select.MinBytes {
			kind = BlockTooSmall
		}
		if kind != "" {
			m.blockUnfit(kind, n, i)
			continue
		}
		how := "pinned by hand"
		if inventory.ByPath(pin) {
			how += " to its port, where " + label(&m.disks[i]) + " is now"
		}
		m.take(n, i, how)
	}
}

// wrongPin says why a slot may not have disk i by the pin that it has, "" when it may: a port is what a disk is known
// by only where it has no other name, and where a person looks at what hangs there.
func (m *planner) wrongPin(n string, i int) (text, do string) {
	d := &m.disks[i]
	switch port := inventory.ByPath(m.in.Host.Pins[n]); {
	case port && d.ID != "":
		return fmt.Sprintf("Slot %s is pinned to the port of disk %s, which has a name of its own.", n, label(d)), fmt.Sprintf("Pin the slot to %s, if that is the disk you mean.", d.ID)
	case port && m.in.Auto:
		return fmt.Sprintf("Slot %s is pinned to the port of disk %s: a port is not a disk, so no rule installs by it.", n, label(d)),
			"Look at the disk plan and ask for the install yourself."
	case !port && d.ID == "": // what else it claims to be called does not matter
		return fmt.Sprintf("Slot %s cannot have disk %s: it has no name that plans could use.", n, label(d)), "Pin the slot to another disk."
	}
	return "", ""
}

// open reports whether a slot still looks for a disk by itself.
func (m *planner) open(n string) bool {
	_, bound := m.bind[n]
	return !bound && m.in.Host.Pins[n] == ""
}

// bindPrevious keeps what the last install bound: persistent data always, an ephemeral slot while the role
// still means that disk.
func (m *planner) bindPrevious(names []string) {
	for _, n := range names {
		i := m.find(m.in.Host.Bound[n])
		if i < 0 || !m.open(n) || m.disks[i].ID == "" || inventory.ByPath(m.in.Host.Bound[n]) { // a port takes a person's pin
			continue
		}
		slot, d := m.in.Role.Disks[n], &m.disks[i]
		fits := wants(slot.Select, d) && sizeFits(slot.Select, d) && m.unfit(i, slot, false) == ""
		keep := slot.Class == inventory.ClassPersistent && m.unfit(i, slot, true) == ""
		if _, used := m.taken[i]; used || m.owned(d) != slot.Class || !fits && !keep {
			continue
		}
		how := "as at the last install"
		if !m.installed() {
			how = "as when the install began"
		}
		m.take(n, i, how)
	}
}

// candidates lists the disks that a slot could have, the one it prefers first.
func (m *planner) candidates(n string) []int {
	slot := m.in.Role.Disks[n]
	var out []int
	for i := range m.disks {
		d := &m.disks[i]
		if _, used := m.taken[i]; !used && wants(slot.Select, d) && sizeFits(slot.Select, d) && m.unfit(i, slot, false) == "" {
			out = append(out, i)
		}
	}
	rank := func(i int) int { // whose it was: same class, nobody's, the other class
		switch m.owned(&m.disks[i]) {
		case slot.Class:
			return 0
		case "":
			return 1
		}
		return 2
	}
	slices.SortFunc(out, func(a, b int) int {
		size := cmp.Compare(m.disks[a].SizeBytes, m.disks[b].SizeBytes)
		if slot.Select.Order == "largest" {
			size = -size
		}
		// Equal disks: the smaller name, so that the same machine always gets the same plan.
		return cmp.Or(cmp.Compare(rank(a), rank(b)), size, strings.Compare(m.disks[a].ID, m.disks[b].ID))
	})
	return out
}

// bindRest gives the open slots the disk they prefer, needed slots first, and never one
// without which a needed slot would stay empty.
func (m *planner) bindRest(names []string) {
	var needed, optional []string
	for _, n := range names {
		switch {
		case !m.open(n):
		case m.in.Role.Disks[n].Optional:
			optional = append(optional, n)
		default:
			needed = append(needed, n)
		}
	}
	slices.SortStableFunc(needed, func(a, b string) int { // the system first
		return strings.Compare(m.in.Role.Disks[a].Class, m.in.Role.Disks[b].Class)
	})
	for k, n := range needed {
		rest := needed[k+1:]
		most := m.fillable(append([]string{n}, rest...))
		for _, i := range m.candidates(n) {
			m.take(n, i, "the "+orderWord(m.in.Role.Disks[n].Select)+" that fits")
			if m.fillable(rest)+1 >= most {
				break
			}
			delete(m.bind, n)
			delete(m.taken, i)
		}
		if _, ok := m.bind[n]; !ok {
			m.explainMissing(n)
		}
	}
	for _, n := range optional {
		if c := m.candidates(n); len(c) > 0 {
			m.take(n, c[0], "the "+orderWord(m.in.Role.Disks[n].Select)+" that is left")
		}
	}
}

func orderWord(s inventory.Select) string {
	if s.Order == "largest" {
		return "largest"
	}
	return "smallest"
}

// fillable is how many of the slots could be filled at the same time (bipartite matching, by augmenting paths).
func (m *planner) fillable(names []string) int {
	want := make([][]int, len(names))
	for k, n := range names {
		want[k] = m.candidates(n)
	}
	holder := map[int]int{} // disk → slot
	n := 0
	for k := range names {
		if augment(k, want, holder, map[int]bool{}) {
			n++
		}
	}
	return n
}

func augment(k int, want [][]int, holder map[int]int, tried map[int]bool) bool {
	for _, i := range want[k] {
		if tried[i] {
			continue
		}
		tried[i] = true
		if other, held := holder[i]; !held || augment(other, want, holder, tried) {
			holder[i] = k
			return true
		}
	}
	return false
}
