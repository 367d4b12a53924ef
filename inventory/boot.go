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

// BootTarget decides what host h boots next and why. A nil h is a machine never heard of.
func BootTarget(h *Host, d Discovery, now time.Time) (Target, string) {
	if h == nil {
		h = &Host{}
	}
	t, why := bootTarget(h, d, now)
	if t == TargetStage0 && h.Fetches >= HoldAfter {
		return TargetHold, "fetched its script five times without checking in"
	}
	return t, why
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
