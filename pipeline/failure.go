package pipeline

import (
	"context"
	"errors"
	"fmt"
)

// Failure is the end of a job that a person must read: the step, what happened, what to do next.
type Failure struct {
	Step  string // one of the Step constants
	Cause string // one sentence
	Hint  string // what to do next, one or two sentences
	Err   error  // the underlying error; nil when the cause says all
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %s (%v)", f.Step, f.Cause, f.Err)
	}
	return f.Step + ": " + f.Cause
}

// Unwrap gives the underlying error.
func (f *Failure) Unwrap() error { return f.Err }

// Why a job's context ended; told by context.Cause.
var (
	errCancelled = errors.New("cancelled by a person")
	errShutdown  = errors.New("the appliance stops")
	errStale     = errors.New("the job was changed under the runner")
)

// ended reports whether err or the context's cause means that the job was not ended by a failure of
// its own, and which of the causes above it was.
func ended(ctx context.Context, err error) error {
	for _, c := range []error{errCancelled, errShutdown, errStale} {
		if errors.Is(err, c) || errors.Is(context.Cause(ctx), c) {
			return c
		}
	}
	return nil
}

// overTime is the failure of a step that took longer than it may.
func overTime(s Step) *Failure {
	f := &Failure{Step: s.Name, Cause: fmt.Sprintf("The step took longer than the %s it may.", s.Limit)}
	switch s.Name {
	case StepStage0:
		f.Cause = fmt.Sprintf("Stage-0 did not answer over SSH within %s.", s.Limit)
		f.Hint = "Look at the machine's screen and its network cable, power it on again, then retry."
	case StepBuild:
		f.Hint = "The machine is untouched. Read the build's log, give the build more room or a cache, then retry."
	case StepInstall:
		f.Hint = "The disks of the plan may be half written. Restart the machine so that it netboots stage-0 again, then retry."
	case StepVerify:
		f.Cause = fmt.Sprintf("The new system did not answer over SSH within %s.", s.Limit)
		f.Hint = "Look at the machine's screen: does it boot its own disk? Retry looks again and writes nothing."
	default:
		f.Hint = "Look at the machine and at the job's log, then retry."
	}
	return f
}
