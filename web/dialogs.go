package web

import (
	"fmt"
	"slices"

	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// What destroys something is confirmed in a <dialog>: over the page, which is inert meanwhile, where there is script; else as
// a part of the page, drawn open for its address with ?confirm=ID.

// Dialogs are the ids of the confirmations that the machine's page offers now.
func (p *machinePage) Dialogs() []string {
	ids := []string{"forget"}
	v := p.Plan
	if v == nil {
		return ids
	}
	switch {
	case v.By != "" || len(v.Stuck) > 0 && v.Act == "install":
	case v.Act == "install" && len(v.Asks) > 0, v.Act == "reinstall":
		ids = append(ids, v.Act)
	}
	for i := range v.Formats {
		ids = append(ids, fmt.Sprintf("format-%d", i))
	}
	return ids
}

// Has reports whether the page offers a confirmation.
func (p *machinePage) Has(id string) bool { return slices.Contains(p.Dialogs(), id) }

// Asked is the confirmation that is drawn open: that of an act that was refused, or the one that was asked for; "" = none.
func (p *machinePage) Asked() string {
	id := p.Tried
	if id == "format" {
		i := -1
		if p.Plan != nil {
			i = slices.IndexFunc(p.Plan.Formats, func(b diskplan.Binding) bool { return b.Slot == p.Form.Get("slot") })
		}
		id = fmt.Sprintf("format-%d", i)
	}
	if id = first(id, p.Form.Get("confirm")); !p.Has(id) {
		return ""
	}
	return id
}

// dialogOpener is the button that opens a confirmation.
type dialogOpener struct{ Path, ID, Text string }

// serialsAsk is the part of a confirmation where disks are typed out.
type serialsAsk struct {
	Page *machinePage
	Act  string
}

// formatAsk is the confirmation that formats the disk of one slot.
type formatAsk struct {
	Page *machinePage
	ID   string
	Disk *diskplan.Binding
}

func newFormatAsk(p *machinePage, i int, b diskplan.Binding) formatAsk {
	return formatAsk{p, fmt.Sprintf("format-%d", i), &b}
}
