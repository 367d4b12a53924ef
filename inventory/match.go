package inventory

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Match describes hosts; a zero field asks for nothing, text fields are globs (case ignored), a Match
// with no field set matches nothing.
type Match struct {
	Vendor         string `json:"vendor,omitempty"`
	Product        string `json:"product,omitempty"`
	Serial         string `json:"serial,omitempty"`
	MAC            string `json:"mac,omitempty"` // glob over the MACs, or the first bytes of one; '-' passes for ':'
	Arch           string `json:"arch,omitempty"`
	MinMemoryBytes uint64 `json:"minMemoryBytes,omitempty"`
	MaxMemoryBytes uint64 `json:"maxMemoryBytes,omitempty"`
	MinDisks       int    `json:"minDisks,omitempty"` // disks that an install could use: not the stick that stage-0 runs from
	MaxDisks       int    `json:"maxDisks,omitempty"`
	DiskType       string `json:"diskType,omitempty"` // at least one disk of that type and size
	MinDiskBytes   uint64 `json:"minDiskBytes,omitempty"`
	MaxDiskBytes   uint64 `json:"maxDiskBytes,omitempty"`
}

// Check reports all that makes no sense in a rule: such a one would match nothing, or not what its writer means.
func (m Match) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("autoInstall.match"+format, a...)) }
	if m == (Match{}) {
		bad(" is empty: it would match nothing; say which machines are meant")
	}
	for _, f := range []struct{ name, glob string }{{"vendor", m.Vendor}, {"product", m.Product}, {"serial", m.Serial}, {"mac", m.MAC}, {"arch", m.Arch}} {
		if _, err := path.Match(plainGlob(f.glob), ""); err != nil {
			bad(".%s %q is no pattern: * and ? stand for any text and one character, [a-z] for a class", f.name, cut(f.glob))
		}
	}
	if m.MinDisks < 0 || m.MaxDisks < 0 {
		bad(": a number of disks below 0")
	}
	for _, r := range []struct {
		name     string
		min, max uint64
	}{{"MemoryBytes", m.MinMemoryBytes, m.MaxMemoryBytes}, {"Disks", uint64(max(m.MinDisks, 0)), uint64(max(m.MaxDisks, 0))}, {"DiskBytes", m.MinDiskBytes, m.MaxDiskBytes}} {
		if r.max != 0 && r.min > r.max {
			bad(": min%s is %d and max%s %d: nothing is between them", r.name, r.min, r.name, r.max)
		}
	}
	if !slices.Contains([]string{"", "ssd", "hdd"}, m.DiskType) {
		bad(".diskType %q: ssd or hdd", cut(m.DiskType))
	}
	return errors.Join(errs...)
}

// Matches reports whether the host, by its reported facts, is one the rule means.
func (m Match) Matches(h *Host) bool {
	f := h.Facts
	if m == (Match{}) || f == nil {
		return false
	}
	disks := slices.DeleteFunc(slices.Clone(f.Disks), func(d Disk) bool { return d.Boot })
	return Glob(m.Vendor, f.Vendor) && Glob(m.Product, f.Product) && Glob(m.Serial, f.Serial) && Glob(m.Arch, f.Arch) &&
		within(f.MemoryBytes, m.MinMemoryBytes, m.MaxMemoryBytes) && within(uint64(len(disks)), uint64(max(m.MinDisks, 0)), uint64(max(m.MaxDisks, 0))) &&
		(m.MAC == "" || slices.ContainsFunc(h.MACs, func(mac MAC) bool { return macGlob(m.MAC, mac) })) &&
		(m.DiskType == "" && m.MinDiskBytes == 0 && m.MaxDiskBytes == 0 || slices.ContainsFunc(disks, func(d Disk) bool {
			return d.TypeIs(m.DiskType) && within(d.SizeBytes, m.MinDiskBytes, m.MaxDiskBytes)
		}))
}

// within reports whether n is in a range; a most of 0 is none.
func within(n, least, most uint64) bool { return n >= least && (most == 0 || n <= most) }

// Matching lists the roles whose autoInstall rule means the host, in order of name.
func Matching(h *Host, roles map[string]Role) (names []string) {
	for _, n := range slices.Sorted(maps.Keys(roles)) {
		if a := roles[n].AutoInstall; a != nil && a.Match.Matches(h) {
			names = append(names, n)
		}
	}
	return names
}

// NoRule is the sentence that says why no rule may give the host a role, "" when one may: never to one that is or
// was installed, that a person holds back or must look at, or that has a role already.
func (h *Host) NoRule() string {
	switch {
	case h.EverFlipped:
		return "It is installed: no rule writes to it again."
	case h.Role != "":
		return "It has role " + h.Role + " already."
	case h.Held:
		return "Somebody cancelled its job; a person must assign again."
	case h.Attention != "":
		return "It waits for a person's approval."
	case h.State != StateReady:
		return "It is " + string(h.State) + "; rules look at machines that need a role."
	}
	return ""
}

// macGlob reports whether a rule means the MAC: by a glob, or by its first bytes ("52:54:00").
func macGlob(pattern string, m MAC) bool {
	if !strings.ContainsAny(pattern, `*?[\`) {
		pattern = strings.TrimSuffix(strings.ReplaceAll(pattern, "-", ":"), ":")
		if len(pattern)%3 == 2 && len(pattern) < len("52:54:00:00:00:00") { // whole bytes
			pattern += ":*"
		}
	} else if !strings.Contains(pattern, "[") {
		pattern = strings.ReplaceAll(pattern, "-", ":")
	}
	return Glob(pattern, m.String())
}

// Glob reports whether s matches a pattern of a role or rule (path.Match; case is ignored and '/' is
// an ordinary character). "" matches everything, a malformed pattern nothing.
func Glob(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(plainGlob(pattern), plainGlob(s))
	return err == nil && ok
}

func plainGlob(s string) string { return strings.ToLower(strings.ReplaceAll(s, "/", "_")) }
