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

// installExit is the failure that an exit code of nixos-anywhere means: 20 to 24 are the install
// script's refusals (DESIGN section 2), made before it changed anything.
func installExit(code int, last string) *Failure {
	f := &Failure{Step: StepInstall}
	switch code {
	case 20:
		f.Cause = "A persistent disk of the plan is missing on the machine; nothing was written."
		f.Hint = "Put the disk back or bind the slot to another one, then retry."
	case 21:
		f.Cause = "A persistent disk holds data that this appliance did not put there; nothing was written."
		f.Hint = "Save what is on it. Then name its slot to be wiped, with its serial number, or bind the slot to another disk."
	case 22:
		f.Cause = "One disk is bound to an ephemeral and a persistent slot at once; nothing was written."
		f.Hint = "Bind one of the slots to another disk, then retry."
	case 23:
		f.Cause = "A disk of the plan is the one stage-0 itself runs from; nothing was written."
		f.Hint = "Remove the stick and netboot, or bind the slot to another disk, then retry."
	case 24:
		f.Cause = "A disk is not what the plan was confirmed with (other serial number or other content); nothing was written."
		f.Hint = "Look at the new disk plan, confirm it if it is right, then retry."
	case 255:
		f.Cause = "The SSH connection to the machine was lost during the install."
		f.Hint = "Look at the machine's network cable and power. Retry starts the install again; persistent disks are kept."
	default:
		f.Cause = fmt.Sprintf("nixos-anywhere ended with exit code %d.", code)
		f.Hint = "The disks of the plan may be half written. Read the last lines of the job's log, then retry; persistent disks are kept."
	}
	if last != "" && code != 0 && (code < 20 || code > 24) {
		f.Cause = f.Cause[:len(f.Cause)-1] + ": " + last
	}
	return f
}

// refusedBeforeWrite reports whether the install script's exit code promises that no disk was changed.
func refusedBeforeWrite(code int) bool { return code >= 20 && code <= 24 }
