package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// roleOf is the role that a plan is made for: the given one, else the host's.
func roleOf(tx *inventory.Tx, h *inventory.Host, name string) (inventory.Role, error) {
	if name = first(name, h.Role); name == "" {
		return inventory.Role{}, fmt.Errorf("host %s has no role: assign one first: %w", h.Label(), inventory.ErrBadEvent)
	}
	hive, err := tx.Hive()
	if err != nil {
		return inventory.Role{}, err
	}
	r, ok := hive.Roles[name]
	if !ok {
		return r, fmt.Errorf("role %q is not in the hive as it was read last: %w", clip(name, 63), inventory.ErrInvalid)
	}
	return r, nil
}

// stale reports whether what is known of the disks is older than the last install.
func stale(h *inventory.Host) bool { return h.ReportedAt.Before(h.InstalledAt) }

// checkPlan refuses a confirmation that is not of the plan as it is now, or that leaves something in the way.
// Where the disks were last seen before the last install, the machine itself is asked again in stage-0.
func checkPlan(tx *inventory.Tx, h *inventory.Host, c inventory.Confirmation) error {
	if h.Facts == nil && c.PlanID == "" {
		return nil // nothing was seen that could be judged; the job waits for the machine
	}
	role, err := roleOf(tx, h, "")
	if err != nil {
		return err
	}
	p := diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: c.WipePersistent})
	err = p.Confirmed(c)
	if errors.Is(err, diskplan.ErrBlocked) && stale(h) && len(c.WipePersistent) == 0 {
		return nil
	}
	return err
}

// install confirms the plan that a person looked at, and makes or continues the job.
func (s *Server) install(ctx context.Context, ref string, c inventory.Confirmation, again bool) (inventory.Host, error) {
	return s.change(ctx, ref, func(tx *inventory.Tx, h inventory.Host, now time.Time) (inventory.Host, string, error) {
		by := caller(ctx).By
		if err := checkPlan(tx, &h, c); err != nil {
			return h, "", err
		}
		text := confirmText(c)
		if again {
			h, _, err := inventory.Reinstall(tx, h.ID, c, by, now)
			return h, "A reinstall was asked for by " + by + "." + text, err
		}
		h, _, err := inventory.Install(tx, h.ID, c, by, now)
		return h, "The install was confirmed by " + by + "." + text, err
	})
}

// confirmText says for the diary what a person agreed to.
func confirmText(c inventory.Confirmation) string {
	text := ""
	for slot, serial := range c.Confirm {
		text += fmt.Sprintf(" Slot %s: disk %s may be erased.", clip(slot, 63), clip(serial, 100))
	}
	if len(c.WipePersistent) > 0 {
		text += " Persistent data to be wiped: " + clip(strings.Join(c.WipePersistent, ", "), 200) + "."
	}
	return text
}

type planIn struct {
	RefIn
	Role string   `query:"role" doc:"another role than the host's, to see what it would do" maxLength:"63"`
	Wipe []string `query:"wipePersistent" doc:"persistent slots that would be wiped"`
}

type planOut struct{ Body diskplan.Plan }

func (s *Server) planAPI(a huma.API) {
	op(a, http.MethodGet, "/hosts/{id}/plan", "host-plan", "What an install would do to every disk, and what stands in the way",
		func(_ context.Context, in *planIn) (*planOut, error) {
			out := &planOut{}
			err := s.cfg.Store.View(func(tx *inventory.Tx) error {
				h, err := tx.FindHost(in.ID)
				if err != nil {
					return err
				}
				role, err := roleOf(tx, &h, in.Role)
				out.Body = diskplan.Make(diskplan.Input{Host: h, Role: role, WipePersistent: in.Wipe})
				return err
			})
			return out, err
		})
}
