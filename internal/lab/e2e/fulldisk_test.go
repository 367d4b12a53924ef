package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// fullDisk is an appliance whose data is on a small disk of its own.
type fullDisk struct {
	*appliance
	disk string
}

func newFullDisk(t *testing.T, l *lab.LAN) *fullDisk {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	f := &fullDisk{startApplianceIn(t, l, filepath.Join(disk, "data"), serverFlags(l, hiveFlags(t)...)...), disk}
	eventually(t, 2*time.Minute, func() string {
		var roles struct{ Items []any }
		if _, err := f.call(http.MethodGet, "/roles", nil, &roles); err != nil || len(roles.Items) == 0 {
			return "the roles were not read yet"
		}
		return ""
	})
	return f
}

// fill writes a file until nothing more fits.
func (f *fullDisk) fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(filepath.Join(f.disk, name))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	f.sick = true
}

// empty frees what was filled.
func (f *fullDisk) empty(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := os.Remove(filepath.Join(f.disk, n)); err != nil {
			t.Fatal(err)
		}
	}
	f.sick = false
}

func (f *fullDisk) assign(mac string) (int, error) {
	return f.call(http.MethodPut, "/hosts/"+mac, map[string]string{"name": "node1", "role": "server"}, nil)
}

// refused demands that new work is refused in words, and that the page and /healthz say so too.
func (f *fullDisk) refused(t *testing.T, mac string) {
	t.Helper()
	if code, err := f.assign(mac); code != http.StatusInsufficientStorage || !strings.Contains(err.Error(), "is full") {
		t.Errorf("a role while the disk is full: got %d, %v, want 507 and why", code, err)
	} else {
		t.Log(err)
	}
	var warnings struct{ Items []struct{ Text, Hint string } }
	if _, err := f.call(http.MethodGet, "/warnings", nil, &warnings); err != nil || !strings.Contains(fmt.Sprint(warnings.Items), "is full") {
		t.Errorf("warnings: got %+v, %v, want one about the disk", warnings.Items, err)
	}
	if err := f.connect(); err != nil {
		t.Error(err)
	}
}

// accepted waits until the role is given.
func (f *fullDisk) accepted(t *testing.T, mac string) {
	t.Helper()
	eventually(t, 30*time.Second, func() string {
		if code, err := f.assign(mac); err != nil {
			return fmt.Sprintf("with space again a role is refused: %d %v", code, err)
		}
		return ""
	})
}

// netboot does what a machine's firmware and iPXE do, from the router's side: a lease, a boot file, a script, the kernel.
func (a *appliance) netboot(t *testing.T, mac string) error {
	t.Helper()
	if err := a.firmware(t, mac); err != nil {
		return err
	}
	ctx := within(t, 60*time.Second)
	text, err := a.fetchBoot(ctx, a.http, "/boot.ipxe?mac="+strings.ReplaceAll(mac, ":", "-")+"&platform=efi&buildarch=x86_64", 1<<16)
	if err != nil || !strings.Contains(text, "boots stage-0") {
		return fmt.Errorf("script: %w\n%s", err, text)
	}
	_, file, _ := strings.Cut(text, a.bootURL(""))
	file, _, _ = strings.Cut(file, " ")
	if text, err = a.fetchBoot(ctx, a.http, file, 64<<20); err != nil || len(text) < 1<<20 {
		return fmt.Errorf("kernel %s: %w, %d bytes", file, err, len(text))
	}
	return nil
}

// firmware does the first half of it: a lease and the boot file.
func (a *appliance) firmware(t *testing.T, mac string) error {
	t.Helper()
	ctx := within(t, 60*time.Second)
	run := func(name string, args ...string) (string, error) {
		c := a.lan.Command(ctx, lab.Router, name, args...)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		err := c.Run()
		return out.String(), err
	}
	if out, err := run("ip", "link", "set", "eth0", "address", mac); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err := run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "3", "-V", "PXEClient:Arch:00007:UNDI:003000", "-s", "/bin/true")
	if err != nil || !strings.Contains(out, "lease of") {
		return fmt.Errorf("DHCP: %w: %s", err, out)
	}
	if out, err := run("curl", "-sS", "--max-time", "20", "-o", os.DevNull, "-w", "%{size_download}", "tftp://"+a.addr.String()+"/snponly.efi"); err != nil || len(out) < 6 {
		return fmt.Errorf("TFTP: %w: %s", err, out)
	}
	return nil
}

// TestFullDiskServes fills the appliance's disk to the last byte: leases, boot files and scripts of machines known and
// new go on, also after a kill; new work is refused with a sentence and begins once there is space.
func TestFullDiskServes(t *testing.T) {
	f := newFullDisk(t, newLAN(t))
	const first, second, third = "52:54:00:fd:00:01", "52:54:00:fd:00:02", "52:54:00:fd:00:03"
	serve := func(when, mac string) {
		t.Helper()
		if err := f.netboot(t, mac); err != nil { // the very first write may find the disk full: firmware asks again
			t.Logf("%s, once more: %v", when, err)
			if err = f.netboot(t, mac); err != nil {
				t.Fatalf("%s: %v\n%s", when, err, f.logTail(15))
			}
		}
	}
	serve("with space", first)
	f.fill(t, "ballast")
	serve("a known machine on a full disk", first)
	serve("a new machine on a full disk", second)
	f.refused(t, first)
	f.crash()
	f.fill(t, "more") // what the crash let go
	f.start()
	serve("a new machine after a restart on a full disk", third)
	f.refused(t, second)
	f.empty(t, "ballast", "more")
	f.accepted(t, first)
}

// TestFullDiskBoots is the same with real firmware, up to the check-in.
func TestFullDiskBoots(t *testing.T) {
	if os.Getenv("HATCHERY_FULL") != "1" {
		t.Skip("two more boots: part of make test-full")
	}
	l := newLAN(t)
	f := newFullDisk(t, l)
	f.fill(t, "ballast")
	bios := newMachine(t, l, lab.MachineConfig{Name: "bios", Port: 0, Disks: []lab.Disk{{Serial: "OS-0001", Size: 17 << 30}}})
	uefi := newMachine(t, l, lab.MachineConfig{Name: "uefi", Firmware: lab.UEFI, Port: 1, Disks: []lab.Disk{{Serial: "OS-0002", Size: 17 << 30}}})
	if h := powerOn(t, f.appliance, bios).ready(t, 120*time.Second); h.IP == "" {
		t.Error("the machine has no lease")
	}
	f.refused(t, bios.MAC())
	f.crash()
	f.fill(t, "more")
	f.start()
	powerOn(t, f.appliance, uefi).ready(t, 150*time.Second)
	f.empty(t, "ballast", "more")
	f.accepted(t, bios.MAC())
}
