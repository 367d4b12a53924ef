package inventory

import (
	"net/netip"
	"slices"
	"time"
)

// HostID is a host's stable id: it never changes, whatever MAC the machine boots with.
type HostID string

// State is where a host is on its journey; see DESIGN section 1.
type State string

// The states, in the order of the journey. Only [Next] moves a host between them.
const (
	StateExpected   State = "expected"   // known before it was ever heard
	StateSeen       State = "seen"       // asked DHCP for a boot file
	StateBooting    State = "booting"    // fetched its script for stage-0
	StateReady      State = "ready"      // stage-0 checked in; needs a role
	StateQueued     State = "queued"     // has a job that waits
	StateInstalling State = "installing" // its job runs
	StateInstalled  State = "installed"  // the new system was verified
	StateFailed     State = "failed"     // a step failed: step, cause, what to do
	StateIgnored    State = "ignored"    // a person's choice; its netboot is met with silence
)

// States lists every state in the order of the journey.
func States() []State {
	return []State{StateExpected, StateSeen, StateBooting, StateReady, StateQueued,
		StateInstalling, StateInstalled, StateFailed, StateIgnored}
}

// Host is one machine the appliance looks after. Values are copied freely;
// slices and maps inside are not written to after they were stored.
type Host struct {
	ID   HostID `json:"id"`
	MAC  MAC    `json:"mac"`  // the one it boots with; zero when known only by UUID or serial
	MACs []MAC  `json:"macs"` // all, MAC first
	// UUID (SMBIOS, lower case) and Serial identify a machine whose NIC changes; either may be "".
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
	// Announced says that a person made the host known before it was heard; UUID and Serial are that person's
	// word until the first check-in.
	Announced bool `json:"announced,omitempty"`

	Name  string `json:"name,omitempty"` // a valid host name, unique, or ""
	Role  string `json:"role,omitempty"` // of the hive, or ""
	State State  `json:"state"`

	// IgnoredBy and IgnoredAt say who had it ignored, and when; zero when it is not, or when an earlier release that did
	// not record them was asked to.
	IgnoredBy string    `json:"ignored_by,omitempty"`
	IgnoredAt time.Time `json:"ignored_at,omitzero"`

	// Step is what it is doing inside State ("copying system"); StepNo of StepOf, 0 of 0 outside a job.
	Step   string `json:"step,omitempty"`
	StepNo int    `json:"step_no,omitempty"`
	StepOf int    `json:"step_of,omitempty"`
	// BlockedOn is the sentence that says what a queued host waits for.
	BlockedOn string `json:"blocked_on,omitempty"`
	// Error is the cause of a failure in one sentence, Hint what to do next.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`

	// JobID is the open or last job, "" when there never was one.
	JobID JobID `json:"job_id,omitempty"`
	// Upkeep is the kind of the open job when that is one which leaves State as it is; "" = none.
	Upkeep JobKind `json:"upkeep,omitempty"`
	// Flipped says that the current job's netboot answer was turned to the host's own disk.
	Flipped bool `json:"flipped,omitempty"`
	// EverFlipped says that any job ever flipped it: such a host counts as installed
	// whatever came after, and only an explicit reinstall writes to it again.
	EverFlipped bool `json:"ever_flipped,omitempty"`
	// Wrote says that the current job started to write to a disk.
	Wrote bool `json:"wrote,omitempty"`

	// Attention is the sentence that stops automation until a person approves ("" = none):
	// a second key for a live host, facts that disagree, a relayed check-in.
	Attention string `json:"attention,omitempty"`
	// Approved says that a person approved the last Attention for the bound key.
	Approved bool `json:"approved,omitempty"`

	// StageZeroUntil is the end of a one-shot request for stage-0 (rescue); zero = none.
	StageZeroUntil time.Time `json:"stage0_until,omitzero"`
	// Fetches counts script fetches since the last check-in (the loop guard).
	Fetches int `json:"fetches,omitempty"`
	// DiskBoots counts how often in a row the installed host was sent to its own disk and soon came back for
	// another script; DiskBootAt is when it last asked.
	DiskBoots  int       `json:"disk_boots,omitempty"`
	DiskBootAt time.Time `json:"disk_boot_at,omitzero"`

	IP       netip.Addr `json:"ip,omitzero"`
	Arch     string     `json:"arch,omitempty"`     // "x86_64", "aarch64" or ""
	Firmware string     `json:"firmware,omitempty"` // "bios", "uefi" or ""
	// Relayed says that its last DHCP came through a relay: its address cannot be checked by ARP.
	Relayed bool `json:"relayed,omitempty"`

	// Facts is what stage-0's agent reported last; nil until the first check-in.
	Facts *Facts `json:"facts,omitempty"`
	// HostKey is the SSH host key (authorized_keys form) that stage-0 showed at the last check-in, pinned
	// for BootID's boot.
	HostKey string `json:"host_key,omitempty"`
	BootID  string `json:"boot_id,omitempty"`
	// ReportedAt is when stage-0's agent last checked in or reported with HostKey.
	ReportedAt time.Time `json:"reported_at,omitzero"`
	// Held says that a person cancelled its job: nothing automatic makes another until somebody assigns again.
	Held bool `json:"held,omitempty"`

	// InstalledKey is the public SSH host key (authorized_keys form) that is planted at every install.
	InstalledKey string `json:"installed_key,omitempty"`
	// InstalledSystem is the store path that was verified last.
	InstalledSystem string    `json:"installed_system,omitempty"`
	InstalledAt     time.Time `json:"installed_at,omitzero"`
	// InstalledRole and InstalledCommit are the role and the hive's commit that InstalledSystem was built of; "" =
	// an earlier release did not record them.
	InstalledRole   string `json:"installed_role,omitempty"`
	InstalledCommit string `json:"installed_commit,omitempty"`
	// Behind is how many of the hive's commits since InstalledCommit concern this host, as last counted; -1 = the
	// hive does not have that commit any more.
	Behind int `json:"behind,omitempty"`

	// Address is the fixed address of the installed system; nil = whatever DHCP gives it.
	Address *Address `json:"address,omitempty"`

	// Pins binds slots to disks by id, by a person's wish.
	Pins map[string]string `json:"pins,omitempty"`
	// Bound says which disk filled a slot at the last install that wrote: slot → disk id. Recorded with OwnedDisks.
	Bound map[string]string `json:"bound,omitempty"`
	// OwnedDisks says what this appliance put on a disk: disk id → class ("ephemeral", "persistent").
	// Recorded before the first write.
	OwnedDisks map[string]string `json:"owned_disks,omitempty"`
	// Claimed says what OwnedDisks said before of each disk with data on it that the present job made an ephemeral one of ours. A job
	// that is cancelled takes that back with it: the data may still be there, and a person agreed to its loss for that job alone.
	Claimed    map[string]string `json:"claimed,omitempty"`
	KernelArgs string            `json:"kernel_args,omitempty"`
	// Notes is what people want to remember of the machine, several lines; nothing reads it.
	Notes string `json:"notes,omitempty"`

	FirstSeen time.Time `json:"first_seen,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	// Revision counts stored versions; PutHost refuses one that is not the stored one.
	Revision uint64 `json:"revision"`
}

// OnlineFor is how long after its last contact a host counts as online.
const OnlineFor = 45 * time.Second

// Online reports whether the host was heard in the last [OnlineFor].
func (h *Host) Online(now time.Time) bool {
	return !h.LastSeen.IsZero() && now.Sub(h.LastSeen) < OnlineFor
}

// Label is what people know the host by: its name, else its MAC, else its UUID, serial or id.
func (h *Host) Label() string {
	switch {
	case h.Name != "":
		return h.Name
	case !h.MAC.IsZero():
		return h.MAC.String()
	case h.UUID != "":
		return h.UUID
	case h.Serial != "":
		return h.Serial
	}
	return string(h.ID)
}

// HasMAC reports whether mac is one of the host's.
func (h *Host) HasMAC(mac MAC) bool { return slices.Contains(h.MACs, mac) }

// addMAC adds mac to the host's; boot makes it the one it boots with.
func (h *Host) addMAC(mac MAC, boot bool) {
	if mac.IsZero() {
		return
	}
	if boot || h.MAC.IsZero() {
		h.MAC = mac
		rest := slices.DeleteFunc(slices.Clone(h.MACs), func(m MAC) bool { return m == mac })
		h.MACs = append([]MAC{mac}, rest...)
		return
	}
	if !h.HasMAC(mac) {
		h.MACs = append(slices.Clone(h.MACs), mac)
	}
}

// Limits of what a machine may report; more is cut or refused by [Facts.Check].
const (
	MaxDisks      = 128
	MaxNICs       = 64
	MaxSignatures = 64
	MaxPartitions = 128
	MaxFactLen    = 256 // characters of one reported string
)

// Facts is a machine's hardware as stage-0's agent reported it. All strings are
// untrusted text: at most [MaxFactLen] printable characters after [Facts.Check].
type Facts struct {
	Arch     string `json:"arch"`     // "x86_64", "aarch64"
	Firmware string `json:"firmware"` // "bios", "uefi"
	UUID     string `json:"uuid,omitempty"`
	Serial   string `json:"serial,omitempty"`
	Vendor   string `json:"vendor,omitempty"`
	Product  string `json:"product,omitempty"`
	CPU      CPU    `json:"cpu"`
	// MemoryBytes is the machine's RAM as the kernel counts it.
	MemoryBytes uint64 `json:"memory_bytes"`
	Disks       []Disk `json:"disks"`
	NICs        []NIC  `json:"nics"`
	// Kernel is the running stage-0's release, Stage0 its image version.
	Kernel string `json:"kernel,omitempty"`
	Stage0 string `json:"stage0,omitempty"`
}

// CPU is a machine's processors taken together.
type CPU struct {
	Model   string `json:"model,omitempty"`
	Sockets int    `json:"sockets,omitempty"`
	Cores   int    `json:"cores,omitempty"`   // physical, all sockets
	Threads int    `json:"threads,omitempty"` // logical, all sockets
}

// Disk is one whole disk. ID is the stable name a plan uses: the base name of a
// link in /dev/disk/by-id; "" when the machine has none for it.
type Disk struct {
	ID   string   `json:"id"`
	ByID []string `json:"by_id,omitempty"` // all its by-id names, sorted
	// Path is the base name of a link in /dev/disk/by-path: the port that it hangs at; "" = not told.
	Path string `json:"path,omitempty"`
	Name string `json:"name"` // the kernel's, for people only: never in a plan
	// Serial and WWN identify the disk itself; either may be "".
	Serial    string `json:"serial,omitempty"`
	WWN       string `json:"wwn,omitempty"`
	Model     string `json:"model,omitempty"`
	SizeBytes uint64 `json:"size_bytes"`
	// Type is "ssd" (does not rotate, NVMe included), "hdd", or "virtual" (virtio tells nothing of rotation).
	Type      string `json:"type"`
	Transport string `json:"transport,omitempty"` // "nvme", "sata", "scsi", "usb", "virtio", "mmc", …
	Removable bool   `json:"removable,omitempty"`
	ReadOnly  bool   `json:"read_only,omitempty"`
	// Boot says that stage-0 itself runs from it (a USB stick).
	Boot bool `json:"boot,omitempty"`
	// Signatures are the types of what is on the disk itself: "gpt", "dos", "ext4", "LVM2_member", …; empty = blank.
	Signatures []string `json:"signatures"`
	// Partitions in order of their number.
	Partitions []Partition `json:"partitions,omitempty"`
	// Bootable says that firmware could start something from it: an ESP, an active or BIOS-boot partition, boot code in sector 0.
	Bootable bool `json:"bootable,omitempty"`
}

// Blank reports whether nothing is known to be on the disk.
func (d *Disk) Blank() bool { return len(d.Signatures) == 0 && len(d.Partitions) == 0 }

// Partition is one partition of a disk and what is in it.
type Partition struct {
	Number    int    `json:"number"`
	SizeBytes uint64 `json:"size_bytes"`
	Label     string `json:"label,omitempty"`    // the partition's (GPT name)
	Type      string `json:"type,omitempty"`     // partition type GUID or byte, lower case
	FS        string `json:"fs,omitempty"`       // blkid TYPE: "ext4", "vfat", …; "" = nothing known
	FSLabel   string `json:"fs_label,omitempty"` // of the file system
	UUID      string `json:"uuid,omitempty"`     // PARTUUID, lower case
}

// NIC is one physical network interface.
type NIC struct {
	Name      string   `json:"name"`
	MAC       MAC      `json:"mac"`
	Driver    string   `json:"driver,omitempty"`
	SpeedMbps int      `json:"speed_mbps,omitempty"` // 0 = unknown
	Up        bool     `json:"up,omitempty"`
	Addrs     []string `json:"addrs,omitempty"` // prefixes in text form
}

// Bootable reports whether the inventory shows a disk that firmware could start.
func (f *Facts) Bootable() bool {
	return f != nil && slices.ContainsFunc(f.Disks, func(d Disk) bool { return d.Bootable && !d.Boot })
}
