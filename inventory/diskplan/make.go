package diskplan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// planner is one run of Make: the input indexed, the plan as it grows.
type planner struct {
	in       Input
	disks    []inventory.Disk
	double   []bool         // per disk: its serial or WWN appears twice
	taken    map[int]string // disk → slot
	bind     map[string]int // slot → disk
	how      map[string]string
	blockers []Blocker
}

// Make plans the disks of a host for a role. It always returns a plan; what stands in the way is in it.
func Make(in Input) Plan {
	p := Plan{HostID: in.Host.ID, Role: in.Role.Name, Auto: in.Auto, Slots: []Binding{}, Disks: []DiskFate{}, Blockers: []Blocker{}}
	m := &planner{in: in, taken: map[int]string{}, bind: map[string]int{}, how: map[string]string{}}
	if in.Host.Facts != nil {
		m.disks = in.Host.Facts.Disks
	}
	m.double = duplicates(m.disks)
	names := slices.Sorted(maps.Keys(in.Role.Disks))
	if m.sane(names) {
		m.bindPins(names)
		m.bindPrevious(names)
		m.bindRest(names)
		m.judgeGone(names)
	}
	for _, n := range names {
		p.Slots = append(p.Slots, m.binding(n))
	}
	for i := range m.disks {
		p.Disks = append(p.Disks, m.fate(i, p.Slots))
	}
	p.Blockers = append(p.Blockers, m.blockers...)
	slices.SortStableFunc(p.Blockers, func(a, b Blocker) int { return strings.Compare(a.Slot, b.Slot) })
	p.ID = identify(&p, in.Role)
	return p
}

// sane reports whether there is anything to plan; else it says why not.
func (m *planner) sane(names []string) bool {
	switch {
	case m.in.Host.Facts == nil:
		m.block(Blocker{Kind: BlockNoFacts, Text: "The machine has not reported its disks yet.", Do: "Power it on: it netboots and reports by itself."})
		return false
	case len(names) == 0:
		m.block(Blocker{Kind: BlockBadRole, Text: fmt.Sprintf("Role %s has no disk slots.", m.in.Role.Name), Do: "Give the role its disks in the hive, or choose another role."})
		return false
	}
	ok := true
	for _, n := range names {
		if c := m.in.Role.Disks[n].Class; c != inventory.ClassEphemeral && c != inventory.ClassPersistent {
			m.block(Blocker{Kind: BlockBadRole, Slot: n, Text: fmt.Sprintf("Slot %s of role %s has class %q.", n, m.in.Role.Name, c),
				Do: "Make it \"ephemeral\" or \"persistent\" in the hive."})
			ok = false
		}
	}
	return ok
}

func (m *planner) block(b Blocker) { m.blockers = append(m.blockers, b) }

// blockDisk blocks because of disk i.
func (m *planner) blockDisk(kind BlockerKind, slot string, i int, text, do string) {
	d := &m.disks[i]
	m.block(Blocker{Kind: kind, Slot: slot, Disk: d.StableName(), Model: d.Model, Serial: d.Serial, SizeBytes: d.SizeBytes,
		Holds: m.holds(d), Text: text, Do: do})
}

func (m *planner) take(slot string, i int, how string) {
	m.bind[slot], m.taken[i], m.how[slot] = i, slot, how
}

func (m *planner) find(name string) int {
	return slices.IndexFunc(m.disks, func(d inventory.Disk) bool { return d.Called(name) })
}

// owned is the class under which this appliance put something on the disk, "" when it did not.
// A disk under several names that was ever persistent is persistent. What was recorded of its port alone counts
// where nothing else does, and only as persistent: it makes nobody's disk ours to erase.
func (m *planner) owned(d *inventory.Disk) string {
	class, port := "", ""
	for name, c := range m.in.Host.OwnedDisks {
		switch {
		case !d.Called(name):
		case inventory.ByPath(name):
			if c == inventory.ClassPersistent {
				port = c
			}
		case class == "" || c == inventory.ClassPersistent:
			class = c
		}
	}
	return cmp.Or(class, port)
}

