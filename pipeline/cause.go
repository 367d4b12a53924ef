package pipeline

import (
	"fmt"
	"strings"
)

// The titles of nixos-anywhere's phases that decide what its output means.
const (
	phaseFormat  = "formatting the disks"
	phaseCopy    = "copying the system"
	phasePlant   = "planting the host's key and files"
	phaseInstall = "installing the boot loader"
)

// sign is something that an ended run of nixos-anywhere printed, and what it means.
type sign struct {
	phase string   // only in this phase, "" = in any
	words []string // all of them stand in one line, lower case
	cause string
	hint  string
}

const keptHint = " Then retry: persistent disks are kept."

// signs are what is known to go wrong behind the install script's start (nix-facts section 7), the most
// exact first. Texts as nix 2.8 and 2.26, nixos-install 26.05, systemd 257 and GRUB 2.12 print them.
var signs = []sign{
	{phaseInstall, []string{"/mnt should have permissions 755"}, "The root folder of the new system has the wrong mode.",
		"Look at the role's layout: the root file system's own folder must be open to all (chmod 755)." + keptHint},
	{phaseInstall, []string{"read-only file system", "efi"}, "The firmware's variables could not be written.",
		"Set boot.loader.efi.canTouchEfiVariables = false in the role, or update the machine's firmware." + keptHint},
	{phaseInstall, []string{"efi variables are not supported"}, "The firmware's variables could not be written: the machine was not started by UEFI.",
		"Switch the machine to UEFI boot, or give it a role with a BIOS boot loader." + keptHint},
	{phaseInstall, []string{"could not prepare boot variable"}, "The firmware has no room for another boot entry.",
		"Delete old boot entries in the firmware's setup." + keptHint},
	{phaseInstall, []string{"no space left on device", "/boot"}, "The boot partition (ESP) is too small for the kernel and its initrd.",
		"Make it larger in the role's layout (512 MB at least)." + keptHint},
	{phaseInstall, []string{"grub-install"}, "The boot loader could not be installed.", "Read the job's log: does the role's layout fit how the machine boots (UEFI or BIOS)?" + keptHint},
	{phaseInstall, []string{"failed to install bootloader"}, "The boot loader could not be installed.",
		"Read the job's log: does the role's layout fit how the machine boots (UEFI or BIOS)?" + keptHint},
	{phasePlant, []string{"tar:"}, "The host's key and files could not be planted on the new system.",
		"Read the job's log: is there room on the root file system, and is it writable?" + keptHint},
	{phaseFormat, []string{"not enough free sectors"}, tooSmall, tooSmallHint},
	{phaseFormat, []string{"could not create partition"}, tooSmall, tooSmallHint},
	{phaseFormat, []string{"is too small"}, tooSmall, tooSmallHint},
	{phaseFormat, []string{"device or resource busy"}, busyDisk, busyDiskHint},
	{phaseFormat, []string{"is apparently in use by the system"}, busyDisk, busyDiskHint},
	{phaseFormat, []string{"contains a mounted filesystem"}, busyDisk, busyDiskHint},
	{"", []string{"input/output error"}, "A disk of the machine fails: it reports errors.", "Replace the disk, look at the new disk plan, then retry."},
	{"", []string{"i/o error"}, "A disk of the machine fails: it reports errors.", "Replace the disk, look at the new disk plan, then retry."},
	{phaseCopy, []string{"no space left on device"}, "The root file system of the new system is too small for it.",
		"Make it larger in the role's layout, or take a larger disk." + keptHint},
	{phaseInstall, []string{"no space left on device"}, "The root file system of the new system is too small for it.",
		"Make it larger in the role's layout, or take a larger disk." + keptHint},
	{"", []string{"no space left on device"}, "The machine's memory is too small for stage-0 and the tools of the install script.",
		"Give the machine more memory, then retry."},
	{"", []string{"out of memory"}, "The machine's memory is too small for the install.", "Give the machine more memory, then retry."},
	{"", []string{"cannot allocate memory"}, "The machine's memory is too small for the install.", "Give the machine more memory, then retry."},
}

const (
	tooSmall     = "The role's layout does not fit on a disk of the plan."
	tooSmallHint = "Give the slot a larger disk, or make the layout smaller in the hive." + keptHint
	busyDisk     = "A disk of the plan is in use on the machine."
	busyDiskHint = "Restart the machine so that it netboots stage-0 afresh: a mount, array or volume group of an earlier system holds the disk." + keptHint
)

