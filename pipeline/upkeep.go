package pipeline

import (
	"context"
	"fmt"

	"github.com/staged-hive/hatchery/inventory"
)

// upkeepSituation gathers what decides about a deploy or format.
func (r *Runner) upkeepSituation(tx *inventory.Tx, s *situation, role inventory.Role) error {
	h, j := &s.host, &s.job
	if j.State != inventory.JobQueued {
		return nil
	}
	if j.Kind == inventory.JobFormat {
		if h.Facts != nil {
			p := formatPlan(h, role, j)
			if err := p.ConfirmedFormat(formatOrder(j)); err != nil {
				s.obstacle = planText(err)
			}
		}
		return nil
	}
	if s.cluster = r.needsAddress(h, role); s.cluster != "" || role.K3s == nil || role.K3s.Role != "server" {
		return nil
	}
	var err error
	s.cluster, err = otherServer(tx, h, role, s.hive.Roles)
	return err
}

// otherServer is the sentence that a server waits with while another one of its cluster is deployed to: a cluster
// whose servers switch at the same time stands still. "" = none.
func otherServer(tx *inventory.Tx, h *inventory.Host, role inventory.Role, roles map[string]inventory.Role) (string, error) {
	jobs, err := tx.OpenJobs()
	if err != nil {
		return "", err
	}
	for _, j := range jobs {
		if j.HostID == h.ID || j.Kind != inventory.JobDeploy || j.State != inventory.JobRunning {
			continue
		}
		other, err := tx.Host(j.HostID)
		if err != nil {
			return "", ignoreNotFound(err)
		}
		if k := roles[other.Role].K3s; k != nil && k.Role == "server" && k.Cluster == role.K3s.Cluster {
			return fmt.Sprintf("Waits for %s, another server of cluster %s, to be deployed.", other.Label(), k.Cluster), nil
		}
	}
	return "", nil
}

// gateUpkeep decides whether a queued deploy or format may begin. It is pure.
func gateUpkeep(s situation) verdict {
	h, j := &s.host, &s.job
	_, known := s.hive.Roles[h.Role]
	inStage0 := !h.ReportedAt.IsZero() && s.now.Sub(h.ReportedAt) < s.fresh && h.HostKey != ""
	switch {
	case h.Upkeep != j.Kind:
		return verdict{fail: &Failure{Step: StepReach, Cause: "The host is not waiting for this job.", Hint: "Ask for it again."}}
	case !known && s.hive.ReadAt.IsZero():
		return verdict{blocked: "Waits until the roles were read from the hive."}
	case !known:
		return verdict{blocked: fmt.Sprintf("Waits for role %s, which is not in the hive: add it there, or cancel.", h.Role)}
	case h.Attention != "":
		return verdict{blocked: "Waits for a person's approval. " + h.Attention}
	case j.Kind == inventory.JobFormat:
		return gateFormat(s, inStage0)
	case s.cluster != "":
		return verdict{blocked: s.cluster}
	case inStage0:
		return verdict{blocked: "Waits until the machine runs its own system: it is in stage-0. Reboot it."}
	}
	return verdict{start: true}
}

func gateFormat(s situation, inStage0 bool) verdict {
	h := &s.host
	switch {
	case s.obstacle != "":
		return verdict{fail: &Failure{Step: StepPlan, Cause: "Nothing was written. " + s.obstacle, Hint: "Look at the host's disk plan, then ask again."}}
	case inStage0 && h.IP.IsValid():
		return verdict{start: true}
	case !s.now.Before(h.StageZeroUntil):
		return verdict{fail: &Failure{Step: StepStage0, Cause: "The machine did not come to stage-0 in time; nothing was written.",
			Hint: "Power it on with network boot first in its order, then ask again."}}
	case h.EverFlipped:
		return verdict{blocked: waitNetboot, restart: true, machine: true}
	}
	return verdict{blocked: waitPower, machine: true}
}

// carryOutDeploy carries out one step of a deploy.
func (w *work) carryOutDeploy(ctx context.Context) error {
	switch w.step.Name {
	case StepReach:
		return w.doReach(ctx)
	case StepFacts:
		return w.doDeployFacts(ctx)
	case StepBuild:
		return w.doDeployBuild(ctx)
	case StepCopy:
		return w.doCopy(ctx)
	case StepSwitch:
		return w.doSwitch(ctx)
	case StepHealth:
		return w.doHealth(ctx)
	case StepNode:
		return w.doNode(ctx)
	case StepConfirm:
		return w.doConfirm(ctx)
	}
	return fmt.Errorf("step %q of a deploy is not known", w.step.Name)
}

// logWriter is where a program's output goes into the job's log; flush it at the end.
func (w *work) logWriter(step string) *lineWriter {
	return &lineWriter{to: &lines{emit: func(text string, _ bool) { w.log.add(step, text) }}}
}
