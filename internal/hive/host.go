package hive

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// SchemaVersion is the schema that host.json and appliance.json are written in.
const SchemaVersion = 1

// HostFile is hosts/NAME/host.json: all that the hive needs to know of one host. No secrets.
// The nix side reads it in nix/modules/host.nix and nix/modules/partitioning.nix.
type HostFile struct {
	Schema   int           `json:"schema"` // set by WriteHost
	Name     string        `json:"name"`
	MAC      inventory.MAC `json:"mac"`
	Role     string        `json:"role"`
	System   string        `json:"system"`   // the role's: "x86_64-linux", "aarch64-linux"
	Firmware string        `json:"firmware"` // "uefi" or "bios": which boot loader is installed
	// Address is nil for a host that has whatever address DHCP gives it.
	Address *Address `json:"address,omitempty"`
	// K3s is nil for a host outside any cluster.
	K3s *K3s `json:"k3s,omitempty"`
	// Plan is the disk plan that the install script is built for; nil for a host that is
	// only built, never installed (no hatcheryInstall then).
	Plan *Plan `json:"plan,omitempty"`
}

// Address is where a host is found.
type Address struct {
	IP      netip.Addr   `json:"ip"`
	Prefix  int          `json:"prefix,omitempty"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	DNS     []netip.Addr `json:"dns,omitempty"`
	// Static makes the installed system configure the address itself; otherwise it is a
	// reservation: DHCP hands it out, and the hive only tells the other hosts.
	Static bool `json:"static"`
}

// K3s is a host's part in its cluster, as the appliance decided it.
type K3s struct {
	Role    string `json:"role"` // "server", "agent"
	Cluster string `json:"cluster"`
	// Init makes this server the one that initialises the cluster; exactly then ServerURL is "".
	Init bool `json:"init"`
	// ServerURL is what the others join: "https://ADDRESS:6443".
	ServerURL string `json:"serverUrl,omitempty"`
}

// Plan is the confirmed disk plan in the form that the install script checks.
type Plan struct {
	ID    string              `json:"id"`
	Disks map[string]PlanDisk `json:"disks"` // slot → disk; slots left empty (optional ones) are absent
	// WipePersistent are the persistent slots whose wipe a person typed out.
	WipePersistent []string `json:"wipePersistent"`
}

// PlanDisk is the one disk that fills a slot, and what it must look like just before the first write.
type PlanDisk struct {
	Class string `json:"class"` // inventory.ClassEphemeral, inventory.ClassPersistent
	ID    string `json:"id"`    // inventory.Disk.StableName: in /dev/disk/by-id, or path:NAME in /dev/disk/by-path
	// Serial and WWN are compared when they are not "".
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	// SizeBytes and Model are compared too, where the disk is known by its port alone; else absent.
	SizeBytes uint64 `json:"sizeBytes,omitempty"`
	Model     string `json:"model,omitempty"`
	// Signatures are the types found on the whole disk (wipefs names without PMBR), empty = none.
	Signatures []string `json:"signatures"`
	// PartUUIDs are the PARTUUIDs of its GPT partitions, lower case; empty = none.
	PartUUIDs []string `json:"partUuids"`
	// Owned says that this appliance put the disk's content there in a slot of that class; it
	// only matters for layouts without a partition table, which carry no label of ours.
	Owned bool `json:"owned,omitempty"`
}

// PlanDiskOf takes from an inventory disk what the install script compares.
func PlanDiskOf(class string, d inventory.Disk) PlanDisk {
	p := PlanDisk{Class: class, ID: d.StableName(), Serial: d.Serial, WWN: d.WWN, Signatures: []string{}, PartUUIDs: []string{}}
	if inventory.ByPath(p.ID) {
		p.SizeBytes, p.Model = d.SizeBytes, d.Model
	}
	for _, s := range d.Signatures {
		if s != "PMBR" {
			p.Signatures = append(p.Signatures, s)
		}
	}
	for _, q := range d.Partitions {
		if u := strings.ToLower(q.UUID); guidRE.MatchString(u) {
			p.PartUUIDs = append(p.PartUUIDs, u)
		}
	}
	slices.Sort(p.Signatures)
	slices.Sort(p.PartUUIDs)
	p.Signatures, p.PartUUIDs = slices.Compact(p.Signatures), slices.Compact(p.PartUUIDs)
	return p
}

// ApplianceFile is appliance.json: what every host must know of the appliance.
type ApplianceFile struct {
	Schema int `json:"schema"` // set by WriteAppliance
	// SSHKeys are public keys in authorized_keys form that may log in as root on every host.
	SSHKeys []string `json:"sshKeys"`
	// URLs are where the appliance's pages are.
	URLs []string `json:"urls"`
	// Caches are Nix binary caches that every host uses beside the public one.
	Caches []Cache `json:"caches,omitempty"`
}

// Cache is a Nix binary cache: what it serves is believed when PublicKey signed it.
type Cache struct {
	URL       string `json:"url"`       // "http://10.0.0.2:5000"
	PublicKey string `json:"publicKey"` // "NAME:BASE64"
}

// Check accepts a cache that is safe to write. ErrInvalid.
func (c *Cache) Check() error {
	switch {
	case !urlRE.MatchString(c.URL):
		return fmt.Errorf("binary cache %q: want http://ADDRESS:PORT: %w", clip(c.URL), ErrInvalid)
	case !cacheKeyRE.MatchString(c.PublicKey):
		return fmt.Errorf("public key %q of a binary cache: want NAME:BASE64: %w", clip(c.PublicKey), ErrInvalid)
	}
	return nil
}

// ErrInvalid says that a value was refused before it was written or built.
var ErrInvalid = errors.New("invalid")

var (
	// plan ids and serials reach the script as data (shell-quoted by nix), still only sane text passes.
	planIDRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	wordRE   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	urlRE    = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?$`)
	sshKeyRE = regexp.MustCompile(`^(ssh|ecdsa|sk)[a-zA-Z0-9@.-]* [A-Za-z0-9+/=]{16,1000}( [A-Za-z0-9@._:+-]{0,128})?$`)
	// a name and an Ed25519 key, as nix-store --generate-binary-cache-key writes them
	cacheKeyRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}:[A-Za-z0-9+/]{43}=$`)
	// the script compares GPT's PARTUUIDs only: those of a DOS table are made up from the disk's id
	guidRE  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	systems = []string{"x86_64-linux", "aarch64-linux"}
)

// Check accepts a host file that is safe to write and build. ErrInvalid.
func (f *HostFile) Check() error {
	if err := f.check(); err != nil {
		return fmt.Errorf("host file of %q: %w (%w)", clip(f.Name), err, ErrInvalid)
	}
	return nil
}

func (f *HostFile) check() error {
	if f.Name == "" {
		return errors.New("it has no name")
	}
	if err := errors.Join(inventory.CheckName(f.Name), inventory.CheckRole(f.Role)); err != nil {
		return err
	}
	if f.Role == "" {
		return errors.New("it has no role")
	}
	if !slices.Contains(systems, f.System) {
		return fmt.Errorf("system %q: want one of %s", clip(f.System), strings.Join(systems, ", "))
	}
	if f.Firmware != "uefi" && f.Firmware != "bios" {
		return fmt.Errorf("firmware %q: want uefi or bios", clip(f.Firmware))
	}
	if err := f.Address.check(); err != nil {
		return err
	}
	if err := f.K3s.check(); err != nil {
		return err
	}
	return f.Plan.check()
}

func (a *Address) check() error {
	switch {
	case a == nil:
		return nil
	case !a.IP.IsValid() || a.IP.Zone() != "":
		return errors.New("its address is not one")
	case a.Static && (a.Prefix < 1 || a.Prefix > a.IP.BitLen()):
		return fmt.Errorf("prefix length %d of a static address: want 1 to %d", a.Prefix, a.IP.BitLen())
	}
	return nil
}

func (k *K3s) check() error {
	switch {
	case k == nil:
		return nil
	case k.Role != "server" && k.Role != "agent":
		return fmt.Errorf("k3s role %q: want server or agent", clip(k.Role))
	case !wordRE.MatchString(k.Cluster):
		return fmt.Errorf("cluster %q: want a plain word", clip(k.Cluster))
	case k.Init && k.Role != "server":
		return errors.New("only a k3s server initialises a cluster")
	case k.Init != (k.ServerURL == ""):
		return errors.New("a k3s host either initialises the cluster or has the URL of a server to join")
	case !k.Init && !urlRE.MatchString(k.ServerURL):
		return fmt.Errorf("k3s server URL %q: want https://ADDRESS:6443", clip(k.ServerURL))
	}
	return nil
}

func (p *Plan) check() error {
	if p == nil {
		return nil
	}
	if !planIDRE.MatchString(p.ID) {
		return fmt.Errorf("plan id %q: want letters, digits, '.', '_' and '-'", clip(p.ID))
	}
	if len(p.Disks) == 0 {
		return errors.New("its plan names no disk")
	}
	seen := map[string]string{}
	for slot, d := range p.Disks {
		if err := d.check(slot); err != nil {
			return err
		}
		if other, dup := seen[d.ID]; dup {
			return fmt.Errorf("slots %s and %s are both on disk %s", min(other, slot), max(other, slot), d.ID)
		}
		seen[d.ID] = slot
	}
	for _, s := range p.WipePersistent {
		if d, ok := p.Disks[s]; !ok || d.Class != inventory.ClassPersistent {
			return fmt.Errorf("slot %q is to be wiped but is no persistent slot of the plan", clip(s))
		}
	}
	return nil
}

func (d *PlanDisk) check(slot string) error {
	if err := CheckSlot(slot); err != nil {
		return err
	}
	if d.Class != inventory.ClassEphemeral && d.Class != inventory.ClassPersistent {
		return fmt.Errorf("slot %s has class %q: want ephemeral or persistent", slot, clip(d.Class))
	}
	if err := inventory.CheckDiskName(d.ID); err != nil {
		return fmt.Errorf("slot %s: %w", slot, err)
	}
	for _, s := range append([]string{d.Serial, d.WWN, d.Model}, append(slices.Clone(d.Signatures), d.PartUUIDs...)...) {
		if len(s) > inventory.MaxFactLen || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("slot %s: %q is not plain text", slot, clip(s))
		}
	}
	return nil
}

// CheckSlot accepts a slot's name: it is also the name of the disk in the role's layout and part of
// partition labels (36 characters in all). ErrInvalid.
func CheckSlot(s string) error {
	ok := s != "" && len(s) <= 16
	for i, c := range s {
		ok = ok && (c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-'))
	}
	if !ok {
		return fmt.Errorf("slot %q: a small letter, then small letters, digits and '-', at most 16: %w", clip(s), ErrInvalid)
	}
	return nil
}

// Check accepts an appliance file that is safe to write. ErrInvalid.
func (f *ApplianceFile) Check() error {
	for _, k := range f.SSHKeys {
		if !sshKeyRE.MatchString(k) {
			return fmt.Errorf("appliance file: SSH key %q is not in authorized_keys form: %w", clip(k), ErrInvalid)
		}
	}
	for _, u := range f.URLs {
		if !urlRE.MatchString(u) {
			return fmt.Errorf("appliance file: URL %q: %w", clip(u), ErrInvalid)
		}
	}
	for _, c := range f.Caches {
		if err := c.Check(); err != nil {
			return fmt.Errorf("appliance file: %w", err)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
