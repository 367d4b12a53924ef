package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestDiscovery holds that a machine with a system of its own is looked at once
// and then left in peace, and what the other two settings do.
func TestDiscovery(t *testing.T) {
	l := newLAN(t)
	a := startAppliance(t, l, serverFlags(l)...)
	image := bootable(t)
	var machines []*lab.Machine
	for i, fw := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		machines = append(machines, newMachine(t, l, lab.MachineConfig{Name: string(fw), Firmware: fw, Port: i, Disks: []lab.Disk{{Image: image, Serial: fmt.Sprintf("SYS-%d", i)}}}))
	}
	before := hashes(t, machines[0]) + hashes(t, machines[1])

	t.Run("once: a machine with a system is inventoried the first time", func(t *testing.T) {
		for _, h := range readyAll(t, 120*time.Second, powerOn(t, a, machines[0]), powerOn(t, a, machines[1])) {
			if len(h.Disks) != 1 || len(h.Disks[0].Signatures) == 0 {
				t.Errorf("%s: disks %+v, want one with signatures", h.MAC, h.Disks)
			}
		}
	})
	t.Run("once: it gets its own disk the second time", func(t *testing.T) {
		all := []*journey{powerOn(t, a, machines[0]), powerOn(t, a, machines[1])}
		for _, j := range all {
			bootsOwnDisk(t, j)
			for _, e := range a.diary(j.m.MAC(), j.powered) {
				if strings.Contains(e.Text, "second choice") {
					t.Errorf("%s: its first choice of boot file worked, and yet: %s", j.m.MAC(), e.Text)
				}
			}
		}
		if got := script(t, a, machines[1].MAC()); !strings.Contains(got, "exit 1") {
			t.Errorf("the UEFI machine's script does not end with exit 1:\n%s", got)
		}
	})
	t.Run("always: it gets stage-0 all the same", func(t *testing.T) {
		a.restart(serverFlags(l, "--discovery", "always")...)
		powerOn(t, a, machines[0]).ready(t, 90*time.Second)
	})
	t.Run("off: a machine that was never seen gets its own disk", func(t *testing.T) {
		a.restart(serverFlags(l, "--discovery", "off")...)
		m := newMachine(t, l, lab.MachineConfig{Name: "stranger", Port: 2, Disks: []lab.Disk{{Image: image}}})
		j := powerOn(t, a, m)
		bootsOwnDisk(t, j)
		h, err := a.host(m.MAC())
		if err != nil || h == nil || h.State != "seen" {
			t.Errorf("got %+v, %v; want a host that was only seen", h, err)
		}
	})
	t.Run("no disk was written", func(t *testing.T) {
		if after := hashes(t, machines[0]) + hashes(t, machines[1]); after != before {
			t.Errorf("disks changed:\nbefore %s\nafter  %s", before, after)
		}
	})
}

// bootsOwnDisk demands that the boot ends on the machine's disk and not in stage-0.
func bootsOwnDisk(t *testing.T, j *journey) {
	t.Helper()
	e, err := j.m.Wait(within(t, 120*time.Second), lab.EventDiskBoot, lab.EventInit)
	if err != nil {
		t.Fatal(err)
	}
	want := lab.DiskBootBIOS
	if j.m.Config().Firmware != lab.BIOS {
		want = lab.DiskBootUEFI
	}
	if e.Name != lab.EventDiskBoot || !strings.Contains(e.Line, want) {
		t.Fatalf("%s: got %s (%s), want its own disk", j.m.MAC(), e.Name, e.Line)
	}
	j.timeline(t)
	j.m.PowerOff()
}
