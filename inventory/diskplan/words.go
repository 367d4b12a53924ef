package diskplan

import (
	"fmt"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// maxHolds bounds how many parts of a disk are spelt out for a person.
const maxHolds = 6

// holds says in words what is on a disk.
func (m *planner) holds(d *inventory.Disk) string {
	if d.Blank() {
		return "nothing"
	}
	var parts []string
	for _, p := range d.Partitions {
		if len(parts) == maxHolds {
			parts = append(parts, fmt.Sprintf("and %d more", len(d.Partitions)-maxHolds))
			break
		}
		s := size(p.SizeBytes) + " " + p.FS
		if p.FS == "" {
			s = size(p.SizeBytes) + " of unknown content"
		}
		if l := p.FSLabel + p.Label; l != "" {
			s += fmt.Sprintf(" %q", firstOf(p.FSLabel, p.Label))
		}
		parts = append(parts, s)
	}
	whole := strings.Join(contents(&inventory.Disk{Signatures: d.Signatures}), ", ")
	switch {
	case len(parts) == 0 && whole == "":
		return "a protective boot record"
	case len(parts) == 0:
		return whole
	case whole == "":
		return "partitions: " + strings.Join(parts, "; ")
	}
	return whole + " with " + strings.Join(parts, "; ")
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// label is what a person knows a disk by. Never the kernel's name: it changes.
func label(d *inventory.Disk) string {
	s := firstOf(d.Model, firstOf(d.Transport, "disk")) + " " + size(d.SizeBytes)
	if d.Serial != "" {
		s += " serial " + d.Serial
	}
	switch {
	case d.ID != "":
		s += " (" + d.ID + ")"
	case d.Path != "":
		s += " (port " + d.Path + ")"
	}
	return s
}

// describe says in words what a slot selects.
func describe(s inventory.Select) string {
	out := "a disk"
	if s.Type != "" {
		out = "a disk of type " + s.Type
	}
	if s.Transport != "" {
		out += " on " + s.Transport
	}
	if s.Model != "" {
		out += " of model " + s.Model
	}
	if s.Serial != "" {
		out += " with serial " + s.Serial
	}
	if s.MinBytes > 0 {
		out += " of at least " + size(s.MinBytes)
	}
	if s.MaxBytes > 0 {
		out += " of at most " + size(s.MaxBytes)
	}
	return out
}

// size is a number of bytes as disks are sold: powers of 1000.
func size(n uint64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB"}
	f, i := float64(n), 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if f < 10 && i > 0 && f != float64(int(f)) {
		return fmt.Sprintf("%.1f %s", f, units[i])
	}
	return fmt.Sprintf("%.0f %s", f, units[i])
}
