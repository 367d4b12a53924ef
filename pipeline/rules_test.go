package pipeline

import (
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
			if diff := cmp.Diff(c.want, Matching(&c.host, roles)); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}
		})
	}
}
