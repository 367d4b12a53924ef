package web

import (
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// TestADiskWithoutANameIsPinnedOnThePage: it is offered by its port, and what must be typed is the port's name.
func TestADiskWithoutANameIsPinnedOnThePage(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	f := facts()
	f.Disks[0] = inventory.Disk{Path: "pci-0000:00:05.0", Name: "vda", Model: "Virtual disk", SizeBytes: 20e9, Type: "virtual", Transport: "virtio", Signatures: []string{"dos"}}
	f.Disks[1].SizeBytes = 1e9
	h := b.checkIn(1, f)
	b.assignRole(h, "node1", "worker")
	b.signIn()
	page := "/hosts/" + mac(1).Hyphens()
	before := b.page(page)
	for _, want := range []string{`<option value="path:pci-0000:00:05.0">Virtual disk 20 GB  whatever hangs at port pci-0000:00:05.0</option>`,
		"known by its port alone", "pin the slot to path:pci-0000:00:05.0 by hand"} {
		if !strings.Contains(before, want) {
			t.Errorf("before it is pinned the page does not say %q:\n%s", want, before)
		}
	}
	b.api("PUT", "/hosts/node1", map[string]any{"pins": map[string]string{"os": "path:pci-0000:00:05.0"}}, 200, nil)
	after := b.page(page)
	for _, want := range []string{`<option value="path:pci-0000:00:05.0" selected>`, `Type <b class="mono">pci-0000:00:05.0</b> to erase`,
		"pinned by hand to its port, where Virtual disk 20 GB (port pci-0000:00:05.0) is now"} {
		if !strings.Contains(after, want) {
			t.Errorf("pinned, the page does not say %q:\n%s", want, after)
		}
	}
}
