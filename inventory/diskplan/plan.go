package diskplan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// Fate is what happens to a disk.
type Fate string

// The fates.
const (
	FateWipe          Fate = "wipe"            // everything on it is erased, it is formatted for its slot
	FateFormatIfBlank Fate = "format-if-blank" // it is blank and is formatted; refused should anything be on it by then
	FateKeep          Fate = "keep"            // its persistent data is mounted as it is
	FateUntouched     Fate = "untouched"       // nothing is written to it
)

// PinNone is the pin that leaves an optional slot empty.
const PinNone = "none"

// Input is all that a plan depends on.
type Input struct {
	Host inventory.Host // with facts, pins, and what it knows of its disks (OwnedDisks, Bound)
	Role inventory.Role
	// WipePersistent are the persistent slots whose wipe a person typed out.
	WipePersistent []string
	// Begun are the persistent slots whose disk the job itself found blank and began to format, slot → disk id: what
	// is on it since is the job's own, as long as no file system is.
	Begun map[string]string
	// Auto says that no person asked for this very install: only blank disks and our own are touched.
	Auto bool
}

// Plan binds slots to disks and says what happens to every disk.
type Plan struct {
	// ID names what a person looked at: it changes when a slot, its disk, whose that is, what is on it (unless
	// this appliance put it there for a slot of that class), or the role's layout changes; not by what is
	// confirmed about it, nor by disks that no slot has.
	ID     string           `json:"id"`
	HostID inventory.HostID `json:"host_id"`
	Role   string           `json:"role"`
	Auto   bool             `json:"auto,omitempty"`
	// Slots are all slots of the role, sorted by name.
	Slots []Binding `json:"slots"`
	// Disks are all disks of the machine, in the order it reported them.
	Disks []DiskFate `json:"disks"`
	// Blockers are what stands in the way as long as nothing is confirmed, sorted by slot; empty = go.
	Blockers []Blocker `json:"blockers"`
}

// Binding is a slot and the disk that fills it.
type Binding struct {
	Slot     string `json:"slot"`
	Class    string `json:"class"` // inventory.ClassEphemeral, inventory.ClassPersistent
	Optional bool   `json:"optional,omitempty"`
	Fate     Fate   `json:"fate,omitempty"` // "" when no disk fills it
	// Disk is the disk's name in /dev/disk/by-id, or "path:" and its port's in /dev/disk/by-path where it has no other
	// and a person pinned it; "" when no disk fills the slot.
	Disk      string `json:"disk,omitempty"`
	Serial    string `json:"serial,omitempty"`
	WWN       string `json:"wwn,omitempty"`
	Model     string `json:"model,omitempty"`
	SizeBytes uint64 `json:"size_bytes,omitempty"`
	// Contents is what was found on the disk, one canonical line each, as Differs compares it; empty = blank.
	Contents []string `json:"contents"`
	// Owned is the class under which this appliance owned the disk when the plan was made ("" = not ours).
	Owned string `json:"owned,omitempty"`
	// Wiped says that the wipe of this persistent slot was asked for, or that it was half formatted.
	Wiped bool `json:"wiped,omitempty"`
	// Confirm is the Word that a person must type to agree that the disk is erased; "" when nobody must.
	Confirm string `json:"confirm,omitempty"`
	// Why says in a sentence why this disk (or none), and why this fate.
	Why string `json:"why"`
}

// Path is the stable device path, "" when no disk fills the slot.
func (b *Binding) Path() string { return inventory.DevicePath(b.Disk) }

// Word is what a person types for the slot's disk: its serial, else its WWN, else its by-id name, else its port. The
// plan's id, which goes with it, holds the size, model and contents of what was seen at that port.
func (b *Binding) Word() string {
	return cmp.Or(b.Serial, b.WWN, strings.TrimPrefix(b.Disk, inventory.PathPrefix))
}

// DiskFate is a disk of the machine and what happens to it.
type DiskFate struct {
	ID        string `json:"id"`             // in /dev/disk/by-id; "" when it has no such name
	Path      string `json:"path,omitempty"` // in /dev/disk/by-path, where it has no ID
	Serial    string `json:"serial,omitempty"`
	Model     string `json:"model,omitempty"`
	SizeBytes uint64 `json:"size_bytes"`
	Type      string `json:"type,omitempty"`
	Transport string `json:"transport,omitempty"`
	Holds     string `json:"holds"`          // what is on it, in words
	Slot      string `json:"slot,omitempty"` // that it fills
	Fate      Fate   `json:"fate"`
	Why       string `json:"why"` // a sentence
}

