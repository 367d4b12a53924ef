package diskplan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// explainMissing blocks a needed slot that no disk fills: by the disks that nearly would, or by none.
func (m *planner) explainMissing(n string) {
	slot := m.in.Role.Disks[n]
	near := false
	for i := range m.disks {
		d := &m.disks[i]
		if _, used := m.taken[i]; used || !wants(slot.Select, d) {
			continue
		}
		kind := m.unfit(i, slot, false)
		if kind == "" && d.SizeBytes < slot.Select.MinBytes {
			kind = BlockTooSmall
		}
		if kind != "" && kind != BlockBootMedium { // nobody means the stick
			near = true
			m.blockUnfit(kind, n, i)
		}
	}
	if !near {
		m.block(Blocker{Kind: BlockMissing, Slot: n, Text: fmt.Sprintf("Slot %s wants %s; the machine has none that is free.", n, describe(slot.Select)),
			Do: "Put such a disk in and power the machine on again, pin the slot to one of its disks, or choose another role."})
	}
}

// blockUnfit blocks a slot because the disk it would have must not be used.
func (m *planner) blockUnfit(kind BlockerKind, n string, i int) {
	d := &m.disks[i]
	text, do := "", ""
	switch kind {
	case BlockBootMedium:
		text, do = "stage-0 runs from it", "Netboot the machine, or pin the slot to another disk."
	case BlockReadOnly:
		text, do = "it is read-only", "Take its write protection off and power the machine on again, or pin the slot to another disk."
	case BlockNoID:
		text, do = "it has no stable name in /dev/disk/by-id, so nothing could make sure that the right disk is written to",
			"In a virtual machine give the disk a serial number; else use a disk that has one."
		if d.Path != "" {
			do = fmt.Sprintf("In a virtual machine give the disk a serial number; or, if you mean whatever hangs at that port, pin the slot to %s by hand.", d.StableName())
		}
	case BlockDuplicate:
		text, do = "another disk shows the same serial number, WWN or partitions: one disk by two paths, or an enclosure that hides the disk's own",
			"Leave one path only, or connect the disk directly."
	case BlockRemovable:
		text, do = "it is a USB or removable disk", "Pin the slot to it if you mean it, or name it in the slot's select."
	case BlockTooSmall:
		text, do = "it needs "+size(m.in.Role.Disks[n].Select.MinBytes), "Put a larger disk in, or lower minBytes of the slot in the hive."
		if d.SizeBytes == 0 {
			text, do = "there is no medium in it", "Put a medium in and power the machine on again, or pin the slot to another disk."
		}
	case BlockNoSerial:
		text, do = "it has neither a serial number nor a WWN", "Pin the slot to it if you mean it."
	}
	m.blockDisk(kind, n, i, fmt.Sprintf("Slot %s cannot have disk %s: %s.", n, label(d), text), do)
}

// judgeGone blocks persistent slots whose data is on a disk that is not there any more: an
// empty disk in its place would look like success.
func (m *planner) judgeGone(names []string) {
	var lost []string // persistent disks of ours that are gone
	for id, class := range m.in.Host.OwnedDisks {
		if class == inventory.ClassPersistent && (m.find(id) < 0 || inventory.ByPath(id)) { // a port is not found, it is pinned
			lost = append(lost, id)
		}
	}
	slices.Sort(lost)
	for _, n := range names {
		if m.in.Role.Disks[n].Class != inventory.ClassPersistent || m.in.Host.Pins[n] != "" {
			continue
		}
		if i, ok := m.bind[n]; ok && m.owned(&m.disks[i]) == inventory.ClassPersistent {
			continue
		}
		gone := m.in.Host.Bound[n]
		switch {
		case slices.Contains(lost, gone):
		case gone == "" && len(m.in.Host.Bound) == 0 && len(lost) > 0:
			gone = strings.Join(lost, ", ")
		default:
			continue
		}
		if m.find(gone) >= 0 {
			m.block(Blocker{Kind: BlockMissing, Slot: n, Disk: gone, Text: fmt.Sprintf("The data of slot %s is on the disk at port %s, and the slot is not pinned to it any more.", n, strings.TrimPrefix(gone, inventory.PathPrefix)),
				Do: fmt.Sprintf("Pin the slot to %s again; or pin it to another disk to go on without the data.", gone)})
			continue
		}
		m.block(Blocker{Kind: BlockMissing, Slot: n, Disk: gone, Text: fmt.Sprintf("The data of slot %s is on disk %s, which the machine does not have now.", n, gone),
			Do: "Plug that disk in and power the machine on again; or pin the slot to another disk to go on without the data."})
	}
}

