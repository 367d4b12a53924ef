package inventory

import (
	"slices"
	"time"
)

// JobID names one job.
type JobID string

// JobKind is what a job does.
type JobKind string

// The kinds of job.
const (
	JobInstall   JobKind = "install"
	JobReinstall JobKind = "reinstall"
	JobFormat    JobKind = "format"
	JobDeploy    JobKind = "deploy"
)

// JobState is where a job stands.
type JobState string

// The states of a job. Queued and running jobs are open: one per host at most.
const (
	JobQueued    JobState = "queued"
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobFailed    JobState = "failed"
	JobCancelled JobState = "cancelled"
)

// Job is one piece of work on one host, durable from the moment it was asked for.
type Job struct {
	ID     JobID  `json:"id"`
	HostID HostID `json:"host_id"`
	// Host is what the host was called when the job was made or tried again: it stays readable after the host was forgotten.
	Host  string   `json:"host,omitempty"`
	Kind  JobKind  `json:"kind"`
	State JobState `json:"state"`
	Role  string   `json:"role,omitempty"`
	By    string   `json:"by,omitempty"` // who asked: "admin", "rule worker", "earlier assignment"
	// Auto says that no person asked for this very job: it may only touch blank disks and our own ephemeral ones.
	Auto bool `json:"auto,omitempty"`

	// Step is the step that runs or ran last (pipeline's step names), StepNo of StepOf.
	Step   string `json:"step,omitempty"`
	StepNo int    `json:"step_no,omitempty"`
	StepOf int    `json:"step_of,omitempty"`
	// StepAgain says that the step runs once more because the appliance was restarted; StepNo is then how far the job was.
	StepAgain bool   `json:"step_again,omitempty"`
	BlockedOn string `json:"blocked_on,omitempty"`
	Error     string `json:"error,omitempty"`
	Hint      string `json:"hint,omitempty"`

	// PlanID is the disk plan that was confirmed ("" = none yet); Confirm maps slots to the serials a
	// person confirmed; WipePersistent names the persistent slots whose wipe was typed out.
	PlanID         string            `json:"plan_id,omitempty"`
	Confirm        map[string]string `json:"confirm,omitempty"`
	WipePersistent []string          `json:"wipe_persistent,omitempty"`

	// Wrote says that the disks may have been written to; set before the first write.
	Wrote bool `json:"wrote,omitempty"`
	// Flipped says that the netboot answer was turned to the host's own disk.
	Flipped bool `json:"flipped,omitempty"`
	// CancelAsked says that a person asked a running job to stop.
	CancelAsked bool `json:"cancel_asked,omitempty"`
	// Data is the runner's own record of the job (commit, store paths), its format the pipeline's.
	Data []byte `json:"data,omitempty"`

	// Past is what became of earlier attempts, oldest first; at most MaxPast, the first and the newest.
	Past []Attempt `json:"past,omitempty"`

	Attempt   int       `json:"attempt"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Revision  uint64    `json:"revision"`
}

// Open reports whether the job still has work to do.
func (j *Job) Open() bool { return j.State == JobQueued || j.State == JobRunning }

// StepAgain is what the name of a step is followed by that runs once more because the appliance was restarted.
const StepAgain = ", again after the appliance was restarted"

// StepText is the step in words, with [StepAgain] where it runs once more.
func (j *Job) StepText() string {
	if j.StepAgain {
		return j.Step + StepAgain
	}
	return j.Step
}

// MaxPast is how many earlier attempts of a job are kept.
const MaxPast = 20

// Attempt is one try of a job that ended without success: who asked, when, and why it ended.
type Attempt struct {
	No        int       `json:"no"`
	By        string    `json:"by,omitempty"`
	Role      string    `json:"role,omitempty"`
	Step      string    `json:"step,omitempty"`
	Error     string    `json:"error,omitempty"`
	Wrote     bool      `json:"wrote,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// remember keeps what became of the present attempt, before the next one begins.
func (j *Job) remember() {
	past := append(slices.Clone(j.Past), Attempt{No: j.Attempt, By: j.By, Role: j.Role, Step: j.Step, Error: j.Error,
		Wrote: j.Wrote, StartedAt: j.StartedAt, EndedAt: j.EndedAt})
	if len(past) > MaxPast {
		past = slices.Delete(past, 1, len(past)-MaxPast+1)
	}
	j.Past = past
}