// BlockerKind is what stands in the way, as a fixed word.
type BlockerKind string

// The kinds of blocker. The first three go away by a confirmation, the others only by a change.
const (
	BlockForeign           BlockerKind = "foreign-data"            // an ephemeral slot's disk holds data that is not ours
	BlockForeignPersistent BlockerKind = "foreign-data-persistent" // a persistent slot's disk holds data that is not this slot's
	BlockWipe              BlockerKind = "persistent-wipe"         // the wipe of persistent data was asked for
	BlockMissing           BlockerKind = "missing-disk"            // no disk for a slot that needs one, or the one it had is gone
	BlockNoID              BlockerKind = "no-stable-name"          // the disk has no name in /dev/disk/by-id
	BlockNoSerial          BlockerKind = "no-serial"               // neither serial nor WWN, and not pinned
	BlockTooSmall          BlockerKind = "too-small"               // smaller than the slot's minBytes, or no medium in it
	BlockDuplicate         BlockerKind = "duplicate"               // serial or WWN appears twice: multipath, or a cheap enclosure
	BlockPort              BlockerKind = "pinned-by-port"          // pinned by its port though it has a name, or for a rule's install
	BlockBootMedium        BlockerKind = "boot-medium"             // stage-0 runs from it
	BlockRemovable         BlockerKind = "removable"               // USB or removable, and neither pinned nor named by the role
	BlockReadOnly          BlockerKind = "read-only"
	BlockSameDisk          BlockerKind = "same-disk" // two slots are pinned to one disk
	BlockNoFacts           BlockerKind = "no-facts"  // the machine never checked in
	BlockBadRole           BlockerKind = "bad-role"  // the role has no slots, or one of an unknown class
)

// Blocker is one thing that stands in the way, and what to do about it.
type Blocker struct {
	Kind      BlockerKind `json:"kind"`
	Slot      string      `json:"slot,omitempty"`
	Disk      string      `json:"disk,omitempty"` // what a pin calls it, when it has such a name
	Model     string      `json:"model,omitempty"`
	Serial    string      `json:"serial,omitempty"`
	SizeBytes uint64      `json:"size_bytes,omitempty"`
	Holds     string      `json:"holds,omitempty"` // what is on it, in words
	Text      string      `json:"text"`            // what is wrong, a sentence
	Do        string      `json:"do"`              // what to do, a sentence
}

// Slot returns the binding of a slot; false when the role has no such slot.
func (p *Plan) Slot(name string) (Binding, bool) {
	i := slices.IndexFunc(p.Slots, func(b Binding) bool { return b.Slot == name })
	if i < 0 {
		return Binding{}, false
	}
	return p.Slots[i], true
}

// KeepsPersistent reports whether any disk's data is kept.
func (p *Plan) KeepsPersistent() bool {
	return slices.ContainsFunc(p.Slots, func(b Binding) bool { return b.Fate == FateKeep })
}

// Own returns the host with what this plan is about to put where recorded in it: OwnedDisks, Claimed and
// Bound. Store it before the first write. A disk that was persistent and is now confirmed
// for an ephemeral slot becomes ephemeral; what the plan does not touch stays as it is recorded.
func (p *Plan) Own(h inventory.Host) inventory.Host {
	owned, bound, claimed := map[string]string{}, map[string]string{}, map[string]string{}
	maps.Copy(owned, h.OwnedDisks)
	maps.Copy(bound, h.Bound)
	maps.Copy(claimed, h.Claimed)
	for _, b := range p.Slots {
		if b.Disk == "" {
			continue
		}
		maps.DeleteFunc(bound, func(_, disk string) bool { return disk == b.Disk }) // another slot's before
		if _, again := claimed[b.Disk]; !again && b.Class == inventory.ClassEphemeral && b.Owned != b.Class && len(b.Contents) > 0 {
			claimed[b.Disk] = b.Owned
		}
		owned[b.Disk], bound[b.Slot] = b.Class, b.Disk
	}
	h.OwnedDisks, h.Bound = owned, bound
	if len(claimed) > 0 {
		h.Claimed = claimed
	}
	return h
}
