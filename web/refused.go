package web

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// wrongFields are the fields of a machine's page that a refused act is about: none where it was not a field's fault.
func wrongFields(p *machinePage, act string, form url.Values) (out []string) {
	bad := func(is bool, name string) {
		if is {
			out = append(out, name)
		}
	}
	typed := strings.TrimSpace(form.Get("typed"))
	switch act {
	case "assign":
		_, addrErr := formAddress(form)
		bad(inventory.CheckName(strings.TrimSpace(form.Get("name"))) != nil, "name")
		bad(addrErr != nil, "address")
		bad(inventory.CheckKernelArgs(strings.TrimSpace(form.Get("kernel_args"))) != nil, "kernel_args")
	case "forget", "reinstall":
		bad(typed != p.Label, act)
	case "format":
		bad(p.Plan == nil || !slices.ContainsFunc(p.Plan.Formats, func(b diskplan.Binding) bool { return b.Slot == form.Get("slot") && b.Word() == typed }), act)
	}
	if p.Plan == nil || act != "install" && act != "reinstall" {
		return out
	}
	for _, b := range p.Plan.Slots {
		word, asked := strings.TrimSpace(form.Get("confirm-"+b.Slot)), slices.ContainsFunc(p.Plan.Asks, func(a ask) bool { return a.Slot == b.Slot })
		bad(word != "" && word != b.Word() || asked && word == "" || slices.Contains(form["wipe"], b.Slot) && word == "", "confirm-"+b.Slot)
	}
	return out
}

// Bad reports whether a field was refused.
func (p *machinePage) Bad(field string) bool { return slices.Contains(p.Wrong, field) }

// Typed is what was typed to confirm an act that was refused.
func (p *machinePage) Typed(act string) string {
	if p.Tried != act {
		return ""
	}
	return p.Form.Get("typed")
}

// Ticked reports whether a box of an act that was refused was ticked.
func (p *machinePage) Ticked(act, name, value string) bool {
	return p.Tried == act && slices.Contains(p.Form[name], value)
}

// TriedWipe reports whether the wipe of a persistent slot was part of what was refused.
func (p *machinePage) TriedWipe() bool { return p.Tried == "reinstall" && len(p.Form["wipe"]) > 0 }

// serialField is where a person types a disk's serial number to agree that it is erased.
type serialField struct {
	diskplan.Binding
	ID, Word, Value string
	Bad             bool
}

func askField(p *machinePage, kind string, i int, a ask) serialField {
	f := bindingField(p, kind, i, a.Binding)
	f.Word = a.Confirm
	return f
}

func bindingField(p *machinePage, kind string, i int, b diskplan.Binding) serialField {
	return serialField{Binding: b, ID: fmt.Sprintf("%s-%d", kind, i), Word: b.Word(), Value: p.Val("confirm-"+b.Slot, ""), Bad: p.Bad("confirm-" + b.Slot)}
}

// lastJobOf is the host's open or last job, the zero job when there never was one.
func lastJobOf(tx *inventory.Tx, h *inventory.Host) (inventory.Job, error) {
	j, err := tx.Job(h.JobID)
	if errors.Is(err, inventory.ErrNotFound) {
		err = nil
	}
	return j, err
}

// samePlan refuses to confirm what is not the plan that was on the page: the disks or the role changed under it.
func (s *Server) samePlan(h *inventory.Host, shown string) error {
	if shown == "" {
		return nil
	}
	return s.cfg.Store.View(func(tx *inventory.Tx) error {
		role, err := roleOf(tx, h, "")
		if err != nil {
			return err
		}
		j, err := lastJobOf(tx, h)
		if err != nil || makePlanView(h, role, &j).ID == shown {
			return err
		}
		return fmt.Errorf("the disks or the role of %s changed since this page was drawn, and nothing was done: look at the disks below again, then confirm: %w", h.Label(), diskplan.ErrChanged)
	})
}
