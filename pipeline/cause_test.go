package pipeline

import (
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// The lines are what the programs print: nixos-anywhere 1.13, nix 2.26, disko v1.13 (sgdisk, mkfs, mount), nixos-install 26.05.
func TestInstallFailure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, phase string
		code        int
		lines       []string
		cause, hint string // beginning, part
	}{
		{"a persistent disk is missing", phaseFormat, 20, nil, "A disk of the plan is missing", "Put the disk back"},
		{"foreign data on a persistent disk", phaseFormat, 21, nil, "A persistent disk holds data", "Save what is on it"},
		{"a persistent disk that cannot be read", phaseFormat, 21, []string{"hatchery: REFUSED (21): the disk of slot data cannot be read, so nobody knows what it holds. Look at its cable and its health. Nothing was written."},
			"A persistent disk fails when it is read; nothing was written: the disk of slot data cannot be read", "its cable"},
		{"one disk in two slots", phaseFormat, 22, nil, "Two disks cannot be told apart", "Bind one of the slots"},
		{"a disk with a name of ours", phaseFormat, 22, []string{"x", "hatchery: REFUSED (22): the layout's array a is also on /dev/sdc. Unplug that disk, or rename it there. Nothing was written."},
			"Two disks cannot be told apart: one is bound to two slots, or another one carries the same labels or names; nothing was written: the layout's array a is also on /dev/sdc. Unplug that disk, or rename it there.", "unplug the disk that is named"},
		{"the boot medium", phaseFormat, 23, nil, "A disk of the plan is the one stage-0 itself runs from", "Remove the stick"},
		{"a disk that was changed", phaseFormat, 24, []string{"Input/output error"}, "A disk is not what the plan was confirmed with", "new disk plan"},
		{"a disk that is held by an array", phaseFormat, 1, []string{"wipefs: error: /dev/sda: probing initialization failed: Device or resource busy"},
			"A disk of the plan is in use on the machine: wipefs: error: /dev/sda", "Restart the machine"},
		{"a disk that is mounted", phaseFormat, 1, []string{"mke2fs 1.47.2", "/dev/sda1 contains a mounted filesystem."}, "A disk of the plan is in use", "Restart the machine"},
		{"a disk that fails", phaseFormat, 1, []string{"mkfs.ext4: Input/output error while writing out and closing file system"}, "A disk of the machine fails", "Replace the disk"},
		{"a disk that fails in the copy", phaseCopy, 1, []string{"error: writing to file: Input/output error"}, "A disk of the machine fails", "Replace the disk"},
		{"a layout that does not fit", phaseFormat, 4, []string{"Could not create partition 2 from 1050624 to 42989567"}, "The role's layout does not fit on a disk of the plan", "larger disk"},
		{"no room for the script in memory", phaseFormat, 1, []string{"error: writing to file: No space left on device"}, "The machine's memory is too small", "more memory"},
		{"the machine's memory runs out", phaseCopy, 1, []string{"Out of memory: Killed process 812 (nix-store)"}, "The machine's memory is too small for the install", "more memory"},
		{"the connection breaks in the copy", phaseCopy, 1, []string{"copying path '/nix/store/x'", "client_loop: send disconnect: Broken pipe", "error: unexpected end-of-file"},
			"The SSH connection to the machine was lost during the install: client_loop", "network cable"},
		{"ssh's own exit code", phaseCopy, 255, nil, "The SSH connection to the machine was lost during the install.", "network cable"},
		{"a slow machine", "asking stage-0 what it is", 1, []string{"Connection timed out during banner exchange"}, "The SSH connection to the machine was lost", "network cable"},
		{"a root that is full", phaseCopy, 1, []string{"error: writing to file: No space left on device"}, "The root file system of the new system is too small", "larger in the role's layout"},
		{"files that cannot be planted", phasePlant, 2, []string{"tar: etc/ssh: Cannot mkdir: Read-only file system"}, "The host's key and files could not be planted", "writable"},
		{"a root of the wrong mode", phaseInstall, 1, []string{"path /mnt should have permissions 755, but had permissions 700. Consider running 'chmod go+rx /mnt'."},
			"The root folder of the new system has the wrong mode", "chmod 755"},
		{"a full ESP", phaseInstall, 1, []string{"OSError: [Errno 28] No space left on device: '/boot/EFI/nixos/x-linux-bzImage.efi'"}, "The boot partition (ESP) is too small", "512 MB"},
		{"firmware variables that are read-only", phaseInstall, 1, []string{"Failed to write 'LoaderSystemToken' EFI variable: Read-only file system"},
			"The firmware's variables could not be written", "canTouchEfiVariables"},
		{"a machine that was not started by UEFI", phaseInstall, 2, []string{"EFI variables are not supported on this system."}, "The firmware's variables could not be written: the machine was not started by UEFI", "UEFI boot"},
		{"a firmware without room", phaseInstall, 1, []string{"Could not prepare Boot variable: No space left on device"}, "The firmware has no room for another boot entry", "boot entries"},
		{"a boot loader that fails", phaseInstall, 1, []string{"/nix/store/x/bin/grub-install: error: cannot find EFI directory.", "Failed to install bootloader"}, "The boot loader could not be installed", "UEFI or BIOS"},
		{"a boot loader that ends with a refusal's code", phaseInstall, 20, nil, "nixos-anywhere ended with exit code 20 while installing the boot loader", "half written"},
		{"something nobody thought of", phaseInstall, 3, []string{"setting up /etc...", "error: it rained in", "done"}, "nixos-anywhere ended with exit code 3 while installing the boot loader: error: it rained in", "last lines"},
		{"nothing was printed", "", 3, nil, "nixos-anywhere ended with exit code 3.", "last lines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := installFailure(c.code, c.phase, c.lines)
			if !strings.HasPrefix(f.Cause, c.cause) || !strings.Contains(f.Hint, c.hint) || !strings.Contains(f.Hint, "etry") && c.code != 21 || f.Step != StepInstall {
				t.Errorf("got %q, hint %q; want %q, hint with %q", f.Cause, f.Hint, c.cause, c.hint)
			}
		})
	}
}

// TestWhatTheMachinePrintsIsTheCause has the whole way from the machine's output to the page.
func TestWhatTheMachinePrintsIsTheCause(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	m.powerOn()
	m.exit, m.prints = 4, "Creating new GPT entries in memory.\nCould not create partition 2 from 1050624 to 42989567\n"
	r.assign(m, "node1", "plain")
	h := r.untilState(m, inventory.StateFailed)
	if want := tooSmall[:len(tooSmall)-1] + ": Could not create partition 2"; !strings.HasPrefix(h.Error, want) || h.Hint != tooSmallHint {
		t.Errorf("got %q, hint %q; want %q…, hint %q", h.Error, h.Hint, want, tooSmallHint)
	}
}
