package diskplan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// port is what udev leaves of a disk without serial number: where it hangs.
func port(p string) func(*inventory.Disk) {
	return func(d *inventory.Disk) { d.ID, d.ByID, d.Serial, d.WWN, d.Path = "", nil, "", "", "pci-"+p }
}
func hangsAt(p string) func(*inventory.Disk) { return func(d *inventory.Disk) { d.Path = "pci-" + p } }

// guid gives the disk one partition with a unique id of its own.
func guid(label, id string) func(*inventory.Disk) {
	return func(d *inventory.Disk) {
		d.Signatures, d.Partitions = []string{"gpt"}, []inventory.Partition{{Number: 1, SizeBytes: gb, Label: label, FS: "ext4", UUID: id}}
	}
}

const someGUID, otherGUID = "0c5b9a8e-0001-4000-8000-000000000001", "0c5b9a8e-0001-4000-8000-000000000002"

// TestPort: a disk that is known by its port alone.
func TestPort(t *testing.T) {
	t.Parallel()
	pinOS, pinData := names{"os": "path:pci-5"}, names{"data": "path:pci-5"}
	osDone := names{"ata-a": "ephemeral"}
	for _, c := range []planCase{
		{name: "it is never chosen", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5")), disk("b", 9*gb)}, want: []string{"os: b wipe"}},
		{name: "alone it is refused, by the name that a pin may have", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"))},
			want: []string{"os:", "! os no-stable-name path:pci-5"}},
		{name: "pinned by hand and blank", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"))}, pins: pinOS, want: []string{"os: path:pci-5 wipe"}},
		{name: "the pin without the word that says port", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"))}, pins: names{"os": "pci-5"},
			want: []string{"os:", "! os missing-disk pci-5"}},
		{name: "pinned, and a rule installs", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"))}, pins: pinOS, auto: true,
			want: []string{"os:", "! os pinned-by-port path:pci-5"}},
		{name: "pinned, and nothing hangs there", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("6"))}, pins: pinOS,
			want: []string{"os:", "! os missing-disk path:pci-5"}},
		{name: "pinned, and the disk there has a name", slots: osOnly, disks: []inventory.Disk{disk("n", gb, hangsAt("5"))}, pins: pinOS,
			want: []string{"os:", "! os pinned-by-port n"}},
		{name: "pinned, and too small", slots: osData, disks: []inventory.Disk{disk("n", gb, port("5"))}, pins: pinOS,
			want: []string{"data:", "os:", "! os too-small path:pci-5"}},
		{name: "pinned, and stage-0 runs from it", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), boot)}, pins: pinOS,
			want: []string{"os:", "! os boot-medium path:pci-5"}},
		{name: "pinned with foreign data", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), windows)}, pins: pinOS,
			want: []string{"os: path:pci-5 wipe", "! os foreign-data path:pci-5"}},
		{name: "an earlier install at that port is nobody's", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), guid("disk-os-root", someGUID))}, pins: pinOS,
			owned: names{"path:pci-5": "ephemeral"}, bound: names{"os": "path:pci-5"}, want: []string{"os: path:pci-5 wipe", "! os foreign-data path:pci-5"}},
		{name: "nor by a name that only its record knows", slots: osOnly, disks: []inventory.Disk{disk("n", gb, hangsAt("5"), windows)},
			owned: names{"path:pci-5": "ephemeral"}, bound: names{"os": "path:pci-5"}, want: []string{"os: n wipe", "! os foreign-data n"}},
		{name: "without its pin the earlier binding is nothing", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), windows)},
			owned: names{"path:pci-5": "ephemeral"}, bound: names{"os": "path:pci-5"}, want: []string{"os:", "! os no-stable-name path:pci-5"}},

		{name: "a blank one for data", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"))}, pins: pinData,
			want: []string{"data: path:pci-5 format-if-blank", "os: a wipe"}},
		{name: "data that carries the slot's label is kept", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"), guid("disk-data-data", someGUID))},
			pins: pinData, owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: path:pci-5 keep", "os: a wipe"}},
		{name: "somebody's data at the port is not", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"), guid("photos", someGUID))},
			pins: pinData, owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: path:pci-5 keep", "os: a wipe", "! data foreign-data-persistent path:pci-5"}},
		{name: "nor a bare file system, which carries no label", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"), ext4)},
			pins: pinData, owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: path:pci-5 keep", "os: a wipe", "! data foreign-data-persistent path:pci-5"}},
		{name: "labelled data that no install of this host put there", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"), guid("disk-data-data", someGUID))},
			pins: pinData, owned: osDone, want: []string{"data: path:pci-5 keep", "os: a wipe", "! data foreign-data-persistent path:pci-5"}},
		{name: "half formatted by this very job", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, port("5"), parted("disk-data-data", ""))},
			pins: pinData, owned: names{"path:pci-5": "persistent"}, begun: names{"data": "path:pci-5"}, want: []string{"data: path:pci-5 wipe", "os: a wipe"}},
		{name: "persistent data is not replaced when the pin is gone", slots: osData, disks: []inventory.Disk{disk("a", 20*gb), disk("b", gb), disk("n", gb, port("5"), guid("disk-data-data", someGUID))},
			owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: b format-if-blank", "os: a wipe", "! data missing-disk path:pci-5"}},
		{name: "nor when the disk is", slots: osData, disks: []inventory.Disk{disk("a", 20*gb), disk("b", gb)},
			owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: b format-if-blank", "os: a wipe", "! data missing-disk path:pci-5"}},
		{name: "data that was given a name since is kept under it", slots: both, disks: []inventory.Disk{disk("a", gb), disk("n", gb, hangsAt("5"), guid("disk-data-data", someGUID))},
			pins: names{"data": "ata-n"}, owned: names{"ata-a": "ephemeral", "path:pci-5": "persistent"}, bound: names{"os": "ata-a", "data": "path:pci-5"},
			want: []string{"data: n keep", "os: a wipe"}},
		{name: "what the port had says nothing of a disk with a record of its own", slots: osOnly, disks: []inventory.Disk{disk("n", gb, hangsAt("5"), windows)},
			owned: names{"ata-n": "ephemeral", "path:pci-5": "persistent"}, want: []string{"os: n wipe"}},
		{name: "an ephemeral slot at a port that had persistent data", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), windows)}, pins: pinOS,
			owned: names{"path:pci-5": "persistent"}, want: []string{"os: path:pci-5 wipe", "! os foreign-data path:pci-5"}},

		{name: "two slots at one port", slots: both, disks: []inventory.Disk{disk("n", gb, port("5"))}, pins: names{"os": "path:pci-5", "data": "path:pci-5"},
			want: []string{"data: path:pci-5 format-if-blank", "os:", "! os same-disk path:pci-5"}},
		{name: "one disk by its name and by its port", slots: both, disks: []inventory.Disk{disk("n", gb, hangsAt("5"))}, pins: names{"os": "path:pci-5", "data": "ata-n"},
			want: []string{"data: n format-if-blank", "os:", "! os same-disk n"}},
		{name: "two disks that claim one port", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5")), disk("m", 2*gb, port("5"))}, pins: pinOS,
			want: []string{"os:", "! os duplicate path:pci-5"}},
		{name: "two paths to one disk, told by its partitions", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), guid("x", someGUID)), disk("m", gb, port("6"), guid("x", someGUID))}, pins: pinOS,
			want: []string{"os:", "! os duplicate path:pci-5"}},
		{name: "two paths of which one tells the serial number: that one may be used", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), guid("x", someGUID)), disk("m", gb, guid("x", someGUID))},
			owned: names{"ata-m": "ephemeral"}, want: []string{"os: m wipe"}},
		{name: "and not the other", slots: both, disks: []inventory.Disk{disk("n", gb, port("5"), guid("x", someGUID)), disk("m", gb, guid("x", someGUID))}, pins: pinData,
			owned: names{"ata-m": "ephemeral"}, want: []string{"data:", "os: m wipe", "! data duplicate path:pci-5"}},
		{name: "two paths that both tell it", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), serial("X")), disk("m", gb, serial("X"), wwn(""))}, pins: pinOS,
			want: []string{"os:", "! os duplicate path:pci-5"}},
		{name: "two disks with partitions of their own", slots: osOnly, disks: []inventory.Disk{disk("n", gb, port("5"), guid("x", someGUID)), disk("m", gb, port("6"), guid("x", otherGUID))}, pins: pinOS,
			want: []string{"os: path:pci-5 wipe", "! os foreign-data path:pci-5"}},
	} {
		t.Run(c.name, c.run)
	}
}