// binding judges what a slot has and blocks what needs a person.
func (m *planner) binding(n string) Binding {
	slot := m.in.Role.Disks[n]
	b := Binding{Slot: n, Class: slot.Class, Optional: slot.Optional, Contents: []string{}}
	i, ok := m.bind[n]
	if !ok {
		b.Why = "No disk fills it."
		if slot.Optional {
			b.Why = "No disk is left for it; the role works without."
		}
		return b
	}
	d := &m.disks[i]
	b.Disk, b.Serial, b.WWN, b.Model, b.SizeBytes = d.StableName(), d.Serial, d.WWN, d.Model, d.SizeBytes
	b.Contents, b.Owned = contents(d), m.owned(d)
	if slot.Class == inventory.ClassPersistent && b.Owned == slot.Class && m.stranger(d, n) {
		b.Owned = ""
	}
	why := ""
	if slot.Class == inventory.ClassEphemeral {
		why = m.judgeEphemeral(&b, i)
	} else {
		why = m.judgePersistent(&b, i)
	}
	b.Why = fmt.Sprintf("Chosen: %s. %s", m.how[n], why)
	return b
}

func (m *planner) judgeEphemeral(b *Binding, i int) string {
	d := &m.disks[i]
	b.Fate = FateWipe
	switch {
	case d.Blank():
		return "It is blank and is formatted."
	case b.Owned == inventory.ClassEphemeral && !inventory.ByPath(b.Disk):
		return "An earlier install of this host is on it; it is erased and formatted anew."
	}
	b.Confirm = b.Word()
	what := "data that this appliance did not put there"
	if b.Owned == inventory.ClassPersistent {
		what = "persistent data of this host"
	} else if inventory.ByPath(b.Disk) {
		what = "data, and nothing tells whose: a disk that is known by its port alone may be another one at every start"
	}
	m.blockDisk(BlockForeign, b.Slot, i, fmt.Sprintf("Disk %s for slot %s holds %s: %s.", label(d), b.Slot, what, m.holds(d)),
		fmt.Sprintf("If it may be erased, confirm it with %s; else pin the slot to another disk.", b.Confirm))
	return "It holds " + what + ", which is erased once a person confirms it."
}

func (m *planner) judgePersistent(b *Binding, i int) string {
	d := &m.disks[i]
	other := ""
	for s, id := range m.in.Host.Bound {
		if s != b.Slot && d.Called(id) && (other == "" || s < other) { // always the same one
			other = s
		}
	}
	switch {
	case slices.Contains(m.in.WipePersistent, b.Slot) && !d.Blank():
		b.Fate, b.Wiped, b.Confirm = FateWipe, true, b.Word()
		m.blockDisk(BlockWipe, b.Slot, i, fmt.Sprintf("The wipe of persistent slot %s was asked for: disk %s loses %s.", b.Slot, label(d), m.holds(d)),
			fmt.Sprintf("Confirm it with %s, or take the wipe back.", b.Confirm))
		return "Its wipe was asked for: all data on it is lost."
	case d.Blank() && b.Owned == inventory.ClassPersistent && !m.wasFilled():
		b.Fate = FateFormatIfBlank
		return "It was blank when it was last looked at; it is formatted unless it holds this host's data by then."
	case d.Blank() && b.Owned == inventory.ClassPersistent:
		b.Fate = FateFormatIfBlank
		return "It held persistent data of this host but is blank now; it is formatted."
	case d.Blank():
		b.Fate = FateFormatIfBlank
		return "It is blank and is formatted this once; later installs keep it."
	case b.Owned == inventory.ClassPersistent && other == "" && m.in.Begun[b.Slot] == b.Disk && halfFormatted(d, b.Slot):
		b.Fate, b.Wiped = FateWipe, true
		return "It was blank when this install began to format it and was cut short; no file system is on it yet. It is formatted anew."
	case b.Owned == inventory.ClassPersistent && other == "":
		b.Fate = FateKeep
		return "Its data is kept and mounted as it is."
	}
	b.Fate, b.Confirm = FateKeep, b.Word()
	what, skip := "data that this appliance did not put there", ""
	if b.Optional {
		skip = `, or to "none" to go without`
	}
	switch {
	case other != "":
		what = "what slot " + other + " had"
	case b.Owned == inventory.ClassEphemeral:
		what = "an earlier system of this host"
	}
	m.blockDisk(BlockForeignPersistent, b.Slot, i, fmt.Sprintf("Disk %s for persistent slot %s holds %s: %s.", label(d), b.Slot, what, m.holds(d)),
		fmt.Sprintf("Save the data and ask for the wipe of slot %s, confirmed with %s; or pin the slot to another disk%s.", b.Slot, b.Confirm, skip))
	return "It holds " + what + "; nothing is done before a person decides."
}