// stranger reports whether the disk would count as a slot's persistent one by its port alone, and nothing on it says
// so too: what another slot or nobody labelled may be anybody's.
func (m *planner) stranger(d *inventory.Disk, slot string) bool {
	for name := range m.in.Host.OwnedDisks {
		if !inventory.ByPath(name) && d.Called(name) {
			return false
		}
	}
	return !d.Blank() && !slices.ContainsFunc(d.Partitions, func(p inventory.Partition) bool { return strings.HasPrefix(p.Label, "disk-"+slot+"-") })
}

// duplicates marks the disks whose serial or WWN another one has too: the same disk by two paths
// (multipath), or enclosures that all say the same. Nothing can tell them apart just before a write.
// NVMe namespaces share their controller's serial but have a WWN of their own: those are different disks.
// A disk without serial and WWN that has another one's partitions is that one by a second path, or its copy.
func duplicates(disks []inventory.Disk) []bool {
	out := make([]bool, len(disks))
	for i := range disks {
		for j := range disks[:i] {
			a, b := &disks[i], &disks[j]
			told := a.WWN != "" && b.WWN != "" && a.WWN != b.WWN
			if a.Serial != "" && a.Serial == b.Serial && !told || a.WWN != "" && a.WWN == b.WWN || a.ID != "" && a.ID == b.ID {
				out[i], out[j] = true, true
			}
			if twin := samePartitions(a, b) || a.Path != "" && a.Path == b.Path; twin {
				out[i], out[j] = out[i] || anonymous(a), out[j] || anonymous(b)
			}
		}
	}
	return out
}

// anonymous reports whether nothing about the disk itself tells it from others.
func anonymous(d *inventory.Disk) bool { return d.Serial == "" && d.WWN == "" }

// samePartitions reports whether both are of one size and share a GPT partition's unique id.
func samePartitions(a, b *inventory.Disk) bool {
	return a.SizeBytes == b.SizeBytes && slices.ContainsFunc(a.Partitions, func(p inventory.Partition) bool {
		return len(p.UUID) == 36 && slices.ContainsFunc(b.Partitions, func(q inventory.Partition) bool { return q.UUID == p.UUID })
	})
}

// identify hashes what a person must have looked at. Fixed-length lower-case hex: it goes into file names.
func identify(p *Plan, role inventory.Role) string {
	type slot struct {
		Slot, Class, Disk, Serial, WWN, Owned string
		Optional                              bool
		Size                                  uint64
		Contents                              []string
		Model                                 string `json:",omitempty"` // where only the port is known beside it
	}
	var slots []slot
	for _, b := range p.Slots {
		if b.Owned == b.Class {
			b.Contents = nil // ours already: what exactly is on it decides nothing, and an installed host's facts are old
		}
		if !inventory.ByPath(b.Disk) {
			b.Model = ""
		}
		slots = append(slots, slot{Slot: b.Slot, Model: b.Model, Class: b.Class, Disk: b.Disk, Serial: b.Serial, WWN: b.WWN, Owned: b.Owned,
			Optional: b.Optional, Size: b.SizeBytes, Contents: b.Contents})
	}
	raw, err := json.Marshal(struct {
		V      int
		Host   inventory.HostID
		Role   string
		System string
		Layout map[string]inventory.Slot // JSON sorts its keys
		Slots  []slot
	}{1, p.HostID, p.Role, role.System, role.Disks, slots})
	if err != nil { // strings and numbers always marshal
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// contents lists what is on a disk, canonically: its own signatures, then its partitions.
func contents(d *inventory.Disk) []string {
	out := []string{}
	for _, s := range d.Signatures {
		if s != "PMBR" { // the protective half of a GPT; tools differ in whether they list it
			out = append(out, s)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	parts := slices.Clone(d.Partitions)
	slices.SortFunc(parts, func(a, b inventory.Partition) int { return a.Number - b.Number })
	for _, q := range parts {
		out = append(out, fmt.Sprintf("%d: %d bytes, type %s, uuid %s, label %q, holds %s %q",
			q.Number, q.SizeBytes, q.Type, q.UUID, q.Label, q.FS, q.FSLabel))
	}
	return out
}
