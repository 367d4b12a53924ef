package web

import (
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// planView is the plan with what a person may do about it.
type planView struct {
	diskplan.Plan
	Act   string // "install" or "reinstall", "" = nothing to confirm
	Asks  []ask  // disks that must be typed out
	Stuck []diskplan.Blocker
	Wipes []diskplan.Binding // persistent slots whose data is kept unless asked otherwise
	// Formats are the persistent slots whose disk may be formatted alone, now.
	Formats []diskplan.Binding
	Keeps   bool
	Old     bool   // the disks were last seen before the last install
	By      string // who confirmed it for the open job, "" = nobody
}

// ask is one disk whose erasure a person must type out.
type ask struct {
	diskplan.Binding
	Blocker    diskplan.Blocker
	Persistent bool
}

// makePlanView plans for a person who looks; j is the host's last job, zero when there was none.
func makePlanView(h *inventory.Host, role inventory.Role, j *inventory.Job) *planView {
	in := diskplan.Input{Host: *h, Role: role}
	if j.Kind.Upkeep() { // it confirms no install
		j = &inventory.Job{}
	}
	if j.Open() {
		in.WipePersistent = j.WipePersistent
	}
	v := &planView{Plan: diskplan.Make(in), Old: h.Facts != nil && stale(h)}
	if c := confirmed(j); j.Open() && c.PlanID != "" && v.Confirmed(c) == nil {
		v.By = j.By
	}
	if v.Old {
		v.settle()
	}
	v.Keeps = v.KeepsPersistent()
	for _, b := range v.Blockers {
		slot, _ := v.Slot(b.Slot)
		switch b.Kind {
		case diskplan.BlockForeign, diskplan.BlockForeignPersistent:
			v.Asks = append(v.Asks, ask{Binding: slot, Blocker: b, Persistent: b.Kind == diskplan.BlockForeignPersistent})
		default:
			v.Stuck = append(v.Stuck, b)
		}
	}
	for _, b := range v.Slots {
		asked := slices.ContainsFunc(v.Asks, func(a ask) bool { return a.Slot == b.Slot })
		if b.Class == inventory.ClassPersistent && b.Fate == diskplan.FateKeep && !asked {
			v.Wipes = append(v.Wipes, b)
		}
	}
	if h.Upkeep != "" {
		return v
	}
	v.Formats = formats(h, role)
	switch h.State {
	case inventory.StateQueued, inventory.StateReady:
		v.Act = "install" // of a queued reinstall too: it confirms the open job
	case inventory.StateInstalled:
		v.Act = "reinstall"
	}
	if len(v.Asks) == 0 && h.State == inventory.StateQueued && len(v.Wipes) == 0 {
		v.Act = ""
	}
	return v
}

// formats lists the persistent slots whose disk may be formatted by itself as things stand.
func formats(h *inventory.Host, role inventory.Role) (out []diskplan.Binding) {
	if h.State != inventory.StateInstalled && h.State != inventory.StateReady || h.Attention != "" {
		return nil
	}
	for slot, s := range role.Disks {
		if s.Class != inventory.ClassPersistent {
			continue
		}
		p := diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: []string{slot}})
		if b, ok := p.Slot(slot); ok && p.ConfirmedFormat(inventory.FormatOrder{PlanID: p.ID, Slot: slot, Word: b.Word()}) == nil {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b diskplan.Binding) int { return strings.Compare(a.Slot, b.Slot) })
	return out
}

// Holding says in a few words what is on a disk of the plan.
func (v *planView) Holding(disk string) string {
	for _, d := range v.Disks {
		if d.ID == disk {
			return d.Holds
		}
	}
	return "something unknown"
}

// settle tells of disks as the last install left them, where they were looked at only before it.
func (v *planView) settle() {
	for i := range v.Slots {
		b := &v.Slots[i]
		if b.Owned != inventory.ClassPersistent || b.Class != b.Owned || b.Fate != diskplan.FateFormatIfBlank {
			continue
		}
		b.Fate = diskplan.FateKeep
		for j := range v.Disks {
			if d := &v.Disks[j]; d.Slot == b.Slot {
				d.Fate, d.Holds, d.Why = diskplan.FateKeep, "what was put there since the last install", "It is persistent: mounted as it is."
			}
		}
	}
	for i := range v.Disks {
		if d := &v.Disks[i]; d.Fate == diskplan.FateWipe && d.Holds == "nothing" {
			d.Holds, d.Why = "the installed system", "It is formatted at every install."
		}
	}
}

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

// barPart is one partition in a bar of 1000 units.
type barPart struct {
	X, Width int
	Empty    bool
	Label    string
}

// Blank reports whether nothing is lost when it is formatted.
func (b diskBar) Blank() bool { return b.Holds == "nothing" }

// diskBars draws the host's disks; plan may be nil.
func diskBars(h *inventory.Host, plan *planView) []diskBar {
	if h.Facts == nil {
		return nil
	}
	var out []diskBar
	for i, d := range h.Facts.Disks {
		b := diskBar{Disk: d, Parts: barParts(&d), Ours: h.OwnedDisks[d.ID], Holds: holds(&d)}
		if plan != nil && i < len(plan.Disks) {
			f := plan.Disks[i]
			b.Fate, b.Slot, b.Why, b.Holds = f.Fate, f.Slot, f.Why, f.Holds
			if f.Slot != "" && slices.ContainsFunc(plan.Asks, func(a ask) bool { return a.Persistent && a.Slot == f.Slot }) {
				b.Fate = fateAsk
			}
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
	text := ""
	for i, s := range d.Signatures {
		if i > 0 {
			text += ", "
		}
		text += s
	}
	if n := len(d.Partitions); n > 0 {
		text += " with " + plural(n, "partition")
	}
	return text
}

func barParts(d *inventory.Disk) []barPart {
	if d.SizeBytes == 0 {
		return nil
	}
	var out []barPart
	x := 0
	for _, p := range d.Partitions {
		w := int(float64(p.SizeBytes) / float64(d.SizeBytes) * 1000)
		w = min(max(w, 8), 1000-x)
		if w <= 0 {
			break
		}
		out = append(out, barPart{X: x, Width: w, Label: first(p.FSLabel, p.Label, p.FS, "unknown")})
		x += w
	}
	if x < 1000 {
		out = append(out, barPart{X: x, Width: 1000 - x, Empty: len(d.Partitions) > 0 || d.Blank(), Label: "free"})
	}
	return out
}
