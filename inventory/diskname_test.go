package inventory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

func TestDiskNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		disk       inventory.Disk
		want, path string
		called     []string
		not        []string
	}{
		{"a disk with both", inventory.Disk{ID: "ata-x", ByID: []string{"ata-x", "wwn-0x1"}, Path: "pci-1"}, "ata-x", "/dev/disk/by-id/ata-x",
			[]string{"ata-x", "wwn-0x1", "path:pci-1"}, []string{"", "pci-1", "path:", "path:ata-x", "path:pci-2"}},
		{"a disk with a port alone", inventory.Disk{Name: "vda", Path: "pci-0000:00:05.0"}, "path:pci-0000:00:05.0", "/dev/disk/by-path/pci-0000:00:05.0",
			[]string{"path:pci-0000:00:05.0"}, []string{"", "path:", "vda", "pci-0000:00:05.0"}},
		{"a disk with no name at all", inventory.Disk{Name: "vda"}, "", "", nil, []string{"", "path:", "vda"}},
	} {
		name := c.disk.StableName()
		if name != c.want || inventory.DevicePath(name) != c.path || inventory.ByPath(name) != (c.disk.ID == "" && c.disk.Path != "") {
			t.Errorf("%s: got %q at %q, want %q at %q", c.name, name, inventory.DevicePath(name), c.want, c.path)
		}
		for _, n := range c.called {
			if !c.disk.Called(n) {
				t.Errorf("%s is not called %q, want it to be", c.name, n)
			}
		}
		for _, n := range c.not {
			if c.disk.Called(n) {
				t.Errorf("%s is called %q, want it not to be", c.name, n)
			}
		}
	}
}

func TestCheckDiskName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"ata-X_1": true, "path:pci-0000:00:1f.2-ata-1": true, "path:path:x": true, "none": true,
		"": false, "path:": false, "path:..": false, "path:.": false, "path:../x": false, "path:a/b": false, "a b": false, "path:$(id)": false, "..": false,
		"path:" + strings.Repeat("x", 255): true, "path:" + strings.Repeat("x", 256): false, strings.Repeat("x", 256): false,
	} {
		if err := inventory.CheckDiskName(name); (err == nil) != ok || err != nil && !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("CheckDiskName(%q): got %v, want accepted %t", name, err, ok)
		}
	}
}
