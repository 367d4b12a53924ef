package diskplan

import (
	"fmt"
	"slices"

	"github.com/staged-hive/hatchery/inventory"
)

// ConfirmedFormat reports why one persistent slot may not be wiped and formatted as a person ordered; nil = go.
// p is made with the slot among Input.WipePersistent. What stands in the way of other slots does not matter: their
// disks are not touched. ErrBlocked, ErrChanged.
func (p *Plan) ConfirmedFormat(o inventory.FormatOrder) error {
	b, ok := p.Slot(o.Slot)
	switch {
	case o.PlanID != p.ID:
		return fmt.Errorf("the disks or the role are not as they were when plan %s was looked at: look at the disk plan again: %w", o.PlanID, ErrChanged)
	case !ok:
		return fmt.Errorf("role %s has no slot %s: %w", p.Role, o.Slot, ErrBlocked)
	case b.Class != inventory.ClassPersistent:
		return fmt.Errorf("slot %s is %s: its disk is formatted by a reinstall, not alone: %w", o.Slot, b.Class, ErrBlocked)
	case b.Disk == "":
		return fmt.Errorf("no disk fills slot %s: %w", o.Slot, ErrBlocked)
	case o.Word != b.Word():
		return fmt.Errorf("type %q to have the disk of slot %s formatted: %w", b.Word(), o.Slot, ErrBlocked)
	}
	for _, left := range p.Blockers {
		typed := left.Kind == BlockForeignPersistent || left.Kind == BlockWipe
		if left.Slot == o.Slot && !typed {
			return fmt.Errorf("%s %s: %w", left.Text, left.Do, ErrBlocked)
		}
	}
	return nil
}

// Only is the plan with no slot but the given one: what a job that touches one disk holds against the machine.
func (p *Plan) Only(slot string) Plan {
	out := *p
	out.Slots = slices.DeleteFunc(slices.Clone(p.Slots), func(b Binding) bool { return b.Slot != slot })
	out.Blockers = slices.DeleteFunc(slices.Clone(p.Blockers), func(b Blocker) bool { return b.Slot != slot })
	return out
}
