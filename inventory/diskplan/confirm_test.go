package diskplan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

func TestConfirmed(t *testing.T) {
	t.Parallel()
	foreign := input(both, disk("a", gb, ext4), disk("b", 2*gb, windows))
	clean := input(both, disk("a", gb), disk("b", 2*gb))
	kept := input(both, disk("a", gb), disk("b", 2*gb, ext4))
	kept.Host.OwnedDisks, kept.Host.Bound = names{"ata-b": "persistent"}, names{"data": "ata-b"}
	all := func(id string) inventory.Confirmation {
		return inventory.Confirmation{PlanID: id, Confirm: names{"os": "S-a", "data": "S-b"}, WipePersistent: []string{"data"}}
	}
	for _, c := range []struct {
		name string
		in   Input
		c    func(id string) inventory.Confirmation
		auto bool
		want error
	}{
		{"blank disks need nothing", clean, func(string) inventory.Confirmation { return inventory.Confirmation{} }, false, nil},
		{"blank disks and an automatic job", clean, func(string) inventory.Confirmation { return inventory.Confirmation{} }, true, nil},
		{"blank disks and the plan seen", clean, func(id string) inventory.Confirmation { return inventory.Confirmation{PlanID: id} }, false, nil},
		{"another plan seen", clean, func(string) inventory.Confirmation { return inventory.Confirmation{PlanID: "old"} }, false, ErrChanged},
		{"another disk meant", clean, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, Confirm: names{"os": "S-z"}}
		}, false, ErrChanged},
		{"a slot that is not there", clean, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, Confirm: names{"zz": "S-a"}}
		}, false, ErrChanged},
		{"a wipe of an ephemeral slot", clean, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, WipePersistent: []string{"os"}}
		}, false, ErrChanged},
		{"a wipe of a blank disk", clean, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, WipePersistent: []string{"data"}}
		}, false, nil},
		{"foreign data and everything confirmed", foreign, all, false, nil},
		{"foreign data and an automatic job", foreign, all, true, ErrBlocked},
		{"foreign data and nothing confirmed", foreign, func(string) inventory.Confirmation { return inventory.Confirmation{} }, false, ErrBlocked},
		{"foreign data and no plan named", foreign, func(string) inventory.Confirmation { return all("") }, false, ErrBlocked},
		{"foreign data and another plan named", foreign, func(string) inventory.Confirmation { return all("old") }, false, ErrChanged},
		{"foreign data and only the system's disk confirmed", foreign, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, Confirm: names{"os": "S-a"}}
		}, false, ErrBlocked},
		{"a persistent disk's serial but no wipe asked for", foreign, func(id string) inventory.Confirmation {
			c := all(id)
			c.WipePersistent = nil
			return c
		}, false, ErrBlocked},
		{"a wipe without its serial", foreign, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, Confirm: names{"os": "S-a"}, WipePersistent: []string{"data"}}
		}, false, ErrBlocked},
		{"kept data needs nothing", kept, func(string) inventory.Confirmation { return inventory.Confirmation{} }, true, nil},
		{"kept data wiped by a typed serial", kept, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, Confirm: names{"data": "S-b"}, WipePersistent: []string{"data"}}
		}, false, nil},
		{"kept data wiped by a mere click", kept, func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id, WipePersistent: []string{"data"}}
		}, false, ErrBlocked},
		{"no disk is a blocker that nothing confirms", input(both, disk("a", gb)), func(id string) inventory.Confirmation {
			return inventory.Confirmation{PlanID: id}
		}, false, ErrBlocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in := c.in
			in.Auto = c.auto
			conf := c.c(Make(in).ID)
			in.WipePersistent = conf.WipePersistent
			p := Make(in)
			if err := p.Confirmed(conf); !errors.Is(err, c.want) {
				t.Errorf("Confirmed: got %v, want %v", err, c.want)
			}
			// The person looked at the plan before they asked for the wipe: same id.
			in.WipePersistent = nil
			if id := Make(in).ID; id != p.ID {
				t.Errorf("the id changed with the wipe: %s, %s", id, p.ID)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	made := func() []inventory.Disk {
		return []inventory.Disk{disk("a", gb), disk("b", 2*gb, windows), disk("c", gb, usb)}
	}
	p := Make(input(both, made()...))
	for _, c := range []struct {
		name string
		fn   func([]inventory.Disk) []inventory.Disk
		want string // "" = no difference
	}{
		{"nothing changed", func(d []inventory.Disk) []inventory.Disk { return d }, ""},
		{"other kernel names and another order", func(d []inventory.Disk) []inventory.Disk { d[0].Name = "sdq"; slices.Reverse(d); return d }, ""},
		{"a disk without a slot gone", func(d []inventory.Disk) []inventory.Disk { return d[:2] }, ""},
		{"the main name is another of its names", func(d []inventory.Disk) []inventory.Disk { d[0].ID = "wwn-0xa"; return d }, ""},
		{"a disk gone", func(d []inventory.Disk) []inventory.Disk { return d[1:] }, "is gone"},
		{"another serial under the same name", func(d []inventory.Disk) []inventory.Disk { d[0].Serial = "Z"; return d }, `serial "Z" instead of "S-a"`},
		{"another WWN", func(d []inventory.Disk) []inventory.Disk { d[0].WWN = "Z"; return d }, "WWN"},
		{"another size", func(d []inventory.Disk) []inventory.Disk { d[0].SizeBytes++; return d }, "bytes instead of"},
		{"a filesystem where none was", func(d []inventory.Disk) []inventory.Disk { d[0].Signatures = []string{"ext4"}; return d }, "holds [ext4] instead of []"},
		{"another filesystem in a partition", func(d []inventory.Disk) []inventory.Disk { d[1].Partitions[1].FS = "btrfs"; return d }, "btrfs"},
		{"wiped meanwhile", func(d []inventory.Disk) []inventory.Disk { d[1].Signatures, d[1].Partitions = nil, nil; return d }, "holds []"},
		{"the boot medium", func(d []inventory.Disk) []inventory.Disk { d[0].Boot = true; return d }, "boot medium"},
		{"read-only", func(d []inventory.Disk) []inventory.Disk { d[0].ReadOnly = true; return d }, "read-only"},
		{"a second path to it", func(d []inventory.Disk) []inventory.Disk {
			return append(d, disk("x", gb, serial("S-a"), wwn("0xa")))
		}, "another disk shows the same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := p.Differs(&inventory.Facts{Disks: c.fn(made())})
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Differs: got %v, want %q", err, c.want)
			}
		})
	}
	if err := p.Differs(nil); !errors.Is(err, ErrChanged) {
		t.Errorf("Differs without facts: got %v, want ErrChanged", err)
	}
}

