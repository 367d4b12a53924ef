package inventory_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// TestMatching is the dry run: which roles' rules mean a host, without anything being done.
func TestMatching(t *testing.T) {
	t.Parallel()
	rule := func(m inventory.Match) inventory.Role {
		return inventory.Role{AutoInstall: &inventory.AutoInstall{Match: m}}
	}
	roles := map[string]inventory.Role{
		"storage": rule(inventory.Match{Vendor: "Dell*", MinDisks: 3}),
		"worker":  rule(inventory.Match{Vendor: "dell*"}),
		"arm":     rule(inventory.Match{Arch: "aarch64"}),
		"by-mac":  rule(inventory.Match{MAC: "02:00:00"}),
		"manual":  {},
		"empty":   rule(inventory.Match{}),
	}
	host := func(vendor, arch string, disks int, mac inventory.MAC) inventory.Host {
		return inventory.Host{MAC: mac, MACs: []inventory.MAC{mac}, Facts: &inventory.Facts{Vendor: vendor, Arch: arch, Disks: make([]inventory.Disk, disks)}}
	}
	other := inventory.MAC{0x52, 0x54, 0, 0, 0, 1}
	for _, c := range []struct {
		name string
		host inventory.Host
		want []string
	}{
		{"nothing means it", host("HP", "x86_64", 1, other), nil},
		{"one rule means it", host("Dell Inc.", "x86_64", 1, other), []string{"worker"}},
		{"two rules mean it, in order of name", host("Dell Inc.", "x86_64", 3, other), []string{"storage", "worker"}},
		{"by architecture", host("HP", "aarch64", 1, other), []string{"arm"}},
		{"by the first bytes of its MAC", host("HP", "x86_64", 1, inventory.MAC{2, 0, 0, 0, 0, 1}), []string{"by-mac"}},
		{"it has not reported yet", inventory.Host{MAC: other, MACs: []inventory.MAC{other}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, inventory.Matching(&c.host, roles)); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	h := inventory.Host{MACs: []inventory.MAC{mac(1), mac(2)}, Facts: &inventory.Facts{Vendor: "QEMU", Product: "Standard PC (i440FX/PIIX)", Serial: "S1", Arch: "x86_64",
		MemoryBytes: 8 << 30, Disks: []inventory.Disk{{Type: "hdd", SizeBytes: 4 << 40}, {Type: "ssd", SizeBytes: 100 << 30}, {Type: "ssd", SizeBytes: 32 << 30, Boot: true}}}}
	for _, c := range []struct {
		name string
		m    inventory.Match
		want bool
	}{
		{"nothing asked matches nothing", inventory.Match{}, false},
		{"vendor, case ignored", inventory.Match{Vendor: "qemu*"}, true},
		{"another vendor", inventory.Match{Vendor: "dell*"}, false},
		{"a product with a slash", inventory.Match{Product: "*(i440fx/piix)"}, true},
		{"a malformed pattern", inventory.Match{Vendor: "[", Arch: "x86_64"}, false},
		{"another product", inventory.Match{Product: "PowerEdge*"}, false},
		{"serial", inventory.Match{Serial: "s?"}, true},
		{"another serial", inventory.Match{Serial: "s??"}, false},
		{"any of its MACs", inventory.Match{MAC: "52:54:00:00:00:02"}, true},
		{"a MAC prefix", inventory.Match{MAC: "52:54:*"}, true},
		{"another MAC prefix", inventory.Match{MAC: "aa:*"}, false},
		{"the first bytes of a MAC", inventory.Match{MAC: "52:54:00"}, true},
		{"the first bytes with hyphens, in capitals", inventory.Match{MAC: "52-54-00-00-00-"}, true},
		{"half a byte of a MAC", inventory.Match{MAC: "52:54:0"}, false},
		{"the first bytes of another MAC", inventory.Match{MAC: "52:55"}, false},
		{"a MAC glob with hyphens", inventory.Match{MAC: "52-54-*-02"}, true},
		{"a MAC glob with a class", inventory.Match{MAC: "52:54:00:00:00:0[2-4]"}, true},
		{"its architecture", inventory.Match{Arch: "x86*"}, true},
		{"another architecture", inventory.Match{Arch: "aarch64"}, false},
		{"memory", inventory.Match{MinMemoryBytes: 8 << 30}, true},
		{"too little memory", inventory.Match{MinMemoryBytes: 8<<30 + 1}, false},
		{"disk count", inventory.Match{MinDisks: 2}, true},
		{"too few disks", inventory.Match{MinDisks: 3}, false},
		{"disk type", inventory.Match{DiskType: "hdd"}, true},
		{"another disk type", inventory.Match{DiskType: "nvme"}, false},
		{"disk size", inventory.Match{MinDiskBytes: 4 << 40}, true},
		{"disks too small", inventory.Match{MinDiskBytes: 5 << 40}, false},
		{"memory, just not too much", inventory.Match{MaxMemoryBytes: 8 << 30}, true},
		{"too much memory", inventory.Match{MaxMemoryBytes: 8<<30 - 1}, false},
		{"memory in a range", inventory.Match{MinMemoryBytes: 4 << 30, MaxMemoryBytes: 16 << 30}, true},
		{"disks, just not too many; the stick does not count", inventory.Match{MaxDisks: 2}, true},
		{"too many disks", inventory.Match{MaxDisks: 1}, false},
		{"the stick is no third disk", inventory.Match{MinDisks: 3}, false},
		{"a disk that is not too large", inventory.Match{MaxDiskBytes: 100 << 30}, true},
		{"every disk too large", inventory.Match{MaxDiskBytes: 100<<30 - 1}, false},
		{"a disk in a range", inventory.Match{MinDiskBytes: 1 << 40, MaxDiskBytes: 4 << 40}, true},
		{"a range that two disks reach from both sides", inventory.Match{MinDiskBytes: 200 << 30, MaxDiskBytes: 1 << 40}, false},
		{"type and range of two different disks", inventory.Match{DiskType: "hdd", MaxDiskBytes: 1 << 40}, false},
		{"the stick's size is nobody's", inventory.Match{MaxDiskBytes: 50 << 30}, false},
		{"all of several", inventory.Match{Vendor: "QEMU", MinDisks: 2, MAC: "52:54", Arch: "x86_64"}, true},
		{"all but one of several", inventory.Match{Vendor: "QEMU", MinDisks: 2, MAC: "52:55", Arch: "x86_64"}, false},
		{"a disk of that type and size", inventory.Match{DiskType: "ssd", MinDiskBytes: 100 << 30}, true},
		{"type and size of two different disks", inventory.Match{DiskType: "ssd", MinDiskBytes: 1 << 40}, false},
	} {
		if got := c.m.Matches(&h); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if (inventory.Match{Arch: "*"}).Matches(&inventory.Host{}) {
		t.Error("a host without facts matches nothing")
	}
}

func TestMatchCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		m    inventory.Match
		want []string // parts of what is wrong, empty = nothing
	}{
		{"all fields", inventory.Match{Vendor: "Dell*", Product: "[A-Z]?", Serial: "*", MAC: "52:54:00", Arch: "x86_64", MinMemoryBytes: 1, MaxMemoryBytes: 1,
			MinDisks: 2, MaxDisks: 2, DiskType: "ssd", MinDiskBytes: 5, MaxDiskBytes: 5}, nil},
		{"least without most", inventory.Match{MinMemoryBytes: 8, MinDisks: 1, MinDiskBytes: 1}, nil},
		{"nothing", inventory.Match{}, []string{"is empty"}},
		{"no patterns", inventory.Match{Vendor: "[", MAC: "52:["}, []string{".vendor", ".mac"}},
		{"nothing between", inventory.Match{MinMemoryBytes: 2, MaxMemoryBytes: 1, MinDisks: 3, MaxDisks: 2, MinDiskBytes: 2, MaxDiskBytes: 1}, []string{"minMemoryBytes", "minDisks is 3", "minDiskBytes"}},
		{"fewer than no disks", inventory.Match{MinDisks: -1}, []string{"below 0"}},
		{"a type of disk that there is not", inventory.Match{DiskType: "nvme"}, []string{`diskType "nvme"`}},
	} {
		err := c.m.Check()
		if (err == nil) != (len(c.want) == 0) {
			t.Errorf("%s: got %v", c.name, err)
		}
		for _, w := range c.want {
			if err != nil && !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %v, want something about %q", c.name, err, w)
			}
		}
	}
}
