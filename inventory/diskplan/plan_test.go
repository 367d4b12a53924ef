package diskplan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

const gb = 1000 * 1000 * 1000

// disk is a blank one with a stable name and a serial; opts change it.
func disk(name string, size uint64, opts ...func(*inventory.Disk)) inventory.Disk {
	d := inventory.Disk{ID: "ata-" + name, ByID: []string{"ata-" + name, "wwn-0x" + name}, Name: "sdx", Serial: "S-" + name, WWN: "0x" + name,
		Model: "Model " + name, SizeBytes: size, Type: "ssd", Transport: "sata", Signatures: []string{}}
	for _, o := range opts {
		o(&d)
	}
	return d
}

func windows(d *inventory.Disk) {
	d.Signatures = []string{"gpt", "PMBR"}
	d.Partitions = []inventory.Partition{{Number: 1, SizeBytes: gb / 2, FS: "vfat", Label: "EFI", UUID: "aa"}, {Number: 2, SizeBytes: 99 * gb, FS: "ntfs", FSLabel: "Windows"}}
}
func ext4(d *inventory.Disk)   { d.Signatures = []string{"ext4"} }
func hdd(d *inventory.Disk)    { d.Type = "hdd" }
func usb(d *inventory.Disk)    { d.Transport, d.Removable = "usb", true }
func boot(d *inventory.Disk)   { d.Boot = true }
func ro(d *inventory.Disk)     { d.ReadOnly = true }
func noID(d *inventory.Disk)   { d.ID, d.ByID = "", nil }
func noWord(d *inventory.Disk) { d.Serial, d.WWN = "", "" }

func serial(s string) func(*inventory.Disk) { return func(d *inventory.Disk) { d.Serial = s } }
func wwn(s string) func(*inventory.Disk)    { return func(d *inventory.Disk) { d.WWN = s } }

func eph(s inventory.Select) inventory.Slot {
	return inventory.Slot{Class: inventory.ClassEphemeral, Select: s}
}
func pers(s inventory.Select) inventory.Slot {
	return inventory.Slot{Class: inventory.ClassPersistent, Select: s}
}
func parted(label, fs string) func(*inventory.Disk) {
	return func(d *inventory.Disk) {
		d.Signatures, d.Partitions = []string{"gpt", "PMBR"}, []inventory.Partition{{Number: 1, SizeBytes: gb, Label: label, FS: fs}}
	}
}
func optional(s inventory.Slot) inventory.Slot { s.Optional = true; return s }

type slots map[string]inventory.Slot
type names map[string]string

func input(roleSlots slots, disks ...inventory.Disk) Input {
	return Input{Role: inventory.Role{Name: "worker", System: "x86_64-linux", Disks: roleSlots},
		Host: inventory.Host{ID: "h1", Facts: &inventory.Facts{Arch: "x86_64", Disks: disks}}}
}

// brief is a plan in a few words: per slot disk and fate, the fates of the other disks, blockers.
func brief(p Plan) []string {
	out := []string{}
	for _, b := range p.Slots {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s %s", b.Slot, strings.TrimPrefix(b.Disk, "ata-"), b.Fate)))
	}
	for _, d := range p.Disks {
		if d.Slot == "" && d.Fate != FateUntouched {
			out = append(out, fmt.Sprintf("disk %s without a slot: %s", d.ID, d.Fate))
		}
	}
	for _, b := range p.Blockers {
		out = append(out, strings.TrimSpace(fmt.Sprintf("! %s %s %s", b.Slot, b.Kind, strings.TrimPrefix(b.Disk, "ata-"))))
	}
	return out
}

var osData = slots{"os": eph(inventory.Select{Type: "ssd", MinBytes: 16 * gb, Order: "smallest"}), "data": optional(pers(inventory.Select{Order: "largest"}))}
var osOnly = slots{"os": eph(inventory.Select{})}
var both = slots{"os": eph(inventory.Select{}), "data": pers(inventory.Select{Order: "largest"})}

// planCase is a plan to be made and what it must say, as brief has it.
type planCase struct {
	name  string
	slots slots
	disks []inventory.Disk
	pins  names
	owned names
	bound names
	wipe  []string
	begun names
	auto  bool
	want  []string
}

