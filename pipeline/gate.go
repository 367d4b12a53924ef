package pipeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// situation is all that decides whether a queued job may begin.
type situation struct {
	host inventory.Host
	job  inventory.Job
	hive inventory.Hive
	// obstacle is the sentence that stands in the disk plan's way ("" = nothing does); only meaningful with facts.
	obstacle string
	// cluster is the sentence that says what the host waits for in its cluster, "" = nothing.
	cluster string
	room    string    // the sentence that says why nothing new may begin, "" = it may
	part    *hive.K3s // its part in the cluster, nil outside one
	now     time.Time
	fresh   time.Duration // how old the agent's last report may be
}

// verdict is what becomes of a queued job now.
type verdict struct {
	start bool
	// blocked is the sentence that says what it waits for.
	blocked string
	// restart says that the machine runs its own system and must be told to netboot stage-0.
	restart bool
	// machine says that it waits for nothing but its machine.
	machine bool
	fail    *Failure
}

// The sentences for a machine that is not there.
const (
	waitPower   = "Waits for the machine: power it on, it netboots by itself."
	waitNetboot = "Waits for stage-0: restart the machine so that it netboots."
)

// gate decides whether a queued job may begin. It is pure; whether a place is free comes after it.
func gate(s situation) verdict {
	h, j := &s.host, &s.job
	if j.Kind.Upkeep() {
		return gateUpkeep(s)
	}
	if j.Flipped {
		return verdict{start: true} // only looks, and writes nothing
	}
	role, known := s.hive.Roles[h.Role]
	switch {
	case j.Kind != inventory.JobInstall && j.Kind != inventory.JobReinstall:
		return verdict{fail: &Failure{Step: StepStage0, Cause: fmt.Sprintf("This release does not know jobs of kind %q.", j.Kind),
			Hint: "Cancel the job."}}
	case j.Kind == inventory.JobInstall && h.EverFlipped:
		return verdict{fail: &Failure{Step: StepPlan, Cause: "The host is installed: only a reinstall writes to it again.",
			Hint: "Cancel this job; ask for a reinstall if you mean to replace the system."}}
	case h.Role == "":
		return verdict{blocked: "Waits for a role: the one it had was taken back."}
	case !known && s.hive.ReadAt.IsZero() && s.hive.Error != "":
		return verdict{blocked: "Waits for the hive, which cannot be read: " + s.hive.Error}
	case !known && s.hive.ReadAt.IsZero():
		return verdict{blocked: "Waits until the roles were read from the hive."}
	case !known:
		return verdict{blocked: fmt.Sprintf("Waits for role %s, which is not in the hive (it has %s): add it there or give another role.",
			h.Role, listOr(sortedNames(s.hive.Roles), "none"))}
	case h.Attention != "":
		return verdict{blocked: "Waits for a person's approval. " + h.Attention}
	case h.Facts == nil:
		return verdict{blocked: waitPower}
	case role.System != h.Facts.Arch+"-linux":
		return verdict{blocked: fmt.Sprintf("Waits for another role: %s is for %s, the machine is %s.", h.Role, role.System, h.Facts.Arch)}
	case s.obstacle != "":
		return verdict{blocked: s.obstacle}
	case s.cluster != "":
		return verdict{blocked: s.cluster}
	case s.room != "":
		return verdict{blocked: "Waits for space: " + s.room}
	case !h.ReportedAt.IsZero() && s.now.Sub(h.ReportedAt) < s.fresh && h.HostKey != "" && h.IP.IsValid():
		return verdict{start: true}
	case h.Looping(s.now) != "":
		return verdict{blocked: "Waits for stage-0. " + h.Looping(s.now) + " Look at the machine's screen.", machine: true}
	case h.EverFlipped:
		return verdict{blocked: waitNetboot, restart: true, machine: true}
	}
	return verdict{blocked: waitPower, machine: true}
}

const waitTurnPrefix = "Waits for its turn: "

// waitTurn is what a job waits for when all places are taken.
func waitTurn(running, before int) string {
	s := fmt.Sprintf(waitTurnPrefix+"%s", count(running, "machine is", "machines are")+" being installed")
	if before > 0 {
		s += ", " + count(before, "other waits", "others wait") + " longer"
	}
	return s + "."
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sentence makes text one sentence: first letter large, a full stop at the end.
func sentence(text string) string {
	text = clean(strings.ReplaceAll(text, "\n", " "))
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.ContainsAny(text[len(text)-1:], ".!?…") {
		text += "."
	}
	return text
}
