package inventory

import (
	"path"
	"strings"
	"time"
)

// Classes of a disk slot; see DESIGN section 2.
const (
	ClassEphemeral  = "ephemeral"  // formatted at every install
	ClassPersistent = "persistent" // formatted only when blank, otherwise mounted as it is
)

// Role is what a host becomes, as the hive declares it (`nix eval --json HIVE#hatchery.roles`).
type Role struct {
	Name        string          `json:"name,omitempty"` // the attribute's name
	Description string          `json:"description"`
	System      string          `json:"system"` // "x86_64-linux", "aarch64-linux"
	Disks       map[string]Slot `json:"disks"`
	K3s         *K3s            `json:"k3s,omitempty"`
	AutoInstall *AutoInstall    `json:"autoInstall,omitempty"`
	// KernelArgs are added to stage-0's command line for hosts of this role.
	KernelArgs string `json:"kernelArgs,omitempty"`
}

// Slot is a place in a role's layout that one disk fills.
type Slot struct {
	Class    string `json:"class"` // ClassEphemeral, ClassPersistent
	Select   Select `json:"select"`
	Optional bool   `json:"optional,omitempty"` // the role works without it
}

// Select says which disk a slot wants; zero fields ask for nothing.
type Select struct {
	Type      string `json:"type,omitempty"` // "ssd", "hdd"; a "virtual" disk is either
	Transport string `json:"transport,omitempty"`
	Model     string `json:"model,omitempty"`  // glob
	Serial    string `json:"serial,omitempty"` // glob
	MinBytes  uint64 `json:"minBytes,omitempty"`
	MaxBytes  uint64 `json:"maxBytes,omitempty"`
	Order     string `json:"order,omitempty"` // "smallest" (default), "largest": which of several
}

// K3s is a role's part in a cluster.
type K3s struct {
	Role    string `json:"role"` // "server", "agent"
	Cluster string `json:"cluster"`
}

// AutoInstall is a rule that a person wrote into the hive: hosts that match get the role by themselves.
type AutoInstall struct {
	Match Match `json:"match"`
}

// Match describes hosts; a zero field asks for nothing, text fields are globs (case ignored), a Match
// with no field set matches nothing.
type Match struct {
	Vendor         string `json:"vendor,omitempty"`
	Product        string `json:"product,omitempty"`
	Serial         string `json:"serial,omitempty"`
	MAC            string `json:"mac,omitempty"` // glob over the MACs, or the first bytes of one; '-' passes for ':'
	Arch           string `json:"arch,omitempty"`
	MinMemoryBytes uint64 `json:"minMemoryBytes,omitempty"`
	MinDisks       int    `json:"minDisks,omitempty"`
	DiskType       string `json:"diskType,omitempty"` // at least one disk of that type
	MinDiskBytes   uint64 `json:"minDiskBytes,omitempty"`
}

// Matches reports whether the host, by its reported facts, is one the rule means.
func (m Match) Matches(h *Host) bool {
	f := h.Facts
	if m == (Match{}) || f == nil {
		return false
	}
	if !Glob(m.Vendor, f.Vendor) || !Glob(m.Product, f.Product) || !Glob(m.Serial, f.Serial) ||
		!Glob(m.Arch, f.Arch) || f.MemoryBytes < m.MinMemoryBytes || len(f.Disks) < m.MinDisks {
		return false
	}
	if m.MAC != "" {
		hit := false
		for _, mac := range h.MACs {
			hit = hit || macGlob(m.MAC, mac)
		}
		if !hit {
			return false
		}
	}
	if m.DiskType == "" && m.MinDiskBytes == 0 {
		return true
	}
	for _, d := range f.Disks {
		if (m.DiskType == "" || d.TypeIs(m.DiskType)) && d.SizeBytes >= m.MinDiskBytes {
			return true
		}
	}
	return false
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

// TypeIs reports whether the disk passes for the wanted type; a virtual one tells nothing and passes for any.
func (d *Disk) TypeIs(want string) bool {
	return want == "" || d.Type == want || d.Type == "virtual"
}

// Glob reports whether s matches a pattern of a role or rule (path.Match; case is ignored and '/' is
// an ordinary character). "" matches everything, a malformed pattern nothing.
func Glob(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "/", "_")) }
	ok, err := path.Match(plain(pattern), plain(s))
	return err == nil && ok
}

// Hive is what the appliance last read of the hive: its roles and how that went.
type Hive struct {
	Revision string          `json:"revision"` // git commit the roles are of
	Roles    map[string]Role `json:"roles"`
	ReadAt   time.Time       `json:"read_at"`
	// Error is why the newest revision could not be read ("" = it could); Roles are then the last good ones.
	Error string `json:"error,omitempty"`
	// Trace is the end of what the evaluation said about Error, lines of plain text; at most MaxTrace bytes.
	Trace string `json:"trace,omitempty"`
}

// MaxTrace bounds [Hive.Trace].
const MaxTrace = 16 << 10

// Hive reads what is known of the hive; the zero value when it was never read.
func (tx *Tx) Hive() (Hive, error) {
	var h Hive
	_, err := tx.GetJSON(BucketMeta, "hive", &h)
	for n, r := range h.Roles {
		r.Name = n
		h.Roles[n] = r
	}
	return h, err
}

// PutHive writes what was read of the hive.
func (tx *Tx) PutHive(h Hive) error { return tx.PutJSON(BucketMeta, "hive", h) }
