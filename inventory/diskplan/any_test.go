package diskplan

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/inventory"
)

// TestAnyPlan makes plans for random machines and roles and holds them against the rules.
func TestAnyPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := Input{Role: inventory.Role{Name: "r", Disks: slots{}}, Host: inventory.Host{ID: "h", Facts: &inventory.Facts{},
			Pins: names{}, OwnedDisks: names{}, Bound: names{}}, Begun: names{}, Auto: rapid.Bool().Draw(t, "auto")}
		word := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		kind := rapid.SampledFrom([]string{"ata-", "path:pci-S-"})
		for range rapid.IntRange(0, 6).Draw(t, "disks") {
			d := disk(word.Draw(t, "name"), uint64(rapid.IntRange(0, 4).Draw(t, "size"))*gb)
			for i, o := range []func(*inventory.Disk){windows, ext4, hdd, usb, boot, ro, noID, noWord, parted("disk-data-x", ""), parted("disk-data-x", "ext4"), hangsAt(d.Serial)} {
				if rapid.IntRange(0, 5).Draw(t, fmt.Sprint("opt", i)) == 0 {
					o(&d)
				}
			}
			in.Host.Facts.Disks = append(in.Host.Facts.Disks, d)
		}
		for _, n := range []string{"os", "data", "x", "y"}[:rapid.IntRange(1, 4).Draw(t, "slots")] {
			s := inventory.Slot{Class: rapid.SampledFrom([]string{inventory.ClassEphemeral, inventory.ClassPersistent}).Draw(t, "class"),
				Optional: rapid.Bool().Draw(t, "optional"), Select: inventory.Select{Type: rapid.SampledFrom([]string{"", "ssd", "hdd"}).Draw(t, "type"),
					Order: rapid.SampledFrom([]string{"", "largest"}).Draw(t, "order"), MinBytes: uint64(rapid.IntRange(0, 3).Draw(t, "min")) * gb}}
			in.Role.Disks[n] = s
			if rapid.IntRange(0, 3).Draw(t, "pinned") == 0 {
				in.Host.Pins[n] = kind.Draw(t, "pinned to") + word.Draw(t, "pin")
			}
			if rapid.Bool().Draw(t, "was bound") {
				in.Host.Bound[n] = kind.Draw(t, "bound to") + word.Draw(t, "bound")
			}
			if rapid.Bool().Draw(t, "was begun") {
				in.Begun[n] = kind.Draw(t, "begun on") + word.Draw(t, "begun")
			}
			if rapid.IntRange(0, 3).Draw(t, "wipe") == 0 {
				in.WipePersistent = append(in.WipePersistent, n)
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "owned") {
			in.Host.OwnedDisks[kind.Draw(t, "owned by")+word.Draw(t, "owned disk")] = rapid.SampledFrom([]string{inventory.ClassEphemeral, inventory.ClassPersistent}).Draw(t, "owned class")
		}
		p := Make(in)
		checkPlan(t, in, p)
		if p.Differs(in.Host.Facts) != nil {
			t.Errorf("a plan differs from the facts it was made of: %v", p.Differs(in.Host.Facts))
		}
		if p.Confirmed(inventory.Confirmation{}) == nil {
			checkHarmless(t, in, p)
		}
	})
}

// checkHarmless: what goes on without any confirmation writes to blank disks and our own ephemeral ones only, and to
// what this job itself left half formatted.
func checkHarmless(t *rapid.T, in Input, p Plan) {
	for i, f := range p.Disks {
		d := in.Host.Facts.Disks[i]
		switch {
		case f.Fate == FateUntouched, f.Fate == FateKeep && in.Host.OwnedDisks[d.ID] == inventory.ClassPersistent:
		case f.Fate == FateKeep && in.Host.OwnedDisks["path:"+d.Path] == inventory.ClassPersistent && len(d.Partitions) > 0 && strings.HasPrefix(d.Partitions[0].Label, "disk-"+f.Slot+"-"):
		case f.Fate == FateFormatIfBlank && d.Blank():
		case f.Fate == FateWipe && in.Begun[f.Slot] == d.StableName() && f.Slot == "data" && strings.Join(d.Signatures, " ") == "gpt PMBR" && d.Partitions[0].FS == "" && d.Partitions[0].Label == "disk-data-x":
		case f.Fate == FateWipe && d.Blank(), f.Fate == FateWipe && in.Host.OwnedDisks[d.ID] == inventory.ClassEphemeral && in.Role.Disks[f.Slot].Class == inventory.ClassEphemeral:
		default:
			t.Errorf("disk %s has fate %s without any confirmation: %+v", d.ID, f.Fate, d)
		}
	}
}
