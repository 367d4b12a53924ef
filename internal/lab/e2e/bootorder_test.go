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

// TestDiskFirst installs a machine whose firmware keeps its own boot order, network first, with a role that puts the
// disk first: it then starts without the appliance, and a reinstall still finds its way to stage-0.
func TestDiskFirst(t *testing.T) {
	full(t)
	i := newInstallationWith(t, lab.MachineConfig{Name: "node", Firmware: lab.UEFI, MemoryMiB: 1024, OwnOrder: true, Disks: []lab.Disk{
		{Serial: "OS-0001", Size: 17 << 30}, {Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30}}})
	if _, err := i.call(http.MethodPost, "/roles/refresh", nil, nil); err != nil {
		t.Fatal(err)
	}
	wishDiskFirst(t, filepath.Join(i.data, "hive"))
	if _, err := i.call(http.MethodPost, "/roles/refresh", nil, nil); err != nil {
		t.Fatal(err)
	}
	powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
	before, _ := i.ssh(t, `n=$(efibootmgr | sed -nE 's/^Boot([0-9A-F]{4}).*PXEv4.*/\1/p' | head -n 1)
		efibootmgr -q -o "$n,$(efibootmgr | sed -nE 's/^BootOrder: //p' | tr , '\n' | grep -v "$n" | tr '\n' , | sed 's/,$//')"; efibootmgr | sed -n 's/^BootOrder: //p'`)
	t.Logf("boot order as a person set it: %s", before)
	i.assign(t)
	i.state(t, 14*time.Minute, "installed")
	if log := i.jobLog(); !strings.Contains(log, "the disk is first in the firmware's boot order now") {
		t.Errorf("the job's log does not tell of the boot order:\n%s", tail(log, 20))
	}
	withoutNetwork := func() {
		t.Helper()
		j := powerOn(t, i.appliance, i.m)
		says(t, i.m, 6*time.Minute, "STUB-READY node1")
		t.Logf("its kernel speaks %s after power-on", kernelAt(i.m))
		if have := j.timeline(t); have["tftp.file"] || have["http.script"] || have["http.file"] {
			t.Errorf("it asked the appliance what to boot: %v", have)
		}
	}
	withoutNetwork()
	asked := time.Now()
	i.askReinstall(t)
	i.state(t, time.Minute, "queued", "installing")
	i.state(t, 14*time.Minute, "installed")
	said := false
	for _, e := range i.diary(i.m.MAC(), asked) {
		said = said || strings.Contains(e.Text, "Its firmware boots from the network once (Boot")
	}
	if !said {
		t.Error("the diary does not tell of the one boot from the network")
	}
	withoutNetwork()
}

// wishDiskFirst edits the hive as a person would: its role "server" gets bootOrder.
func wishDiskFirst(t *testing.T, hive string) {
	t.Helper()
	file := filepath.Join(hive, "roles.nix")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(raw), "  server = {\n", "  server = {\n    bootOrder = \"disk\";\n", 1)
	if changed == string(raw) {
		t.Fatalf("no role server in %s", file)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "-c", "user.name=A Person", "-c", "user.email=person@example.org", "commit", "-qam", "server: disk first")
	cmd.Dir = hive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git commit: %v: %s", err, out)
	}
}

// kernelAt is when the kernel spoke first.
func kernelAt(m *lab.Machine) time.Duration {
	for _, e := range m.Events() {
		if e.Name == lab.EventKernel {
			return e.Since.Round(time.Second / 10)
		}
	}
	return 0
}
