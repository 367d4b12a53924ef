package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestPublishedNixosAnywhere installs by the published nixos-anywhere, unchanged: NIXOS_ANYWHERE is its program, fetched by
// hand. Through the appliance's queue: a refusal of the install script, a UEFI install, a reinstall that keeps the state disk.
func TestPublishedNixosAnywhere(t *testing.T) {
	program := os.Getenv("NIXOS_ANYWHERE")
	if program == "" {
		t.Skip("set NIXOS_ANYWHERE to the published program (src/nixos-anywhere.sh of a checkout)")
	}
	l := newLAN(t)
	flags := hiveFlags(t)
	for n, f := range flags {
		if f == "--nixos-anywhere" {
			flags[n+1] = program
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command(filepath.Join(root, "nix", "tests", "nix-stage0.sh"), built(t, "stage0"), filepath.Join(data, "stage0")).CombinedOutput(); err != nil {
		t.Fatalf("nix-stage0.sh: %v: %s", err, out)
	}
	a := startApplianceIn(t, l, data, serverFlags(l, flags...)...)
	m := newMachine(t, l, lab.MachineConfig{Name: "node", Firmware: lab.UEFI, MemoryMiB: 2048, Disks: []lab.Disk{
		{Serial: "OS-0001", Size: 17 << 30}, {Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30}}})
	i := &installation{appliance: a, m: m}
	t.Cleanup(func() { t.Logf("the job's log:\n%s", tail(i.jobLog(), 150)) })
	if _, err := a.call(http.MethodPut, "/reservations/"+m.MAC(), map[string]string{"ip": l.Addr(50).String()}, nil); err != nil {
		t.Fatal(err)
	}
	powerOn(t, a, m).ready(t, 10*time.Minute)
	i.assign(t)

	// Somebody puts something on the state disk behind the last look at it: the script refuses.
	const state = "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_STATE-0001"
	i.logged(t, "### Uploading install SSH keys ###")
	i.ssh(t, "mkswap -L somebody "+state+" && sync")
	var h *host
	eventually(t, 10*time.Minute, func() string {
		var err error
		if h, err = a.host(m.MAC()); err != nil || h == nil || h.State != "failed" {
			return "not refused: " + describe(h, err)
		}
		return ""
	})
	if !strings.Contains(h.Error, "nothing was written") {
		t.Fatalf("refused as: %s", h.Error)
	}
	t.Logf("refused in step %s: %s", h.Step, h.Error)
	if out, _ := i.ssh(t, "blkid -s LABEL -o value "+state+"; wipefs /dev/disk/by-id/virtio-OS-0001"); out != "somebody" {
		t.Errorf("on the disks after the refusal: %q, want what somebody put there and nothing else", out)
	}
	i.ssh(t, "wipefs -qa "+state+" && sync")

	began := time.Now()
	if _, err := a.call(http.MethodPost, "/hosts/"+m.MAC()+"/retry", nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string {
		if h, err := a.host(m.MAC()); err != nil || h == nil || h.State == "failed" {
			return describe(h, err)
		}
		return ""
	})
	i.state(t, 20*time.Minute, "installed")
	t.Logf("installed in %.0f s", time.Since(began).Seconds())
	key := checkInstalled(t, i)
	i.ssh(t, "echo kept > /var/lib/rancher/file; sync")

	began = time.Now()
	i.askReinstall(t)
	i.state(t, time.Minute, "queued", "installing")
	i.state(t, 20*time.Minute, "installed")
	t.Logf("installed again in %.0f s", time.Since(began).Seconds())
	if again := checkInstalled(t, i); again != key {
		t.Errorf("host key after the reinstall %s, want %s", again, key)
	}
	if out, _ := i.ssh(t, "cat /var/lib/rancher/file"); out != "kept" {
		t.Errorf("on the state disk after the reinstall: %q, want what was there", out)
	}
}
