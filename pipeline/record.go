package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// recordVersion is the version of what the runner keeps in Job.Data.
const recordVersion = 1

// record is the runner's own memory of a job, kept in Job.Data: all that a restarted appliance
// needs to go on. No secrets.
type record struct {
	V int `json:"v"`
	// Plan is the disk plan that the install script is built for.
	Plan *hive.Plan `json:"plan,omitempty"`
	// Last is the plan of the attempt that wrote last.
	Last *hive.Plan `json:"last,omitempty"`
	// OwnedBefore and BoundBefore are what the host said of its disks before this attempt, for a refusal
	// that wrote nothing.
	OwnedBefore map[string]string `json:"owned_before,omitempty"`
	BoundBefore map[string]string `json:"bound_before,omitempty"`
	// ClaimedBefore is what was claimed by then, by earlier attempts.
	ClaimedBefore map[string]string `json:"claimed_before,omitempty"`
	// Writing says that this attempt may have written to the disks; of a deploy, that a trial may run on the machine.
	Writing bool `json:"writing,omitempty"`
	// WroteBefore says that an earlier attempt of the job may have written already.
	WroteBefore bool `json:"wrote_before,omitempty"`
	// K3s is the host's part in its cluster.
	K3s *hive.K3s `json:"k3s,omitempty"`
	// Commit is the hive's commit that is built.
	Commit string `json:"commit,omitempty"`
	// Toplevel, Script and Layout are what was built at Commit.
	Toplevel string      `json:"toplevel,omitempty"`
	Script   string      `json:"script,omitempty"`
	Layout   hive.Layout `json:"layout,omitzero"`
	// Bytes is what the system takes in the store, with all that it needs; 0 = not known.
	Bytes uint64 `json:"bytes,omitempty"`
	// BootID is the boot of stage-0 that the job works in.
	BootID string `json:"boot_id,omitempty"`
	// Installed says that nixos-anywhere ended well in that boot.
	Installed bool `json:"installed,omitempty"`
	// Wiped are the persistent slots whose wipe was carried out: a retry does not repeat it.
	Wiped []string `json:"wiped,omitempty"`
	// Restarted is the attempt in which a reinstall's machine was told to netboot stage-0.
	Restarted int `json:"restarted,omitempty"`
	// Before and Boots are what a machine ran and booted before it was deployed to, FailedBefore the units that had failed.
	Before       string   `json:"before,omitempty"`
	Boots        string   `json:"boots,omitempty"`
	FailedBefore []string `json:"failed_before,omitempty"`
	// Current says that the host did not lag behind the hive when a format committed how its disk looks.
	Current bool `json:"current,omitempty"`
	// Woken is the attempt in which the machine was sent a Wake-on-LAN packet.
	Woken int `json:"woken,omitempty"`
}

// readRecord reads Job.Data; a job that never ran has an empty one.
func readRecord(j *inventory.Job) (record, error) {
	if len(j.Data) == 0 {
		return record{V: recordVersion}, nil
	}
	var r record
	if err := json.Unmarshal(j.Data, &r); err != nil {
		return r, fmt.Errorf("record of job %s: %w", j.ID, err)
	}
	if r.V != recordVersion {
		return r, fmt.Errorf("record of job %s has version %d, want %d: it was written by another release", j.ID, r.V, recordVersion)
	}
	return r, nil
}

func (r *record) bytes() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("record of a job: %w", err)
	}
	return b, nil
}

// fresh is the record that a new attempt begins with: only what must outlive an attempt stays.
func (r *record) fresh() record {
	return record{V: recordVersion, Last: r.Last, Wiped: r.Wiped, K3s: r.K3s, Restarted: r.Restarted, Woken: r.Woken}
}

// wipes are the slots that are still to be wiped of those that a person named.
func (r *record) wipes(named []string) []string {
	return slices.DeleteFunc(slices.Clone(named), func(s string) bool { return slices.Contains(r.Wiped, s) })
}

// begun are the persistent slots that the last attempt found blank, or was to wipe, and began to format, with
// the disks it did that to. After the flip there are none: what is on them then is a running system's.
func (r *record) begun(h *inventory.Host, j *inventory.Job) map[string]string {
	if r.Last == nil || !j.Wrote || h.Facts == nil || j.Flipped {
		return nil
	}
	begun := map[string]string{}
	for slot, d := range r.Last.Disks {
		blank := len(d.Signatures) == 0 && len(d.PartUUIDs) == 0 || slices.Contains(r.Last.WipePersistent, slot)
		same := slices.ContainsFunc(h.Facts.Disks, func(x inventory.Disk) bool { return samePlanned(hive.PlanDiskOf(d.Class, x), d) })
		if d.Class == inventory.ClassPersistent && blank && same {
			begun[slot] = d.ID
		}
	}
	return begun
}

// resumption is what happens to a job that the store says runs but that nobody works on: the
// appliance was restarted under it.
type resumption int

const (
	resumeStart  resumption = iota // nothing was written: all steps again
	resumeMounts                   // the install ended well: go on behind it, in the same boot of stage-0
	resumeVerify                   // flipped: restart the machine if it is still in stage-0, and verify
	resumeFail                     // the install was cut short: failed, a retry starts it again
	resumeCancel                   // a person asked to stop it
	resumeSwitch                   // a deploy whose trial runs on the machine: go on with it
	resumeReturn                   // the disk is formatted: give the machine back to its own system
)

// first is the index of the step that a resumed job goes on with.
func (how resumption) first(steps []Step) int {
	names := map[resumption]string{resumeMounts: StepMounts, resumeSwitch: StepSwitch, resumeReturn: StepReboot}
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Name == names[how] })
	if i < 0 && how == resumeReturn {
		return len(steps) // nothing to give back
	}
	return max(i, 0)
}

// resume decides from the durable record alone.
func resume(j *inventory.Job, r *record) resumption {
	switch {
	case j.CancelAsked:
		return resumeCancel
	case j.Kind == inventory.JobDeploy && r.Writing:
		return resumeSwitch
	case j.Kind == inventory.JobFormat && r.Installed:
		return resumeReturn
	case j.Flipped:
		return resumeVerify
	case r.Installed:
		return resumeMounts
	case r.Writing:
		return resumeFail
	}
	return resumeStart
}

// interrupted is the failure of a job whose install was cut short by the appliance's own end.
func interrupted(j *inventory.Job) *Failure {
	if j.Kind == inventory.JobFormat {
		return &Failure{Step: StepFormat,
			Cause: fmt.Sprintf("interrupted: the appliance was stopped while it formatted the disk of slot %s, which may be half formatted; no other disk was touched.", formatSlot(j)),
			Hint:  "Look at the disk plan, then ask for the format again."}
	}
	return &Failure{Step: StepInstall,
		Cause: "interrupted: the appliance was stopped while it was installing; the machine's disks may be half written.",
		Hint:  "Retry: it plans and installs again, persistent disks that hold data are kept."}
}
