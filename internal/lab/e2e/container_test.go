package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestNetbootFromTheContainer boots a machine from the program, the boot files and the libraries of the image that the
// Dockerfile makes, with the two capabilities that docs/container.md names and no way to more. No container engine is
// needed: HATCHERY_CONTAINER is the image's root folder, as `buildah mount` shows it; a mount namespace, chroot and
// setpriv do what an engine does. docs/container.md has the commands.
func TestNetbootFromTheContainer(t *testing.T) {
	rootfs := os.Getenv("HATCHERY_CONTAINER")
	if rootfs == "" {
		t.Skip("needs an image that was built: see docs/container.md, and set HATCHERY_CONTAINER to its root folder")
	}
	l := newLAN(t)
	a := &appliance{t: t, lan: l, addr: l.ApplianceAddr(), data: filepath.Join(t.TempDir(), "data")}
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-r", built(t, "stage0"), filepath.Join(a.data, "stage0")).CombinedOutput(); err != nil {
		t.Fatalf("copy stage-0: %v: %s", err, out)
	}
	var err error
	if a.log, err = os.Create(filepath.Join(t.TempDir(), "appliance.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.cleanup)
	// The image's own ENTRYPOINT, and flags after it, as `docker run IMAGE FLAGS` gives them.
	args := append([]string{"hatchery", "serve", "--data", "/var/lib/hatchery", "--ipxe", "/usr/local/share/hatchery/ipxe"}, serverFlags(l, "--interface", "eth0")...)
	if a.proc, err = l.Start(lab.Appliance, a.log, "unshare", contained(rootfs, a.data, args...)...); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, func() string {
		if err := a.connect(); err != nil {
			return err.Error() + "\n" + a.logTail(10)
		}
		return ""
	})
	// The image's HEALTHCHECK.
	out, err := l.Command(t.Context(), lab.Appliance, "unshare", contained(rootfs, a.data, "hatchery", "healthcheck")...).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("hatchery healthcheck: %v: %s", err, out)
	}
	// Its nix builds in a store of its own.
	out, err = l.Command(t.Context(), lab.Appliance, "unshare", contained(rootfs, a.data, "nix", "build", "--impure", "--no-link", "--print-out-paths", "--expr",
		`derivation { name = "hatchery-built-this"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }`)...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hatchery-built-this") {
		t.Errorf("nix build: %v: %s", err, out)
	}
	for i, firmware := range []lab.Firmware{lab.UEFI, lab.BIOS} {
		m := newMachine(t, l, lab.MachineConfig{Name: string(firmware), Port: i, Firmware: firmware, Disks: []lab.Disk{{}}})
		powerOn(t, a, m).ready(t, 5*time.Minute)
		m.PowerOff()
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(a.proc.PID()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	// CAP_NET_BIND_SERVICE is bit 10, CAP_NET_RAW bit 13.
	for _, want := range []string{"CapEff:\t0000000000002400", "CapBnd:\t0000000000002400", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process has other rights than documented, want %q:\n%s", want, status)
		}
	}
}

// contained are the arguments of `unshare` that run a program in the image as an engine would with
// `--cap-drop ALL --cap-add NET_RAW --cap-add NET_BIND_SERVICE --security-opt no-new-privileges -v DATA:/var/lib/hatchery -v DATA-nix:/nix`.
func contained(rootfs, data string, program ...string) []string {
	script := `set -e; root=$1 data=$2; shift 2
mkdir -p "$root/var/lib/hatchery" "$root/nix" "$data-nix"
mount --bind "$data" "$root/var/lib/hatchery"
mount --bind "$data-nix" "$root/nix"
for d in proc sys dev; do mount --rbind /$d "$root/$d"; done
exec chroot "$root" setpriv --bounding-set -all,+net_raw,+net_bind_service --no-new-privs -- env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root "$@"`
	return append([]string{"--mount", "sh", "-c", script, "sh", rootfs, data}, program...)
}
