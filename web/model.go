package web

import (
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
	EverFlipped bool              `json:"ever_installed" doc:"only an explicit reinstall writes to it"`
	Wrote       bool              `json:"wrote" doc:"the current job started to write to a disk"`
	System      string            `json:"system" doc:"the store path that was verified last"`
	HostKey     string            `json:"host_key" doc:"the SSH host key planted at the install"`
	InstalledAt time.Time         `json:"installed_at,omitzero"`
	Stage0Until time.Time         `json:"stage0_until,omitzero"`
	FirstSeen   time.Time         `json:"first_seen,omitzero"`
	LastSeen    time.Time         `json:"last_seen,omitzero"`
	Online      bool              `json:"online"`
	Revision    uint64            `json:"revision"`
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

// hostJSON is h as programs see it.
func hostJSON(h *inventory.Host, now time.Time) Host {
	v := Host{ID: h.ID, MAC: h.MAC.String(), MACs: []string{}, Name: h.Name, Role: h.Role, State: h.State,
		Step: h.Step, StepNo: h.StepNo, StepOf: h.StepOf, BlockedOn: h.BlockedOn, Error: h.Error, Hint: h.Hint,
		Attention: h.Attention, JobID: h.JobID, Arch: h.Arch, Firmware: h.Firmware, UUID: h.UUID, Serial: h.Serial,
		Disks: []inventory.Disk{}, NICs: []NIC{}, Pins: h.Pins, KernelArgs: h.KernelArgs, EverFlipped: h.EverFlipped,
		Wrote: h.Wrote, System: h.InstalledSystem, HostKey: h.InstalledKey, InstalledAt: h.InstalledAt,
		Stage0Until: h.StageZeroUntil, FirstSeen: h.FirstSeen, LastSeen: h.LastSeen, Online: h.Online(now), Revision: h.Revision}
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
