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
		if d.ID == disk || inventory.PathPrefix+d.Path == disk {
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
