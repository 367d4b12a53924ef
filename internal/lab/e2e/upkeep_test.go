package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// upkeepHost is what these tests look at beside [host].
type upkeepHost struct {
	State, Error, System, Upkeep string
	Behind                       int
	EverInstalled                bool `json:"ever_installed"`
}

func (i *installation) upkeep(t *testing.T) upkeepHost {
	t.Helper()
	var h upkeepHost
	if _, err := i.call(http.MethodGet, "/hosts/"+i.m.MAC(), nil, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// through waits until the host's deploy or format has ended.
func (i *installation) through(t *testing.T, limit time.Duration) (h upkeepHost) {
	t.Helper()
	eventually(t, limit, func() string {
		if h = i.upkeep(t); h.Upkeep == "" {
			return ""
		}
		full, err := i.host(i.m.MAC())
		return "its " + h.Upkeep + " goes on: " + describe(full, err)
	})
	if h.State != "installed" {
		t.Fatalf("the host is %s: %s", h.State, h.Error)
	}
	return h
}

// editHive commits a system of another kind: every host gets that name for an address.
func (i *installation) editHive(t *testing.T, word string) {
	t.Helper()
	dir := filepath.Join(i.data, "hive")
	if err := os.WriteFile(filepath.Join(dir, "more.nix"), fmt.Appendf(nil, "{ networking.hosts.\"192.0.2.1\" = [ %q ]; }\n", word), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-ec", `cd "$1"
grep -q more.nix flake.nix || sed -i 's|common = \[ ./common.nix \]|common = [ ./common.nix ./more.nix ]|' flake.nix
grep -q more.nix flake.nix
git add more.nix flake.nix
git -c user.name=t -c user.email=t@localhost commit -qm "$2"`, "sh", dir, word).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (i *installation) deploy(t *testing.T) {
	t.Helper()
	if _, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/deploy", nil, nil); err != nil {
		t.Fatal(err)
	}
}

// digest is what is on one disk of the machine.
func (i *installation) digest(t *testing.T, disk int) string {
	t.Helper()
	sum, err := lab.HashDisk(i.m.DiskPath(disk))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// foreign is the image of a disk with somebody's data on it.
func foreign(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "foreign.img")
	if out, err := exec.Command("sh", "-ec", `truncate -s 64M "$1"; mkfs.ext4 -q -L photos "$1"`, "sh", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return image
}

// TestUpkeep takes an installed machine through its second day, with real firmware and real boots: deploys that go well, that
// fail, and that cut the machine off; the format of its one persistent disk, with every other disk left alone. It is
// installed all the time, and its power-on leads to its own disk.
func TestUpkeep(t *testing.T) {
	full(t)
	i := newInstallationWith(t, lab.MachineConfig{Name: "node", Firmware: lab.UEFI, MemoryMiB: 1024, Disks: []lab.Disk{
		{Serial: "OS-0001", Size: 17 << 30}, {Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30},
		{Bus: "scsi", Serial: "OTHER-0001", Image: foreign(t)}}})
	powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
	i.assign(t)
	i.state(t, 8*time.Minute, "installed")
	key := checkInstalled(t, i)
	before := i.digest(t, 2)
	i.ssh(t, "echo kept > /var/lib/rancher/file; echo kept > /root/file; sync")

	i.editHive(t, "second-day")
	eventually(t, time.Minute, func() string {
		if h := i.upkeep(t); h.Behind != 1 {
			return fmt.Sprintf("it is %d commits behind the hive, want 1", h.Behind)
		}
		return ""
	})
	i.deploy(t)
	good := i.through(t, 5*time.Minute)
	if good.Error != "" || good.Behind != 0 {
		t.Fatalf("after the deploy: %+v", good)
	}
	if out, again := i.ssh(t, "grep -c second-day /etc/hosts; readlink -f /run/current-system; readlink -f /nix/var/nix/profiles/system; cat /root/file"); out != "1\n"+good.System+"\n"+good.System+"\nkept" || again != key {
		t.Errorf("after the deploy: %q (host key the same: %v), want the new system running and booted", out, again == key)
	}

	i.editHive(t, "hatchery-test-broken")
	i.deploy(t)
	if h := i.through(t, 5*time.Minute); !strings.Contains(h.Error, "the following units failed: broken.service. The machine runs its earlier system again.") {
		t.Errorf("a system whose activation fails: %q", h.Error)
	}
	i.editHive(t, "hatchery-test-deaf")
	i.deploy(t)
	if h := i.through(t, 8*time.Minute); !strings.Contains(h.Error, "went back by itself. The machine runs its earlier system again.") {
		t.Errorf("a system that cuts the machine off: %q", h.Error)
	}
	if out, _ := i.ssh(t, "readlink -f /run/current-system; readlink -f /nix/var/nix/profiles/system"); out != good.System+"\n"+good.System {
		t.Errorf("after going back: %q, want %s", out, good.System)
	}

	i.formatState(t)
	if after := i.digest(t, 2); after != before {
		t.Error("the format wrote to a disk that no slot has")
	}
	out, again := i.ssh(t, "cat /root/file; ls /var/lib/rancher/file 2>/dev/null || echo empty; grep -c ' /var/lib/rancher ' /proc/mounts; readlink -f /run/current-system")
	if out != "kept\nempty\n1\n"+good.System || again != key {
		t.Errorf("after the format: %q (host key the same: %v), want the system disk as it was, with the deployed system, and an empty state disk", out, again == key)
	}
	boot := powerOn(t, i.appliance, i.m)
	eventually(t, 3*time.Minute, func() string {
		if strings.Contains(i.m.Console(), "STUB-BOOT "+good.System) && strings.Contains(i.m.Console(), "STUB-READY node1") {
			return ""
		}
		return "a power-on does not end in the deployed system"
	})
	for _, e := range boot.a.diary(i.m.MAC(), boot.powered) {
		if e.Kind == "checkin" {
			t.Errorf("an installed machine checked in from stage-0: %s", e.Text)
		}
	}
}

// formatState has the state disk formatted, after everything else was refused.
func (i *installation) formatState(t *testing.T) {
	t.Helper()
	plan := i.plan(t, "").ID
	for name, body := range map[string]map[string]string{
		"the system disk":     {"plan_id": plan, "slot": "os", "confirm": "OS-0001"},
		"a foreign disk":      {"plan_id": plan, "slot": "state", "confirm": "OTHER-0001"},
		"a slot that is none": {"plan_id": plan, "slot": "other", "confirm": "OTHER-0001"},
		"another plan":        {"plan_id": "0123", "slot": "state", "confirm": "STATE-0001"},
	} {
		if code, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/format", body, nil); code != http.StatusConflict {
			t.Errorf("%s: got %d %v, want a refusal", name, code, err)
		}
	}
	body := map[string]string{"plan_id": plan, "slot": "state", "confirm": "STATE-0001"}
	if _, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/format", body, nil); err != nil {
		t.Fatal(err)
	}
	if h := i.through(t, 8*time.Minute); h.Error != "" {
		t.Fatalf("the format: %s", h.Error)
	}
}
