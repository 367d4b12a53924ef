package web

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Host is a host as programs see it; the fields' names are the contract of DESIGN section 4.
type Host struct {
	ID          inventory.HostID  `json:"id"`
	MAC         string            `json:"mac" doc:"the one it boots with; empty when known only by UUID or serial"`
	MACs        []string          `json:"macs" nullable:"false"`
	Name        string            `json:"name"`
	Role        string            `json:"role"`
	State       inventory.State   `json:"state" enum:"expected,seen,booting,ready,queued,installing,installed,failed,ignored"`
	Loading     *Loading          `json:"loading,omitempty" doc:"how far it is with loading stage-0; left out while it does not"`
	Step        string            `json:"step"`
	StepNo      int               `json:"step_no"`
	StepOf      int               `json:"step_of"`
	BlockedOn   string            `json:"blocked_on" doc:"what a queued host waits for"`
	Error       string            `json:"error"`
	Hint        string            `json:"hint" doc:"what to do about the error"`
	Attention   string            `json:"attention" doc:"what stops automation until a person approves"`
	JobID       inventory.JobID   `json:"job_id"`
	IP          string            `json:"ip"`
	Arch        string            `json:"arch"`
	Firmware    string            `json:"firmware"`
	UUID        string            `json:"uuid"`
	Serial      string            `json:"serial"`
	Vendor      string            `json:"vendor"`
	Product     string            `json:"product"`
	CPU         inventory.CPU     `json:"cpu"`
	MemoryBytes uint64            `json:"memory_bytes"`
	Disks       []inventory.Disk  `json:"disks" nullable:"false"`
	NICs        []NIC             `json:"nics" nullable:"false"`
	Pins        map[string]string `json:"pins"`
	KernelArgs  string            `json:"kernel_args"`
	Notes       string            `json:"notes" doc:"what people want to remember of it"`
	EverFlipped bool              `json:"ever_installed" doc:"only an explicit reinstall writes to it"`
	Wrote       bool              `json:"wrote" doc:"the current job started to write to a disk"`
	System      string            `json:"system" doc:"the store path that was verified last"`
	HostKey     string            `json:"host_key" doc:"the SSH host key planted at the install"`
	InstalledAt time.Time         `json:"installed_at,omitzero"`
	RoleRuns    string            `json:"installed_role" doc:"the role that its system was built of"`
	Commit      string            `json:"installed_commit" doc:"the hive's commit that its system was built of"`
	Behind      int               `json:"behind" doc:"commits since installed_commit that concern it; -1 = the hive does not have that commit any more"`
	Upkeep      inventory.JobKind `json:"upkeep" enum:",deploy,format" doc:"the open job that leaves its state as it is"`
	Address     *Address          `json:"address,omitempty" doc:"the fixed address that a person gave its installed system"`
	Stage0Until time.Time         `json:"stage0_until,omitzero"`
	IgnoredBy   string            `json:"ignored_by,omitempty" doc:"who had it ignored; absent when it is not, or when that was done with a release that did not record it"`
	IgnoredAt   time.Time         `json:"ignored_at,omitzero"`
	FirstSeen   *time.Time        `json:"first_seen" nullable:"true" doc:"null as long as it was never heard"`
	LastSeen    *time.Time        `json:"last_seen" nullable:"true" doc:"null as long as it was never heard"`
	Online      bool              `json:"online"`
	Revision    uint64            `json:"revision"`
}

// Loading is how far a host is with loading stage-0, as programs see it.
type Loading struct {
	Part  string `json:"part" enum:"kernel,image"`
	Bytes int64  `json:"bytes" doc:"of the part, those that the machine has confirmed"`
	Total int64  `json:"total" doc:"bytes of the part"`
	Try   int    `json:"try" doc:"1 = the first since it fetched its script; more when it began again because a download broke off"`
	Text  string `json:"text" doc:"the same for people"`
}

// loading is how far the machines are that load stage-0 now; the map is not to be written to.
func (s *Server) loading() map[inventory.HostID]inventory.Loading {
	if s.cfg.Boots == nil {
		return nil
	}
	now, _ := s.cfg.Boots.Loading()
	return now
}

// hostJSON is h as programs see it now.
func (s *Server) hostJSON(h *inventory.Host) Host {
	v := hostJSON(h, s.cfg.Now())
	if at, ok := s.loading()[h.ID]; ok {
		v.Loading = &Loading{at.Part, at.Bytes, at.Total, at.Try, at.String()}
	}
	return v
}

