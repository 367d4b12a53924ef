package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestSwappedDisk looks at a plan and then changes what it was made from: another disk in the
// machine's slot, and other contents on the same disk while the job runs. Nothing is written.
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
	changedUnderTheJob(t, i, func() error { return confirm(i.plan(t, "").ID, "OS-0002") })
}

// changedUnderTheJob confirms the plan and writes a file system to the disk while the job runs.
func changedUnderTheJob(t *testing.T, i *installation, confirm func() error) {
	t.Helper()
	const write = "mkfs.ext4 -q -F -L somebody /dev/disk/by-id/virtio-OS-0002 && sync"
	i.ssh(t, "true") // the machine is reachable; the next one is quick
	if err := confirm(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil || h.State != "installing" || !strings.Contains(i.jobLog(), "step 4 of 10") {
			return "the job has not looked at the disks yet: " + describe(h, err)
		}
		return ""
	})
	i.ssh(t, write)
	var h *host
	eventually(t, 3*time.Minute, func() string {
		var err error
		if h, err = i.host(i.m.MAC()); err != nil || h == nil || h.State != "failed" {
			return "the job goes on: " + describe(h, err)
		}
		return ""
	})
	t.Logf("failed in step %s: %s", h.Step, h.Error)
	if !strings.Contains(h.Error, "OS-0002") && !strings.Contains(h.Error, "nothing was written") {
		t.Errorf("the failure %q names neither the disk nor that nothing was written", h.Error)
	}
	if out, _ := i.ssh(t, "blkid -s LABEL -o value /dev/disk/by-id/virtio-OS-0002"); out != "somebody" {
		t.Errorf("on the disk that changed: %q, want what somebody put there", out)
	}
}
