package web

import (
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// fateAsk is shown for a disk whose fate a person must decide.
const fateAsk diskplan.Fate = "ask"

// diskBar is a disk drawn as a bar with its partitions, and what becomes of it.
type diskBar struct {
	inventory.Disk
	Fate  diskplan.Fate // "" without a plan
	Slot  string
	Why   string
	Holds string
	Parts []barPart
	Ours  string // class under which it is ours, "" = not
}

// barPart is one partition, or the space that none has, in a bar of 1000 units.
type barPart struct {
	X, Width int
	Empty    bool   // nothing is known to be there
	Name     string // "Partition 1", "Whole disk", "Free"; "" = not listed
	Holds    string // "vfat, EFI"
	Size     uint64
	Becomes  string // what the plan does to it: "erased", "kept"; "" without a plan, and for free space
}

// maxParts is how many partitions of a disk are listed one by one.
const maxParts = 16

// Blank reports whether nothing is lost when it is formatted.
func (b diskBar) Blank() bool { return b.Holds == "nothing" }

// Loses reports whether what is on it is lost, or may be.
func (b diskBar) Loses() bool {
	return !b.Blank() && (b.Fate == diskplan.FateWipe || b.Fate == fateAsk)
}

// Kept reports whether it is mounted as it is.
func (b diskBar) Kept() bool { return b.Fate == diskplan.FateKeep }

// diskBars draws the host's disks; plan may be nil.
func diskBars(h *inventory.Host, plan *planView) []diskBar {
	if h.Facts == nil {
		return nil
	}
	var out []diskBar
	for i, d := range h.Facts.Disks {
		b := diskBar{Disk: d, Ours: h.OwnedDisks[d.ID], Holds: holds(&d)}
		if plan != nil && i < len(plan.Disks) {
			f := plan.Disks[i]
			b.Fate, b.Slot, b.Why, b.Holds = f.Fate, f.Slot, f.Why, f.Holds
			if f.Slot != "" && slices.ContainsFunc(plan.Asks, func(a ask) bool { return a.Persistent && a.Slot == f.Slot }) {
				b.Fate = fateAsk
			}
		}
		if b.Parts = barParts(&d, b.Fate); d.Blank() && !b.Blank() { // written since it was looked at
			b.Parts = []barPart{{Width: 1000, Name: "Whole disk", Holds: b.Holds, Size: d.SizeBytes, Becomes: becomes(b.Fate)}}
		}
		out = append(out, b)
	}
	return out
}

// holds says in a few words what is on a disk.
func holds(d *inventory.Disk) string {
	if d.Blank() {
		return "nothing"
	}
	text := strings.Join(d.Signatures, ", ")
	if n := len(d.Partitions); n > 0 {
		text += " with " + plural(n, "partition")
	}
	return text
}

// becomes is what a fate means for something that is on the disk.
func becomes(f diskplan.Fate) string {
	return map[diskplan.Fate]string{diskplan.FateWipe: "erased", diskplan.FateFormatIfBlank: "erased", diskplan.FateKeep: "kept",
		diskplan.FateUntouched: "untouched", fateAsk: "erased if you confirm it"}[f]
}

// barParts divides a disk into its partitions and the rest, in the order of their numbers. The parts fill the bar.
func barParts(d *inventory.Disk, fate diskplan.Fate) []barPart {
	if d.SizeBytes == 0 {
		return nil
	}
	var out []barPart
	x, used := 0, uint64(0)
	put := func(p barPart) {
		p.X, p.Width = x, int(float64(p.Size)/float64(d.SizeBytes)*1000)
		if !p.Empty {
			p.Width = max(p.Width, 8)
		}
		p.Width = min(p.Width, 1000-x)
		x += p.Width
		used += p.Size
		out = append(out, p)
	}
	for i, p := range d.Partitions {
		if i == maxParts {
			rest := barPart{Name: plural(len(d.Partitions)-maxParts, "more partition"), Becomes: becomes(fate)}
			for _, q := range d.Partitions[maxParts:] {
				rest.Size += q.SizeBytes
			}
			put(rest)
			break
		}
		words := slices.DeleteFunc([]string{first(p.FS, "unknown content"), first(p.FSLabel, p.Label)}, func(s string) bool { return s == "" })
		put(barPart{Name: fmt.Sprintf("Partition %d", p.Number), Size: p.SizeBytes, Becomes: becomes(fate), Holds: strings.Join(words, ", ")})
	}
	switch free := d.SizeBytes - min(used, d.SizeBytes); {
	case len(d.Partitions) == 0 && !d.Blank():
		put(barPart{Name: "Whole disk", Holds: strings.Join(d.Signatures, ", "), Size: d.SizeBytes, Becomes: becomes(fate)})
	case free > d.SizeBytes/500:
		put(barPart{Name: "Free", Size: free, Empty: true})
	}
	if x < 1000 { // rounding, and how partitions are aligned
		out = append(out, barPart{X: x, Width: 1000 - x, Empty: true})
	}
	return out
}
