package inventory

import "time"

// Discovery decides who gets stage-0 beyond those who must: see DESIGN section 1.
type Discovery string

// The values of --discovery.
const (
	DiscoveryOnce   Discovery = "once"
	DiscoveryAlways Discovery = "always"
	DiscoveryOff    Discovery = "off"
)

// Target is what a netbooting host is sent to.
type Target string

// What a host can be sent to.
const (
	TargetStage0 Target = "stage-0"
	TargetDisk   Target = "own disk"
	TargetSilent Target = "silence" // ignored: no boot file at all
	TargetHold   Target = "hold"    // the loop guard: a menu instead of another boot
)

// HoldAfter is how many times in a row a host may fetch its script without
// checking in before the loop guard holds it with a menu.
const HoldAfter = 5

// diskBootGap is how soon a machine comes back that did not start from its disk: a firmware that ignores its boot order,
// or finds nothing to start there, is back within minutes (OVMF 2022.11 after 10 s, with other devices to try 168 s).
const diskBootGap = 5 * time.Minute

// The loop guard's reasons, as the ends of sentences that begin with the host's name.
const (
	holdNoCheckIn = "fetched its script five times without checking in"
	holdNoDisk    = "was sent to its own disk five times and came back to the network each time"
)

// BootTarget decides what host h boots next and why. A nil h is a machine never heard of.
func BootTarget(h *Host, d Discovery, now time.Time) (Target, string) {
	if h == nil {
		h = &Host{}
	}
	t, why := bootTarget(h, d, now)
	if t == TargetStage0 && h.Fetches >= HoldAfter {
		return TargetHold, holdNoCheckIn
	}
	if t == TargetDisk && h.EverFlipped && h.DiskBoots >= HoldAfter && now.Sub(h.DiskBootAt) < diskBootGap {
		return TargetHold, holdNoDisk
	}
	return t, why
}

// Looping says in one sentence in which loop of reboots the loop guard has found the host, "" for none.
func (h *Host) Looping(now time.Time) string {
	switch {
	case h.Fetches >= HoldAfter:
		return "It " + holdNoCheckIn + ": held in a menu."
	case h.EverFlipped && h.DiskBoots >= HoldAfter && now.Sub(h.DiskBootAt) < diskBootGap:
		return "It " + holdNoDisk + ": held in a menu. Its firmware ignores the boot order or finds nothing to start on the disk."
	}
	return ""
}

// countDiskBoot counts a script that sends an installed host to its own disk.
func (h *Host) countDiskBoot(t Target, now time.Time) {
	if !h.EverFlipped || t != TargetDisk && (t != TargetHold || h.Fetches >= HoldAfter) {
		return
	}
	if now.Sub(h.DiskBootAt) >= diskBootGap {
		h.DiskBoots = 0
	}
	h.DiskBoots, h.DiskBootAt = min(h.DiskBoots+1, HoldAfter), now
}

func bootTarget(h *Host, d Discovery, now time.Time) (Target, string) {
	switch {
	case h.State == StateIgnored:
		return TargetSilent, "the host is ignored"
	case now.Before(h.StageZeroUntil):
		return TargetStage0, "somebody asked for stage-0 once"
	case h.in(StateQueued, StateInstalling, StateFailed):
		if h.Flipped {
			return TargetDisk, "its new system is on its disk"
		}
		return TargetStage0, "its job needs stage-0"
	case h.EverFlipped:
		return TargetDisk, "the host is installed"
	case h.State == StateExpected:
		return TargetStage0, "the host is expected"
	}
	switch d {
	case DiscoveryAlways:
		return TargetStage0, "discovery is always"
	case DiscoveryOff:
		return TargetDisk, "discovery is off"
	}
	if h.Facts == nil {
		return TargetStage0, "the machine never checked in"
	}
	if !h.Facts.Bootable() {
		return TargetStage0, "its disks hold nothing that boots"
	}
	return TargetDisk, "the machine was inventoried and has something to boot"
}
