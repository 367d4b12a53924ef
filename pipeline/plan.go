package pipeline

import (
	"errors"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// makePlan plans the disks of a job from the host's facts, and says what of the person's
// confirmation still counts.
func makePlan(h *inventory.Host, role inventory.Role, j *inventory.Job, rec *record) (diskplan.Plan, inventory.Confirmation) {
	c := inventory.Confirmation{PlanID: j.PlanID, Confirm: j.Confirm, WipePersistent: rec.wipes(j.WipePersistent)}
	p := diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: c.WipePersistent, Begun: rec.begun(h, j), Auto: j.Auto})
	if c.PlanID != "" && c.PlanID != p.ID && j.Wrote && len(c.WipePersistent) == 0 && sameDisks(&p, rec.Last) {
		// An earlier attempt wrote to these very disks, so they do not look as they were confirmed. The
		// confirmation has served; what the plan holds now must need none.
		c = inventory.Confirmation{}
	}
	return p, c
}

// sameDisks reports whether the plan binds every slot to the disk that the last attempt wrote to.
func sameDisks(p *diskplan.Plan, last *hive.Plan) bool {
	if last == nil {
		return false
	}
	n := 0
	for _, b := range p.Slots {
		if b.Disk == "" {
			continue
		}
		n++
		d, ok := last.Disks[b.Slot]
		now := hive.PlanDisk{Class: b.Class, ID: b.Disk, Serial: b.Serial, WWN: b.WWN}
		if inventory.ByPath(b.Disk) {
			now.SizeBytes, now.Model = b.SizeBytes, b.Model
		}
		if !ok || !samePlanned(now, d) {
			return false
		}
	}
	return n == len(last.Disks)
}

// samePlanned reports whether two plans mean one disk for a slot, whatever is on it.
func samePlanned(a, b hive.PlanDisk) bool {
	return a.Class == b.Class && a.ID == b.ID && a.Serial == b.Serial && a.WWN == b.WWN && a.SizeBytes == b.SizeBytes && a.Model == b.Model
}

// obstacle is the sentence that stands in the plan's way, "" when it may be carried out.
func obstacle(p *diskplan.Plan, c inventory.Confirmation) string {
	err := p.Confirmed(c)
	if err == nil {
		return ""
	}
	if errors.Is(err, diskplan.ErrBlocked) {
		if left := p.Blocking(c); len(left) > 0 {
			text := "Waits for a person. " + left[0].Text + " " + left[0].Do
			if more := len(left) - 1; more > 0 {
				text += " The disk plan has " + count(more, "further point", "further points") + "."
			}
			return text
		}
	}
	return "Waits for a person. " + planText(err)
}

// planText is an error of the disk plan as a sentence, without the fixed word that only programs need.
func planText(err error) string {
	text := err.Error()
	for _, s := range []error{diskplan.ErrBlocked, diskplan.ErrChanged} {
		text = strings.TrimSuffix(text, ": "+s.Error())
	}
	return sentence(text)
}

// hivePlan is the plan in the form that the install script is built for.
func hivePlan(p *diskplan.Plan, h *inventory.Host, wipes []string) *hive.Plan {
	out := &hive.Plan{ID: p.ID, Disks: map[string]hive.PlanDisk{}, WipePersistent: []string{}}
	for _, b := range p.Slots {
		if b.Disk == "" {
			continue
		}
		i := slices.IndexFunc(h.Facts.Disks, func(d inventory.Disk) bool { return d.StableName() == b.Disk })
		d := hive.PlanDiskOf(b.Class, h.Facts.Disks[i])
		d.Owned = b.Owned == b.Class
		out.Disks[b.Slot] = d
		if b.Class == inventory.ClassPersistent && b.Wiped && (b.Confirm == "" || slices.Contains(wipes, b.Slot)) {
			out.WipePersistent = append(out.WipePersistent, b.Slot)
		}
	}
	return out
}

// diskIDs lists the names of the plan's disks, in order of slot.
func diskIDs(p *hive.Plan) []string {
	var ids []string
	for _, s := range slotsOf(p) {
		ids = append(ids, p.Disks[s].ID)
	}
	return ids
}