func (c *planCase) run(t *testing.T) {
	t.Parallel()
	in := input(c.slots, c.disks...)
	in.Host.Pins, in.Host.OwnedDisks, in.Host.Bound, in.WipePersistent, in.Begun, in.Auto = c.pins, c.owned, c.bound, c.wipe, c.begun, c.auto
	p := Make(in)
	if diff := cmp.Diff(c.want, brief(p)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	checkPlan(t, in, p)
}

func TestMake(t *testing.T) {
	t.Parallel()
	for _, c := range []planCase{
		{name: "one blank disk takes the system", slots: osData, disks: []inventory.Disk{disk("a", 100*gb)},
			want: []string{"data:", "os: a wipe"}},
		{name: "smallest SSD for the system and largest disk for the data", slots: osData,
			disks: []inventory.Disk{disk("big", 4000*gb, hdd), disk("b", 200*gb), disk("a", 100*gb)},
			want:  []string{"data: big format-if-blank", "os: a wipe"}},
		{name: "a virtual disk passes for an SSD", slots: osData,
			disks: []inventory.Disk{disk("v", 20*gb, func(d *inventory.Disk) { d.Type, d.Transport = "virtual", "virtio" })},
			want:  []string{"data:", "os: v wipe"}},
		{name: "a rotating disk is no SSD", slots: osData, disks: []inventory.Disk{disk("a", 100*gb, hdd)},
			want: []string{"data: a format-if-blank", "os:", "! os missing-disk"}},
		{name: "NVMe named by transport", slots: slots{"os": eph(inventory.Select{Transport: "nvme"})},
			disks: []inventory.Disk{disk("a", 100*gb), disk("n", 100*gb, func(d *inventory.Disk) { d.Transport = "nvme" })},
			want:  []string{"os: n wipe"}},
		{name: "model and serial globs", slots: slots{"a": eph(inventory.Select{Model: "model X*"}), "b": eph(inventory.Select{Serial: "s-y?"})},
			disks: []inventory.Disk{disk("x1", gb), disk("y2", gb), disk("z", gb)},
			want:  []string{"a: x1 wipe", "b: y2 wipe"}},
		{name: "equal disks are told apart by their names", slots: both, disks: []inventory.Disk{disk("b", gb), disk("a", gb)},
			want: []string{"data: b format-if-blank", "os: a wipe"}},
		{name: "too small a disk is named", slots: osData, disks: []inventory.Disk{disk("a", 8*gb)},
			want: []string{"data: a format-if-blank", "os:", "! os too-small a"}},
		{name: "larger than maxBytes does not count", slots: slots{"os": eph(inventory.Select{MaxBytes: gb})}, disks: []inventory.Disk{disk("a", 8*gb)},
			want: []string{"os:", "! os missing-disk"}},
		{name: "no disk at all", slots: both, want: []string{"data:", "os:", "! data missing-disk", "! os missing-disk"}},
		{name: "a picky slot gets the only disk it can have", slots: slots{"a": eph(inventory.Select{}), "b": eph(inventory.Select{Model: "Model small"})},
			disks: []inventory.Disk{disk("small", gb), disk("large", 2*gb)},
			want:  []string{"a: large wipe", "b: small wipe"}},
		{name: "an optional slot never takes what a needed one needs", slots: slots{"a": optional(pers(inventory.Select{})), "z": eph(inventory.Select{})},
			disks: []inventory.Disk{disk("a", gb)}, want: []string{"a:", "z: a wipe"}},

		{name: "the boot stick is never written to", slots: osOnly, disks: []inventory.Disk{disk("stick", gb, usb, boot), disk("b", 2*gb)},
			want: []string{"os: b wipe"}},
		{name: "not even when pinned", slots: osOnly, disks: []inventory.Disk{disk("stick", gb, boot)}, pins: names{"os": "ata-stick"},
			want: []string{"os:", "! os boot-medium stick"}},
		{name: "only the boot stick is no disk", slots: osOnly, disks: []inventory.Disk{disk("stick", gb, boot)},
			want: []string{"os:", "! os missing-disk"}},
		{name: "USB is left alone", slots: osOnly, disks: []inventory.Disk{disk("u", gb, usb), disk("b", 2*gb)}, want: []string{"os: b wipe"}},
		{name: "a lone USB disk is named as what is in the way", slots: osOnly, disks: []inventory.Disk{disk("u", gb, usb)},
			want: []string{"os:", "! os removable u"}},
		{name: "USB by pin", slots: osOnly, disks: []inventory.Disk{disk("u", gb, usb), disk("b", 2*gb)}, pins: names{"os": "ata-u"},
			want: []string{"os: u wipe"}},
		{name: "USB by transport", slots: slots{"os": eph(inventory.Select{Transport: "usb"})}, disks: []inventory.Disk{disk("u", gb, usb)},
			want: []string{"os: u wipe"}},
		{name: "USB by model", slots: slots{"os": eph(inventory.Select{Model: "Model u"})}, disks: []inventory.Disk{disk("u", gb, usb)},
			want: []string{"os: u wipe"}},
		{name: "a glob for another model names no USB disk", slots: slots{"os": eph(inventory.Select{Model: "Other*"})}, disks: []inventory.Disk{disk("u", gb, usb)},
			want: []string{"os:", "! os missing-disk"}},
		{name: "read-only never", slots: osOnly, disks: []inventory.Disk{disk("r", gb, ro), disk("b", 2*gb)}, want: []string{"os: b wipe"}},
		{name: "read-only not even when pinned", slots: osOnly, disks: []inventory.Disk{disk("r", gb, ro)}, pins: names{"os": "ata-r"},
			want: []string{"os:", "! os read-only r"}},
		{name: "no stable name", slots: osOnly, disks: []inventory.Disk{disk("n", gb, noID)}, want: []string{"os:", "! os no-stable-name"}},
		{name: "no stable name, not by its kernel's either", slots: osOnly, disks: []inventory.Disk{disk("n", gb, noID)}, pins: names{"os": "sdx"}, want: []string{"os:", "! os missing-disk sdx"}},
		{name: "NVMe without a stable name is refused as well", slots: osOnly, disks: []inventory.Disk{disk("n", gb, noID, func(d *inventory.Disk) { d.Transport = "nvme" })}, want: []string{"os:", "! os no-stable-name"}},
		{name: "virtio with a serial number", slots: osOnly, disks: []inventory.Disk{disk("v", gb, func(d *inventory.Disk) { d.Transport, d.Type, d.WWN = "virtio", "virtual", "" })}, want: []string{"os: v wipe"}},
		{name: "no serial and no WWN", slots: osOnly, disks: []inventory.Disk{disk("n", gb, noWord)}, want: []string{"os:", "! os no-serial n"}},
		{name: "no serial but pinned", slots: osOnly, disks: []inventory.Disk{disk("n", gb, noWord)}, pins: names{"os": "ata-n"}, want: []string{"os: n wipe"}},
		{name: "no serial but a WWN", slots: osOnly, disks: []inventory.Disk{disk("n", gb, serial(""))}, want: []string{"os: n wipe"}},
		{name: "an empty card reader", slots: osOnly, disks: []inventory.Disk{disk("n", 0)}, want: []string{"os:", "! os too-small n"}},
		{name: "one disk by two paths", slots: osOnly, disks: []inventory.Disk{disk("a", gb, serial("X"), wwn("W")), disk("b", gb, serial("X"), wwn("W"))},
			want: []string{"os:", "! os duplicate a", "! os duplicate b"}},
		{name: "one disk by two paths not even when pinned", slots: osOnly, disks: []inventory.Disk{disk("a", gb, serial("X"), wwn("")), disk("b", gb, serial("X"))},
			pins: names{"os": "ata-b"}, want: []string{"os:", "! os duplicate b"}},
		{name: "one disk by two paths beside a plain one", slots: osOnly, disks: []inventory.Disk{disk("a", gb, wwn("W")), disk("b", gb, wwn("W")), disk("c", 9*gb)},
			want: []string{"os: c wipe"}},
		{name: "NVMe namespaces share the serial only", slots: both, disks: []inventory.Disk{disk("a", gb, serial("X")), disk("b", gb, serial("X"))},
			want: []string{"data: b format-if-blank", "os: a wipe"}},

		{name: "foreign data on an ephemeral slot's disk", slots: osOnly, disks: []inventory.Disk{disk("w", 100*gb, windows)},
			want: []string{"os: w wipe", "! os foreign-data w"}},
		{name: "a bare filesystem is foreign too", slots: osOnly, disks: []inventory.Disk{disk("w", 100*gb, ext4)},
			want: []string{"os: w wipe", "! os foreign-data w"}},
		{name: "our own ephemeral disk", slots: osOnly, disks: []inventory.Disk{disk("a", 100*gb, windows)}, owned: names{"ata-a": "ephemeral"},
			want: []string{"os: a wipe"}},
		{name: "our own ephemeral disk by another of its names", slots: osOnly, disks: []inventory.Disk{disk("a", 100*gb, windows)}, owned: names{"wwn-0xa": "ephemeral"},
			want: []string{"os: a wipe"}},
		{name: "a disk that was ever persistent is foreign to an ephemeral slot", slots: osOnly, disks: []inventory.Disk{disk("a", 100*gb, windows)},
			owned: names{"ata-a": "ephemeral", "wwn-0xa": "persistent"}, want: []string{"os: a wipe", "! os foreign-data a"}},
		{name: "foreign data on a persistent slot's disk", slots: both, disks: []inventory.Disk{disk("a", gb), disk("w", 100*gb, ext4)},
			want: []string{"data: w keep", "os: a wipe", "! data foreign-data-persistent w"}},
		{name: "and its wipe asked for", slots: both, disks: []inventory.Disk{disk("a", gb), disk("w", 100*gb, ext4)}, wipe: []string{"data"},
			want: []string{"data: w wipe", "os: a wipe", "! data persistent-wipe w"}},
		{name: "an earlier system on a persistent slot's disk", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 100*gb, ext4)},
			owned: names{"ata-b": "ephemeral"}, pins: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe", "! data foreign-data-persistent b"}},
		{name: "persistent data of this host is kept", slots: both, disks: []inventory.Disk{disk("a", gb, ext4), disk("b", 100*gb, ext4)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: b keep", "os: a wipe"}},
		{name: "persistent data is kept though a larger disk came", slots: both,
			disks: []inventory.Disk{disk("a", gb, ext4), disk("b", 100*gb, ext4), disk("c", 900*gb)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: b keep", "os: a wipe"}},
		{name: "the system stays though a smaller disk came", slots: both,
			disks: []inventory.Disk{disk("a", 2*gb, ext4), disk("b", 100*gb, ext4), disk("c", gb)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: b keep", "os: a wipe"}},
		{name: "the system moves when the role means another disk", slots: slots{"os": eph(inventory.Select{MinBytes: 16 * gb})},
			disks: []inventory.Disk{disk("a", 2*gb, ext4), disk("c", 20*gb)}, owned: names{"ata-a": "ephemeral"}, bound: names{"os": "ata-a"},
			want: []string{"os: c wipe"}},
		{name: "ownership alone keeps persistent data", slots: both, disks: []inventory.Disk{disk("a", 100*gb, ext4), disk("b", gb, ext4)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "a persistent disk that went blank", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: b format-if-blank", "os: a wipe"}},
		{name: "half formatted by this very job", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-data-data", ""))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"}, begun: names{"data": "ata-b"},
			want: []string{"data: b wipe", "os: a wipe"}},
		{name: "cut short before its first partition", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, func(d *inventory.Disk) { d.Signatures = []string{"PMBR", "gpt"} })},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-b"}, want: []string{"data: b wipe", "os: a wipe"}},
		{name: "begun, and its file system is complete", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-data-data", "ext4"))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "begun, with partitions that are not the layout's", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("backup", ""))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "begun, with another slot's partitions", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-db-data", ""))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "begun, and something else is on the disk itself", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, ext4)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "begun on another disk", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-data-data", ""))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, begun: names{"data": "ata-z"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "begun, but not recorded as ours", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-data-data", ""))},
			owned: names{"ata-a": "ephemeral"}, begun: names{"data": "ata-b"}, want: []string{"data: b keep", "os: a wipe", "! data foreign-data-persistent b"}},
		{name: "half formatted, and no job of ours began it", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb, parted("disk-data-data", ""))},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, want: []string{"data: b keep", "os: a wipe"}},
		{name: "a persistent disk that is gone is not replaced", slots: osData, disks: []inventory.Disk{disk("a", 20*gb, ext4), disk("new", 2*gb)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: new format-if-blank", "os: a wipe", "! data missing-disk b"}},
		{name: "nor when only the ownership is known", slots: osData, disks: []inventory.Disk{disk("a", 20*gb, ext4)},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"},
			want:  []string{"data:", "os: a wipe", "! data missing-disk b"}},
		{name: "until a person pins another", slots: osData, disks: []inventory.Disk{disk("a", 20*gb, ext4), disk("new", 2*gb)}, pins: names{"data": "ata-new"},
			owned: names{"ata-a": "ephemeral", "ata-b": "persistent"}, bound: names{"os": "ata-a", "data": "ata-b"},
			want: []string{"data: new format-if-blank", "os: a wipe"}},
		{name: "or does without", slots: osData, disks: []inventory.Disk{disk("a", 20*gb, ext4), disk("w", 2*gb, ext4)}, pins: names{"data": "none"},
			owned: names{"ata-a": "ephemeral"}, want: []string{"data:", "os: a wipe"}},
		{name: "another slot's persistent data", slots: slots{"os": eph(inventory.Select{}), "db": pers(inventory.Select{})},
			disks: []inventory.Disk{disk("a", gb, ext4), disk("b", 2*gb, ext4)}, owned: names{"ata-a": "ephemeral", "ata-b": "persistent"},
			bound: names{"os": "ata-a", "data": "ata-b"}, want: []string{"db: b keep", "os: a wipe", "! db foreign-data-persistent b"}},
		{name: "an ephemeral slot takes persistent data last", slots: osOnly, disks: []inventory.Disk{disk("b", gb, ext4), disk("c", 2*gb)},
			owned: names{"ata-b": "persistent"}, bound: names{"data": "ata-b"}, want: []string{"os: c wipe"}},

		{name: "a pin wins over the role's choice", slots: both, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb)}, pins: names{"os": "ata-b"},
			want: []string{"data: a format-if-blank", "os: b wipe"}},
		{name: "a pin by another name of the disk", slots: osOnly, disks: []inventory.Disk{disk("a", gb), disk("b", 2*gb)}, pins: names{"os": "wwn-0xb"},
			want: []string{"os: b wipe"}},
		{name: "a pin does not make a disk larger", slots: osData, disks: []inventory.Disk{disk("a", gb)}, pins: names{"os": "ata-a"},
			want: []string{"data: a format-if-blank", "os:", "! os too-small a"}},
		{name: "a pin to a disk that is not there", slots: osOnly, disks: []inventory.Disk{disk("a", gb)}, pins: names{"os": "ata-z"},
			want: []string{"os:", "! os missing-disk z"}},
		{name: "a needed slot cannot be pinned to none", slots: osOnly, disks: []inventory.Disk{disk("a", gb)}, pins: names{"os": "none"},
			want: []string{"os:", "! os missing-disk none"}},
		{name: "two pins to one disk", slots: both, disks: []inventory.Disk{disk("a", gb)}, pins: names{"os": "ata-a", "data": "wwn-0xa"},
			want: []string{"data: a format-if-blank", "os:", "! os same-disk a"}},
		{name: "a pin of a slot that the role does not have", slots: osOnly, disks: []inventory.Disk{disk("a", gb)}, pins: names{"other": "ata-a"},
			want: []string{"os: a wipe"}},

		{name: "a role without disks", slots: slots{}, disks: []inventory.Disk{disk("a", gb)}, want: []string{"!  bad-role"}},
		{name: "a slot of an unknown class", slots: slots{"os": {Class: "precious"}}, disks: []inventory.Disk{disk("a", gb)},
			want: []string{"os:", "! os bad-role"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestMakeWithoutFacts(t *testing.T) {
	t.Parallel()
	in := input(osOnly)
	in.Host.Facts = nil
	p := Make(in)
	if diff := cmp.Diff([]string{"os:", "!  no-facts"}, brief(p)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

type failer interface {
	Errorf(string, ...any)
	Helper()
}

// checkPlan holds a plan against the rules that must hold for every plan.
func checkPlan(t failer, in Input, p Plan) {
	t.Helper()
	if len(p.Disks) != len(in.Host.Facts.Disks) || len(p.Slots) != len(in.Role.Disks) {
		t.Errorf("the plan has %d disks and %d slots of %d and %d", len(p.Disks), len(p.Slots), len(in.Host.Facts.Disks), len(in.Role.Disks))
	}
	seen := map[string]bool{}
	for i, f := range p.Disks {
		d := in.Host.Facts.Disks[i]
		if f.Why == "" || f.Holds == "" || !slices.Contains([]Fate{FateWipe, FateFormatIfBlank, FateKeep, FateUntouched}, f.Fate) {
			t.Errorf("disk %s: fate %q, why %q, holds %q", f.ID, f.Fate, f.Why, f.Holds)
		}
		if f.Slot == "" {
			if f.Fate != FateUntouched {
				t.Errorf("disk %s has no slot but fate %s", f.ID, f.Fate)
			}
			continue
		}
		b, _ := p.Slot(f.Slot)
		if seen[f.Slot] || b.Disk != d.StableName() || b.Fate != f.Fate {
			t.Errorf("disk %s says slot %s, which has %s", f.ID, f.Slot, b.Disk)
		}
		seen[f.Slot] = true
		if d.Boot || d.ReadOnly || d.StableName() == "" || d.SizeBytes == 0 {
			t.Errorf("disk %s is used though it must not be: %+v", f.ID, d)
		}
		if d.ID == "" && (in.Auto || in.Host.Pins[f.Slot] != b.Disk) {
			t.Errorf("disk %s is used by its port, and no person pinned it", b.Disk)
		}
		if want := "/dev/disk/by-"; strings.Contains(b.Path(), d.Name) || !strings.HasPrefix(b.Path(), want) || strings.HasPrefix(b.Path(), want+"id/") != (d.ID != "") {
			t.Errorf("path %s", b.Path())
		}
	}
	for _, b := range p.Slots {
		if (b.Disk != "") != seen[b.Slot] || b.Why == "" {
			t.Errorf("slot %s has disk %q, which no disk says; why %q", b.Slot, b.Disk, b.Why)
		}
		blocked := slices.ContainsFunc(p.Blockers, func(x Blocker) bool { return x.Slot == b.Slot })
		if b.Disk == "" && !b.Optional && !blocked && len(in.Role.Disks) > 0 {
			t.Errorf("slot %s is empty and nothing says so", b.Slot)
		}
		if b.Confirm != "" && !blocked || b.Class == inventory.ClassPersistent && b.Fate == FateWipe && !b.Wiped {
			t.Errorf("slot %s: %+v", b.Slot, b)
		}
	}
	for _, b := range p.Blockers {
		if b.Text == "" || b.Do == "" || !strings.HasSuffix(b.Text, ".") || !strings.HasSuffix(b.Do, ".") {
			t.Errorf("blocker %s: text %q, do %q: want sentences", b.Kind, b.Text, b.Do)
		}
	}
	again := Make(in)
	if diff := cmp.Diff(p, again); diff != "" {
		t.Errorf("the same input made another plan (-first +second):\n%s", diff)
	}
}

func TestBlockerTellsEverything(t *testing.T) {
	t.Parallel()
	p := Make(input(osOnly, disk("w", 100*gb, windows)))
	want := []Blocker{{Kind: BlockForeign, Slot: "os", Disk: "ata-w", Model: "Model w", Serial: "S-w", SizeBytes: 100 * gb,
		Holds: `gpt with 500 MB vfat "EFI"; 99 GB ntfs "Windows"`,
		Text:  `Disk Model w 100 GB serial S-w (ata-w) for slot os holds data that this appliance did not put there: gpt with 500 MB vfat "EFI"; 99 GB ntfs "Windows".`,
		Do:    "If it may be erased, confirm it with S-w; else pin the slot to another disk."}}
	if diff := cmp.Diff(want, p.Blockers); diff != "" {
		t.Errorf("blockers (-want +got):\n%s", diff)
	}
}

func TestPlanID(t *testing.T) {
	t.Parallel()
	base := func() Input { return input(both, disk("a", gb), disk("b", 2*gb, windows), disk("c", gb/2, hdd, usb)) }
	id := Make(base()).ID
	if len(id) != 32 {
		t.Errorf("id: got %q, want 32 hex digits", id)
	}
	change := func(fn func(*Input)) string {
		in := base()
		in.Role.Disks = slots{"os": both["os"], "data": both["data"]}
		fn(&in)
		return Make(in).ID
	}
	disks := func(in *Input) []inventory.Disk { return in.Host.Facts.Disks }
	for name, fn := range map[string]func(*Input){
		"another serial":          func(in *Input) { disks(in)[0].Serial = "other" },
		"another WWN":             func(in *Input) { disks(in)[0].WWN = "other" },
		"another name":            func(in *Input) { disks(in)[0].ID = "ata-other" },
		"another size":            func(in *Input) { disks(in)[0].SizeBytes++ },
		"a signature":             func(in *Input) { disks(in)[0].Signatures = []string{"ext4"} },
		"a partition's new fs":    func(in *Input) { disks(in)[1].Partitions[1].FS = "ext4" },
		"a new partition":         func(in *Input) { disks(in)[1].Partitions = disks(in)[1].Partitions[:1] },
		"whose a disk is":         func(in *Input) { in.Host.OwnedDisks = names{"ata-a": "ephemeral"} },
		"another binding":         func(in *Input) { in.Host.Pins = names{"os": "ata-c"} },
		"another class":           func(in *Input) { in.Role.Disks["os"] = pers(inventory.Select{}) },
		"another select":          func(in *Input) { in.Role.Disks["os"] = eph(inventory.Select{Type: "ssd"}) },
		"another role":            func(in *Input) { in.Role.Name = "server" },
		"another host":            func(in *Input) { in.Host.ID = "h2" },
		"a slot more, left empty": func(in *Input) { in.Role.Disks["x"] = optional(eph(inventory.Select{MinBytes: 9 * gb})) },
	} {
		if change(fn) == id {
			t.Errorf("%s: the plan's id must change", name)
		}
	}
	for name, fn := range map[string]func(*Input){
		"another kernel name":      func(in *Input) { disks(in)[0].Name = "sdz" },
		"a disk without a slot":    func(in *Input) { disks(in)[2].Serial = "other" },
		"disks in another order":   func(in *Input) { slices.Reverse(disks(in)) },
		"what is confirmed":        func(in *Input) { in.WipePersistent = []string{"data"} },
		"the order of signatures":  func(in *Input) { slices.Reverse(disks(in)[1].Signatures) },
		"the order of partitions":  func(in *Input) { slices.Reverse(disks(in)[1].Partitions) },
		"a protective boot record": func(in *Input) { disks(in)[1].Signatures = []string{"gpt"} },
	} {
		if change(fn) != id {
			t.Errorf("%s: the plan's id must stay", name)
		}
	}
}

// TestReinstallIsConfirmedWhileTheHostRuns: its facts are from before the install, the plan a person looks at
// is that of the machine as stage-0 will find it.
func TestReinstallIsConfirmedWhileTheHostRuns(t *testing.T) {
	t.Parallel()
	before := input(both, disk("a", gb), disk("b", 2*gb))
	p := Make(before)
	before.Host = p.Own(before.Host)
	after := before
	after.Host.Facts = &inventory.Facts{Disks: []inventory.Disk{disk("a", gb, windows), disk("b", 2*gb, ext4)}}
	shown, found := Make(before), Make(after)
	if shown.ID != found.ID {
		t.Errorf("plan ids: got %s and %s, want the same", shown.ID, found.ID)
	}
	if err := found.Confirmed(inventory.Confirmation{PlanID: shown.ID}); err != nil || found.Slots[0].Fate != FateKeep {
		t.Errorf("confirmed: got %v, data %s, want nothing in the way and the data kept", err, found.Slots[0].Fate)
	}
	c := inventory.Confirmation{PlanID: shown.ID, WipePersistent: []string{"data"}, Confirm: names{"data": "S-b"}}
	after.WipePersistent = c.WipePersistent
	if found = Make(after); found.Confirmed(c) != nil || found.Slots[0].Fate != FateWipe {
		t.Errorf("with a typed wipe: got %v, data %s", found.Confirmed(c), found.Slots[0].Fate)
	}
	c.Confirm = nil
	if err := found.Confirmed(c); !errors.Is(err, ErrBlocked) {
		t.Errorf("with a wipe that nobody typed: got %v, want ErrBlocked", err)
	}
}

func TestPlanSurvivesJSON(t *testing.T) {
	t.Parallel()
	p := Make(input(both, disk("a", gb), disk("b", 2*gb, windows)))
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("plan after JSON (-want +got):\n%s", diff)
	}
	if strings.Contains(string(raw), "null") {
		t.Errorf("lists must not be null: %s", raw)
	}
}

// TestBlankPersistent: a disk is recorded as persistent before it is formatted for the first time, so that alone must not
// make the plan say that data was lost.
func TestBlankPersistent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const lost, unknown = "It held persistent data of this host but is blank now", "It was blank when it was last looked at"
	for _, c := range []struct {
		name string
		host inventory.Host
		want string
	}{
		{"during the first install", inventory.Host{State: inventory.StateInstalling, Wrote: true, ReportedAt: at}, unknown},
		{"after the flip, before it was verified", inventory.Host{State: inventory.StateInstalling, Wrote: true, Flipped: true, EverFlipped: true, ReportedAt: at}, unknown},
		{"after a first install that was cancelled", inventory.Host{State: inventory.StateReady, ReportedAt: at}, unknown},
		{"installed, and not looked at since", inventory.Host{State: inventory.StateInstalled, Wrote: true, Flipped: true, EverFlipped: true, InstalledAt: at}, unknown},
		{"installed, and looked at since", inventory.Host{State: inventory.StateInstalled, Wrote: true, Flipped: true, EverFlipped: true, InstalledAt: at, ReportedAt: at.Add(time.Hour)}, lost},
		{"a reinstall that waits", inventory.Host{State: inventory.StateQueued, EverFlipped: true, InstalledAt: at, ReportedAt: at.Add(time.Hour)}, lost},
	} {
		in := input(both, disk("a", gb), disk("b", 2*gb))
		c.host.ID, c.host.Facts, c.host.OwnedDisks = in.Host.ID, in.Host.Facts, names{"ata-a": "ephemeral", "ata-b": "persistent"}
		in.Host = c.host
		p := Make(in)
		if b, _ := p.Slot("data"); b.Fate != FateFormatIfBlank || !strings.Contains(b.Why, c.want) {
			t.Errorf("%s: got %s, %q, want %q", c.name, b.Fate, b.Why, c.want)
		}
	}
}

func TestOwn(t *testing.T) {
	t.Parallel()
	in := input(both, disk("a", gb, ext4), disk("b", 2*gb))
	in.Host.OwnedDisks, in.Host.Bound = names{"ata-a": "persistent", "ata-old": "persistent"}, names{"data": "ata-a", "other": "ata-old"}
	in.Host.Pins = names{"os": "ata-a", "data": "ata-b"}
	p := Make(in)
	h := p.Own(in.Host)
	if diff := cmp.Diff(map[string]string{"ata-a": "ephemeral", "ata-b": "persistent", "ata-old": "persistent"}, h.OwnedDisks); diff != "" {
		t.Errorf("owned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"os": "ata-a", "data": "ata-b", "other": "ata-old"}, h.Bound); diff != "" {
		t.Errorf("bound (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"ata-a": "persistent"}, h.Claimed); diff != "" {
		t.Errorf("claimed: the disk that held data, and what it was (-want +got):\n%s", diff)
	}
	h.State = inventory.StateInstalling
	if given, err := inventory.Next(h, inventory.Cancelled{}); err != nil || given.OwnedDisks["ata-a"] != "persistent" || given.OwnedDisks["ata-b"] != "persistent" || given.Claimed != nil {
		t.Errorf("once the job is given up: got %v, claimed %v, %v; want ata-a to be what it was", given.OwnedDisks, given.Claimed, err)
	}
	if done, err := inventory.Next(h, inventory.NetbootFlipped{}); err != nil || done.Claimed != nil || done.OwnedDisks["ata-a"] != "ephemeral" {
		t.Errorf("once it is installed: got %v, claimed %v, %v", done.OwnedDisks, done.Claimed, err)
	}
	if in.Host.Bound["data"] != "ata-a" || in.Host.OwnedDisks["ata-a"] != "persistent" {
		t.Error("the host given must not be written to")
	}
	// Half formatted: the retry is not blocked, the persistent disk is kept from now on.
	in.Host = h
	in.Host.Facts = &inventory.Facts{Disks: []inventory.Disk{disk("a", gb, windows), disk("b", 2*gb, ext4)}}
	p = Make(in)
	if diff := cmp.Diff([]string{"data: b keep", "os: a wipe"}, brief(p)); diff != "" {
		t.Errorf("plan of the retry (-want +got):\n%s", diff)
	}
	if !p.KeepsPersistent() {
		t.Error("the retry keeps a persistent disk")
	}
}
