package inventory

import "time"

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
	// BootOrder is what the firmware of its hosts tries first once they are installed: "" leaves it alone, BootOrderDisk
	// puts the disk first, so that they start without the appliance (UEFI only).
	BootOrder string `json:"bootOrder,omitempty"`
}

// BootOrderDisk is the value of Role.BootOrder that puts the disk first.
const BootOrderDisk = "disk"

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

// TypeIs reports whether the disk passes for the wanted type; a virtual one tells nothing and passes for any.
func (d *Disk) TypeIs(want string) bool {
	return want == "" || d.Type == want || d.Type == "virtual"
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
