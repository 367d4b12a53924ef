package httpboot

import (
	"fmt"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/inventory"
)

// statusOf is what the agent is told of its host: the state in words for the machine's screen, and where its page is.
func (s *Server) statusOf(h *inventory.Host) agentapi.Status {
	return agentapi.Status{
		Name: h.Label(), State: h.State, Words: words(h), Page: s.cfg.PageURL(h.ID),
		ReportSeconds: int(s.cfg.ReportEvery.Seconds()), Action: agentapi.ActionContinue,
	}
}

func words(h *inventory.Host) string {
	switch {
	case h.Attention != "":
		return "Waits for a person on Hatchery's page: " + h.Attention
	case h.State == inventory.StateReady && h.Role == "":
		return "Ready. Give it a role on Hatchery's page; until then nothing is written to its disks."
	case h.State == inventory.StateReady:
		return "Ready, with role " + h.Role + "; start the install on Hatchery's page."
	case h.State == inventory.StateQueued && h.BlockedOn != "":
		return "Its install waits: " + h.BlockedOn
	case h.State == inventory.StateQueued:
		return "Its install is about to start."
	case h.State == inventory.StateInstalling:
		return fmt.Sprintf("Installing: %s (step %d of %d).", h.Step, h.StepNo, h.StepOf)
	case h.State == inventory.StateFailed:
		return "The install failed: " + h.Error + " " + h.Hint
	case h.State == inventory.StateInstalled:
		return "Installed; stage-0 runs for rescue, nothing is written to its disks."
	}
	return "State: " + string(h.State) + "."
}
