package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestSwappedDisk looks at a plan and then changes what it was made from: another disk in the
// machine's slot, and other contents on the same disk. Nothing is written.
func TestSwappedDisk(t *testing.T) {
	image := bootable(t)
	state := lab.Disk{Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30}
	i := newInstallationWith(t, lab.MachineConfig{Name: "old", MemoryMiB: 1024, Disks: []lab.Disk{{Serial: "OS-0001", Size: 17 << 30, Image: image}, state}})
	powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
	i.assign(t)
	eventually(t, time.Minute, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil || !strings.Contains(h.BlockedOn, "OS-0001") {
			return "not queued for a decision about OS-0001: " + describe(h, err)
		}
		return ""
	})
	seen := i.plan(t, "")
	i.m.PowerOff()

	old := i.m
	i.m = newMachine(t, i.lan, lab.MachineConfig{Name: "new", MAC: old.MAC(), Serial: old.Config().Serial, MemoryMiB: 1024,
		Disks: []lab.Disk{{Serial: "OS-0002", Size: 17 << 30, Image: image}, state}})
	before := hashes(t, i.m)
	powerOn(t, i.appliance, i.m)
	eventually(t, 3*time.Minute, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil || !strings.Contains(h.BlockedOn, "OS-0002") {
			return "the new disk is not asked about: " + describe(h, err)
		}
		return ""
	})
	confirm := func(plan, serial string) error {
		_, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/install", map[string]any{"plan_id": plan, "confirm": map[string]string{"os": serial}}, nil)
		return err
	}
	if err := confirm(seen.ID, "OS-0001"); err == nil {
		t.Error("a plan for a disk that is gone was accepted")
	} else {
		t.Log(err)
	}
	if after := hashes(t, i.m); after != before {
		t.Fatalf("disks changed by a refused plan:\nbefore %s\nafter  %s", before, after)
	}
	changedContents(t, i, func() error { return confirm(i.plan(t, "").ID, "OS-0002") })
}

// changedContents puts a file system on the disk after the machine reported it, and confirms
// the plan that was made of the report: the job reads the disk again and stops.
func changedContents(t *testing.T, i *installation, confirm func() error) {
	t.Helper()
	const disk = "/dev/disk/by-id/virtio-OS-0002"
	i.ssh(t, "mkfs.ext4 -q -F -L somebody "+disk+" && sync")
	asked := time.Now()
	if err := confirm(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil || h.State != "failed" && h.State != "queued" {
			return "the job goes on: " + describe(h, err)
		}
		for _, e := range i.diary(i.m.MAC(), asked) {
			if e.Kind == "job.step" && strings.Contains(e.Text, "Step 2 of ") {
				t.Log(describe(h, nil))
				return ""
			}
		}
		return "the job has not read the disks again: " + describe(h, nil)
	})
	if out, _ := i.ssh(t, "blkid -s LABEL -o value "+disk); out != "somebody" {
		t.Errorf("on the disk that changed: %q, want what somebody put there", out)
	}
}
