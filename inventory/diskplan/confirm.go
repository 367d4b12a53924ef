package diskplan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// Errors that callers branch on.
var (
	// ErrBlocked says that something stands in the plan's way that was not confirmed.
	ErrBlocked = errors.New("disk plan is blocked")
	// ErrChanged says that the disks are not, or no longer, what was confirmed.
	ErrChanged = errors.New("disk plan has changed")
)

// Blocking lists what still stands in the way once c is taken into account; nothing = go.
// A plan of an automatic job takes no confirmations: no person looked at it.
func (p *Plan) Blocking(c inventory.Confirmation) []Blocker {
	var out []Blocker
	for _, b := range p.Blockers {
		s, _ := p.Slot(b.Slot)
		typed := !p.Auto && c.PlanID == p.ID && s.Confirm != "" && c.Confirm[b.Slot] == s.Confirm
		switch {
		case b.Kind == BlockForeign && typed:
		case (b.Kind == BlockForeignPersistent || b.Kind == BlockWipe) && typed && slices.Contains(c.WipePersistent, b.Slot):
		default:
			out = append(out, b)
		}
	}
	return out
}

// Confirmed reports why the plan may not be carried out with what a person confirmed ("" PlanID: with
// nothing confirmed); nil = go. ErrBlocked, ErrChanged.
func (p *Plan) Confirmed(c inventory.Confirmation) error {
	if c.PlanID != "" && c.PlanID != p.ID {
		return fmt.Errorf("the disks or the role are not as they were when plan %s was confirmed: look at the new plan and confirm it: %w", c.PlanID, ErrChanged)
	}
	for slot, word := range c.Confirm {
		b, ok := p.Slot(slot)
		if !ok || b.Disk == "" || word != b.Serial && word != b.WWN && word != b.Disk && word != b.Word() {
			return fmt.Errorf("slot %s was confirmed with %q, but its disk is %q, serial %q: look at the plan again: %w", slot, word, b.Disk, b.Serial, ErrChanged)
		}
	}
	for _, slot := range c.WipePersistent {
		b, ok := p.Slot(slot)
		switch {
		case !ok || b.Class != inventory.ClassPersistent || b.Disk == "":
			return fmt.Errorf("slot %s is to be wiped but is no persistent slot with a disk: %w", slot, ErrChanged)
		case b.Fate != FateFormatIfBlank && (p.Auto || c.PlanID == "" || c.Confirm[slot] != b.Word()):
			return fmt.Errorf("the wipe of slot %s needs a person who typed %q for this very plan: %w", slot, b.Word(), ErrBlocked)
		}
	}
	if left := p.Blocking(c); len(left) > 0 {
		return fmt.Errorf("%s %s: %w", left[0].Text, left[0].Do, ErrBlocked)
	}
	return nil
}

// Differs reports how the machine's disks are no longer what the plan was made from, as
// seen just before the first write; nil = the same. Disks that no slot has do not matter. ErrChanged.
func (p *Plan) Differs(fresh *inventory.Facts) error {
	if fresh == nil {
		return fmt.Errorf("the machine does not report its disks: %w", ErrChanged)
	}
	double := duplicates(fresh.Disks)
	for _, b := range p.Slots {
		if b.Disk == "" {
			continue
		}
		i := slices.IndexFunc(fresh.Disks, func(d inventory.Disk) bool { return d.Called(b.Disk) })
		if i < 0 {
			return fmt.Errorf("disk %s of slot %s is gone: nothing was written: %w", b.Disk, b.Slot, ErrChanged)
		}
		if why := b.differs(&fresh.Disks[i]); why != "" {
			return fmt.Errorf("disk %s of slot %s %s: nothing was written; look at the new plan: %w", b.Disk, b.Slot, why, ErrChanged)
		}
		if double[i] {
			return fmt.Errorf("disk %s of slot %s: another disk shows the same serial number, WWN or partitions now: nothing was written: %w", b.Disk, b.Slot, ErrChanged)
		}
	}
	return nil
}

// differs says in what the disk is not what it was when it was bound.
func (b *Binding) differs(d *inventory.Disk) string {
	switch {
	case d.Serial != b.Serial:
		return fmt.Sprintf("has serial %q instead of %q", d.Serial, b.Serial)
	case d.WWN != b.WWN:
		return fmt.Sprintf("has WWN %q instead of %q", d.WWN, b.WWN)
	case inventory.ByPath(b.Disk) && d.ID != "":
		return fmt.Sprintf("has a name of its own now, %s", d.ID)
	case inventory.ByPath(b.Disk) && d.Model != b.Model:
		return fmt.Sprintf("is of model %q instead of %q", d.Model, b.Model)
	case d.SizeBytes != b.SizeBytes:
		return fmt.Sprintf("has %d bytes instead of %d", d.SizeBytes, b.SizeBytes)
	case d.Boot:
		return "is the boot medium now"
	case d.ReadOnly:
		return "is read-only now"
	}
	if now := contents(d); !slices.Equal(now, b.Contents) {
		return fmt.Sprintf("holds [%s] instead of [%s]", strings.Join(now, "; "), strings.Join(b.Contents, "; "))
	}
	return ""
}