// wasFilled reports whether a disk that is recorded as persistent was formatted before the machine reported its disks. It is
// recorded before an install's first write, so until one is complete, and the machine looked again, nobody knows.
func (m *planner) wasFilled() bool {
	return m.installed() && !m.in.Host.ReportedAt.Before(m.in.Host.InstalledAt)
}

// installed reports whether what is recorded of the disks is that of an install that is complete.
func (m *planner) installed() bool {
	h := &m.in.Host
	return h.EverFlipped && (!h.Wrote || h.State == inventory.StateInstalled)
}

// halfFormatted reports whether all that is on a disk is a partition table as disko makes it for the slot (its
// partitions are called disk-SLOT-…), with nothing in any partition.
func halfFormatted(d *inventory.Disk, slot string) bool {
	foreign := func(s string) bool { return s != "gpt" && s != "PMBR" }
	return !slices.ContainsFunc(d.Signatures, foreign) && !slices.ContainsFunc(d.Partitions, func(p inventory.Partition) bool {
		return p.FS != "" || p.FSLabel != "" || !strings.HasPrefix(p.Label, "disk-"+slot+"-")
	})
}

// fate says what happens to disk i.
func (m *planner) fate(i int, slots []Binding) DiskFate {
	d := &m.disks[i]
	f := DiskFate{ID: d.ID, Serial: d.Serial, Model: d.Model, SizeBytes: d.SizeBytes, Type: d.Type, Transport: d.Transport,
		Holds: m.holds(d), Fate: FateUntouched}
	if d.ID == "" {
		f.Path = d.Path
	}
	if n, ok := m.taken[i]; ok {
		b := slots[slices.IndexFunc(slots, func(b Binding) bool { return b.Slot == n })]
		f.Slot, f.Fate, f.Why = n, b.Fate, b.Why
		return f
	}
	switch m.unfit(i, inventory.Slot{}, false) {
	case BlockBootMedium:
		f.Why = "stage-0 runs from it: it is never written to."
	case BlockReadOnly:
		f.Why = "It is read-only."
	case BlockNoID:
		f.Why = "It has no stable name, so it is never written to."
		if d.Path != "" {
			f.Why = "It has no name but its port's, so it is left alone unless a person pins a slot to that."
		}
	case BlockDuplicate:
		f.Why = "Another disk shows the same serial number, WWN or partitions, so it is never written to."
	case BlockRemovable:
		f.Why = "USB and removable disks are left alone unless pinned or named by the role."
	case BlockNoSerial:
		f.Why = "It has neither a serial number nor a WWN; it is left alone unless pinned."
	case BlockTooSmall:
		f.Why = "There is no medium in it."
	default:
		f.Why = fmt.Sprintf("No slot of role %s has it.", m.in.Role.Name)
	}
	return f
}
