package web

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/staged-hive/hatchery/inventory"
)

// actAPI registers the acts on hosts.
func (s *Server) actAPI(a huma.API) {
	for name, summary := range map[string]string{
		"approve":  "Say that what stopped automation is all right",
		"cancel":   "Give up the host's job",
		"retry":    "Try the failed job again",
		"rescue":   "Give the host stage-0 once; nothing is written",
		"deploy":   "Build and switch the installed system to what the hive says now; the machine goes back by itself when that fails",
		"release":  "Let a host that the loop guard holds boot stage-0 again",
		"ignore":   "Meet the host's netboot with silence",
		"unignore": "Take ignore back",
	} {
		op(a, http.MethodPost, "/hosts/{id}/"+name, name+"-host", summary, func(ctx context.Context, in *RefIn) (*hostOut, error) {
			return s.hostOut(s.doAct(ctx, in.ID, name))
		})
	}
	op(a, http.MethodPost, "/hosts/{id}/wake", "wake-host", "Send a wake-up packet", func(ctx context.Context, in *RefIn) (*hostOut, error) {
		return s.hostOut(s.wake(ctx, in.ID))
	})
	for name, summary := range map[string]string{
		ActReboot:   "Reboot the machine over SSH",
		ActPowerOff: "Power the machine off over SSH",
	} {
		op(a, http.MethodPost, "/hosts/{id}/"+name, name+"-host", summary, func(ctx context.Context, in *RefIn) (*hostOut, error) {
			return s.hostOut(s.operate(ctx, in.ID, Operation{Act: name}))
		})
	}
	op(a, http.MethodPost, "/hosts/{id}/format", "format-host", "Wipe and format the disk of one persistent slot, confirmed by its serial; no other disk is touched",
		func(ctx context.Context, in *formatIn) (*hostOut, error) {
			return s.hostOut(s.format(ctx, in.ID, inventory.FormatOrder{PlanID: in.Body.PlanID, Slot: in.Body.Slot, Word: in.Body.Confirm}))
		})
	op(a, http.MethodPost, "/roles/{role}/deploy", "deploy-role", "Deploy every installed host of a role that lags behind the hive", s.deployRoleAPI)
	op(a, http.MethodPost, "/hosts/{id}/install", "install-host", "Confirm the disk plan and install", func(ctx context.Context, in *confirmIn) (*hostOut, error) {
		return s.hostOut(s.install(ctx, in.ID, in.confirmation(), false))
	})
	op(a, http.MethodPost, "/hosts/{id}/reinstall", "reinstall-host", "Install again over an installed host", func(ctx context.Context, in *confirmIn) (*hostOut, error) {
		return s.hostOut(s.install(ctx, in.ID, in.confirmation(), true))
	})
}

type confirmIn struct {
	RefIn
	Body *struct {
		PlanID         string            `json:"plan_id,omitempty" doc:"of the plan that was looked at" maxLength:"128"`
		Confirm        map[string]string `json:"confirm,omitempty" doc:"slot → serial of the disk, typed by a person"`
		WipePersistent []string          `json:"wipePersistent,omitempty" doc:"persistent slots to wipe"`
	}
}

func (in *confirmIn) confirmation() inventory.Confirmation {
	if in.Body == nil {
		return inventory.Confirmation{}
	}
	return inventory.Confirmation{PlanID: in.Body.PlanID, Confirm: in.Body.Confirm, WipePersistent: in.Body.WipePersistent}
}

type formatIn struct {
	RefIn
	Body struct {
		PlanID  string `json:"plan_id" maxLength:"128"`
		Slot    string `json:"slot" maxLength:"64"`
		Confirm string `json:"confirm" doc:"serial of the disk in the slot, typed by a person" maxLength:"256"`
	}
}
