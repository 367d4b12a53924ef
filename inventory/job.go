package inventory

import "time"

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
	ID     JobID    `json:"id"`
	HostID HostID   `json:"host_id"`
	Kind   JobKind  `json:"kind"`
	State  JobState `json:"state"`
	Role   string   `json:"role,omitempty"`
	By     string   `json:"by,omitempty"` // who asked: "admin", "rule worker", "earlier assignment"
	// Auto says that no person asked for this very job: it may only touch blank disks and our own ephemeral ones.
	Auto bool `json:"auto,omitempty"`

	// Step is the step that runs or ran last (pipeline's step names), StepNo of StepOf.
	Step      string `json:"step,omitempty"`
	StepNo    int    `json:"step_no,omitempty"`
	StepOf    int    `json:"step_of,omitempty"`
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

	Attempt   int       `json:"attempt"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Revision  uint64    `json:"revision"`
}

// Open reports whether the job still has work to do.
func (j *Job) Open() bool { return j.State == JobQueued || j.State == JobRunning }