// TestPortIsNoDisk: what a person reads and types of a disk at a port, and what is seen when another hangs there.
func TestPortIsNoDisk(t *testing.T) {
	t.Parallel()
	made := func(opts ...func(*inventory.Disk)) Input {
		in := input(osOnly, disk("n", 20*gb, append([]func(*inventory.Disk){port("0000:00:05.0"), windows}, opts...)...))
		in.Host.Pins = names{"os": "path:pci-0000:00:05.0"}
		return in
	}
	p := Make(made())
	b, _ := p.Slot("os")
	if b.Word() != "pci-0000:00:05.0" || b.Confirm != b.Word() || b.Path() != "/dev/disk/by-path/pci-0000:00:05.0" {
		t.Errorf("typed %q, confirms %q, path %s; want the port's name", b.Word(), b.Confirm, b.Path())
	}
	for _, want := range []string{"pinned by hand to its port", "Model n", "20 GB", "pci-0000:00:05.0"} {
		if !strings.Contains(b.Why, want) {
			t.Errorf("why: got %q, want it to say %q", b.Why, want)
		}
	}
	if f := p.Disks[0]; f.ID != "" || f.Path != "pci-0000:00:05.0" {
		t.Errorf("disk: got %+v, want its port and no id", f)
	}
	said := inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{"os": b.Word()}}
	if err := p.Confirmed(said); err != nil {
		t.Errorf("confirmed with the port: %v", err)
	}
	if err := p.Confirmed(inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{"os": "pci-0000:00:06.0"}}); !errors.Is(err, ErrChanged) {
		t.Errorf("confirmed with another port: got %v, want ErrChanged", err)
	}
	for name, another := range map[string]func(*inventory.Disk){
		"another size":               func(d *inventory.Disk) { d.SizeBytes = 21 * gb },
		"another model":              func(d *inventory.Disk) { d.Model = "Virtual disk" },
		"a serial number":            serial("NEW"),
		"a WWN":                      wwn("0x1"),
		"a name of its own":          func(d *inventory.Disk) { d.ID, d.ByID = "ata-new", []string{"ata-new"} },
		"other contents":             ext4,
		"nothing on it":              func(d *inventory.Disk) { d.Signatures, d.Partitions = nil, nil },
		"other partitions":           guid("x", someGUID),
		"nothing hangs there":        port("0000:00:06.0"),
		"it is what stage-0 runs of": boot,
	} {
		in := made(another)
		now := Make(in)
		if now.ID == p.ID && name != "it is what stage-0 runs of" {
			t.Errorf("%s: the plan has the same id", name)
		}
		if err := p.Differs(in.Host.Facts); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: Differs: got %v, want ErrChanged", name, err)
		}
		if err := now.Confirmed(said); err == nil {
			t.Errorf("%s: what was confirmed of the other disk counts", name)
		}
	}
	twin := made()
	twin.Host.Facts.Disks = append(twin.Host.Facts.Disks, disk("m", gb, port("0000:00:05.0")))
	if err := p.Differs(twin.Host.Facts); !errors.Is(err, ErrChanged) {
		t.Errorf("a second disk at the port: got %v, want ErrChanged", err)
	}
	if h := p.Own(inventory.Host{}); h.OwnedDisks["path:pci-0000:00:05.0"] != "ephemeral" || h.Bound["os"] != "path:pci-0000:00:05.0" {
		t.Errorf("recorded: got %+v", h)
	}
}

// TestNamesAreNoPorts: the plans of disks with names are what they were before ports had any.
func TestNamesAreNoPorts(t *testing.T) {
	t.Parallel()
	in := input(both, disk("a", gb), disk("b", 2*gb, windows))
	before := Make(in)
	for i := range in.Host.Facts.Disks {
		in.Host.Facts.Disks[i].Path = fmt.Sprint("pci-", i)
	}
	if after := Make(in); after.ID != before.ID || !slices.Equal(brief(after), brief(before)) {
		t.Errorf("with ports: got %q %v, want %q %v", after.ID, brief(after), before.ID, brief(before))
	}
	if before.ID != "7c8a68d57ff1b345557cb6f70b5f3571" {
		t.Errorf("the plan's id: got %s: confirmations of earlier versions no longer count", before.ID)
	}
}