// NIC is a network interface as programs see it.
type NIC struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Driver    string   `json:"driver,omitempty"`
	SpeedMbps int      `json:"speed_mbps,omitempty"`
	Up        bool     `json:"up"`
	Addrs     []string `json:"addrs" nullable:"false"`
}

// Address is a fixed address as programs see it.
type Address struct {
	IP      string   `json:"ip" maxLength:"64" doc:"empty takes the address away"`
	Static  bool     `json:"static,omitempty" doc:"the system configures it itself; otherwise it is reserved in the network's DHCP server"`
	Prefix  int      `json:"prefix,omitempty" minimum:"0" maximum:"128" doc:"of a static one"`
	Gateway string   `json:"gateway,omitempty" maxLength:"64"`
	DNS     []string `json:"dns,omitempty" maxItems:"4"`
}

// addressJSON is a as programs see it; nil for none.
func addressJSON(a *inventory.Address) *Address {
	if a == nil {
		return nil
	}
	v := &Address{IP: a.IP.String(), Static: a.Static, Prefix: a.Prefix}
	if a.Gateway.IsValid() {
		v.Gateway = a.Gateway.String()
	}
	for _, d := range a.DNS {
		v.DNS = append(v.DNS, d.String())
	}
	return v
}

// parse reads what a program or person gave; nil in, nil out. ErrInvalid.
func (v *Address) parse() (*inventory.Address, error) {
	if v == nil {
		return nil, nil
	}
	a := &inventory.Address{Static: v.Static, Prefix: v.Prefix}
	read := func(text string) (netip.Addr, error) {
		if text == "" {
			return netip.Addr{}, nil
		}
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return ip, fmt.Errorf("%q is not an address: %w", clip(text, 64), inventory.ErrInvalid)
		}
		return ip, nil
	}
	var errs [3]error
	a.IP, errs[0] = read(v.IP)
	a.Gateway, errs[1] = read(v.Gateway)
	for _, d := range v.DNS {
		ip, err := read(d)
		a.DNS, errs[2] = append(a.DNS, ip), errors.Join(errs[2], err)
	}
	return a, errors.Join(errs[:]...)
}

// hostJSON is h as programs see it.
func hostJSON(h *inventory.Host, now time.Time) Host {
	v := Host{ID: h.ID, MAC: h.MAC.String(), MACs: []string{}, Name: h.Name, Role: h.Role, State: h.State,
		Step: h.Step, StepNo: h.StepNo, StepOf: h.StepOf, BlockedOn: h.BlockedOn, Error: h.Error, Hint: h.Hint,
		Attention: h.Attention, JobID: h.JobID, Arch: h.Arch, Firmware: h.Firmware, UUID: h.UUID, Serial: h.Serial,
		Disks: []inventory.Disk{}, NICs: []NIC{}, Pins: h.Pins, KernelArgs: h.KernelArgs, Notes: h.Notes, EverFlipped: h.EverFlipped,
		RoleRuns: h.InstalledRole, Commit: h.InstalledCommit, Behind: h.Behind, Upkeep: h.Upkeep, Address: addressJSON(h.Address),
		Wrote: h.Wrote, System: h.InstalledSystem, HostKey: h.InstalledKey, InstalledAt: h.InstalledAt,
		Stage0Until: h.StageZeroUntil, IgnoredBy: h.IgnoredBy, IgnoredAt: h.IgnoredAt, FirstSeen: unlessZero(h.FirstSeen), LastSeen: unlessZero(h.LastSeen), Online: h.Online(now), Revision: h.Revision}
	for _, m := range h.MACs {
		v.MACs = append(v.MACs, m.String())
	}
	if v.Pins == nil {
		v.Pins = map[string]string{}
	}
	if h.IP.IsValid() {
		v.IP = h.IP.String()
	}
	f := h.Facts
	if f == nil {
		return v
	}
	v.Vendor, v.Product, v.CPU, v.MemoryBytes = f.Vendor, f.Product, f.CPU, f.MemoryBytes
	for _, d := range f.Disks {
		if d.Signatures == nil {
			d.Signatures = []string{}
		}
		v.Disks = append(v.Disks, d)
	}
	for _, n := range f.NICs {
		if n.Addrs == nil {
			n.Addrs = []string{}
		}
		v.NICs = append(v.NICs, NIC{Name: n.Name, MAC: n.MAC.String(), Driver: n.Driver, SpeedMbps: n.SpeedMbps, Up: n.Up, Addrs: n.Addrs})
	}
	return v
}

// unlessZero is when something was, nil for never.
func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