// dropped are what ssh, and nix over it, say of a connection that broke.
var dropped = []string{"connection reset", "broken pipe", "connection timed out", "connection refused", "no route to host", "network is unreachable",
	"banner exchange", "connection closed by", "unexpected end-of-file", "failed to start ssh connection", "client_loop: send disconnect"}

// installFailure is what an ended run of nixos-anywhere means: its exit code, the phase it was in, the last lines of
// that phase, oldest first.
func installFailure(code int, phase string, lines []string) *Failure {
	f := &Failure{Step: StepInstall}
	if refusedIn(phase, code) {
		r, why := refusals[code], refusal(lines)
		if strings.Contains(why, unreadable) {
			r = unreadableDisk
		}
		f.Cause, f.Hint = withLine(r.cause, why), r.hint
		return f
	}
	for i := range signs {
		for _, line := range lines {
			if s := &signs[i]; s.phase == "" || s.phase == phase {
				if hasAll(strings.ToLower(line), s.words) {
					f.Cause, f.Hint = withLine(s.cause, line), s.hint
					return f
				}
			}
		}
	}
	for _, line := range lines {
		for _, d := range dropped {
			if strings.Contains(strings.ToLower(line), d) {
				return connectionLost(line)
			}
		}
	}
	if code == 255 { // ssh's own
		return connectionLost("")
	}
	f.Cause = fmt.Sprintf("nixos-anywhere ended with exit code %d.", code)
	if phase != "" {
		f.Cause = fmt.Sprintf("nixos-anywhere ended with exit code %d while %s.", code, phase)
	}
	f.Cause = withLine(f.Cause, complaint(lines))
	f.Hint = "The disks of the plan may be half written. Read the last lines of the job's log, then retry; persistent disks are kept."
	return f
}

func connectionLost(line string) *Failure {
	return &Failure{Step: StepInstall, Cause: withLine("The SSH connection to the machine was lost during the install.", line),
		Hint: "Look at the machine's network cable and power. Retry starts the install again; persistent disks are kept."}
}

// refusals are the meanings of the install script's own exit codes, made before it changes anything (DESIGN section 2).
var refusals = map[int]sign{
	20: {cause: "A disk of the plan is missing on the machine; nothing was written.",
		hint: "Put the disk back or bind the slot to another one, then retry."},
	21: {cause: "A persistent disk holds data that this appliance did not put there; nothing was written.",
		hint: "Save what is on it. Then name its slot to be wiped, with its serial number, or bind the slot to another disk."},
	22: {cause: "Two disks cannot be told apart: one is bound to two slots, or another one carries the same labels or names; nothing was written.",
		hint: "Bind one of the slots to another disk, or unplug the disk that is named, then retry."},
	23: {cause: "A disk of the plan is the one stage-0 itself runs from; nothing was written.",
		hint: "Remove the stick and netboot, or bind the slot to another disk, then retry."},
	24: {cause: "A disk is not what the plan was confirmed with (other serial number or other content); nothing was written.",
		hint: "Look at the new disk plan, confirm it if it is right, then retry."},
}

// unreadable is in what the script says of a persistent disk that it cannot read, which it refuses with 21 as well: there may be data.
const unreadable = "cannot be read"

var unreadableDisk = sign{cause: "A persistent disk fails when it is read; nothing was written.",
	hint: "Look at its cable and its health, then retry. To do without what is on it, bind the slot to another disk, or name its slot to be wiped."}

// refusedIn reports whether an exit code is the install script's refusal, with nothing written: only while the script ran.
// Later phases end with the codes of other programs (of a boot loader's installer, say), when disks are formatted.
func refusedIn(phase string, code int) bool {
	_, ok := refusals[code]
	return ok && phase == phaseFormat
}

// refusal is what the install script itself says of why it refused; "" where it did not get through.
func refusal(lines []string) string {
	for _, line := range lines {
		if _, why, ok := strings.Cut(line, "REFUSED ("); ok {
			_, why, _ = strings.Cut(why, "): ")
			return strings.TrimSuffix(why, " Nothing was written.")
		}
	}
	return ""
}

// complaint is the last line that sounds like an error, else the last one.
func complaint(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if t := strings.ToLower(lines[i]); strings.Contains(t, "error") || strings.HasPrefix(t, "aborted:") {
			return lines[i]
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

func hasAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// withLine is a sentence with the line that it was concluded from.
func withLine(sentence, line string) string {
	if line == "" {
		return sentence
	}
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return strings.TrimSuffix(sentence, ".") + ": " + line
}