func TestConfirmedFormat(t *testing.T) {
	t.Parallel()
	role := inventory.Role{Name: "r", Disks: map[string]inventory.Slot{"os": {Class: inventory.ClassEphemeral, Select: inventory.Select{Order: "smallest"}},
		"data": {Class: inventory.ClassPersistent, Select: inventory.Select{Order: "largest"}}}}
	facts := func() *inventory.Facts {
		return &inventory.Facts{Disks: []inventory.Disk{{ID: "ata-os", Serial: "OS1", SizeBytes: 1 << 34, Signatures: []string{"ntfs"}},
			{ID: "ata-data", Serial: "DATA1", SizeBytes: 1 << 36, Signatures: []string{"ext4"}}}}
	}
	for _, c := range []struct {
		name   string
		change func(f *inventory.Facts, o *inventory.FormatOrder)
		want   error
	}{
		{"foreign data on the disk, which a person names, and on another slot's, which does not matter", func(*inventory.Facts, *inventory.FormatOrder) {}, nil},
		{"a blank disk", func(f *inventory.Facts, _ *inventory.FormatOrder) { f.Disks[1].Signatures = nil }, nil},
		{"another word", func(_ *inventory.Facts, o *inventory.FormatOrder) { o.Word = "OS1" }, ErrBlocked},
		{"the ephemeral slot", func(_ *inventory.Facts, o *inventory.FormatOrder) { o.Slot, o.Word = "os", "OS1" }, ErrBlocked},
		{"no such slot", func(_ *inventory.Facts, o *inventory.FormatOrder) { o.Slot = "tape" }, ErrBlocked},
		{"another plan", func(_ *inventory.Facts, o *inventory.FormatOrder) { o.PlanID = "other" }, ErrChanged},
		{"a disk that stage-0 runs from", func(f *inventory.Facts, _ *inventory.FormatOrder) { f.Disks[1].Boot = true }, ErrBlocked},
		{"a disk that is read-only", func(f *inventory.Facts, _ *inventory.FormatOrder) { f.Disks[1].ReadOnly = true }, ErrBlocked},
		{"two disks with its serial", func(f *inventory.Facts, _ *inventory.FormatOrder) { f.Disks[0].Serial = "DATA1" }, ErrBlocked},
	} {
		f, o := facts(), inventory.FormatOrder{Slot: "data", Word: "DATA1"}
		o.PlanID = "-"
		c.change(f, &o)
		p := Make(Input{Host: inventory.Host{ID: "h", Facts: f, Pins: map[string]string{"data": "ata-data", "os": "ata-os"}}, Role: role, WipePersistent: []string{o.Slot}})
		if o.PlanID == "-" {
			o.PlanID = p.ID
		}
		if err := p.ConfirmedFormat(o); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if only := p.Only("data"); len(only.Slots) != 1 || only.Slots[0].Slot != "data" || len(p.Slots) != 2 {
			t.Errorf("%s: only the slot: got %+v", c.name, only.Slots)
		}
	}
}
