package web

import (
	"context"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// install confirms the plan that a person looked at, and makes or continues the job.
func (s *Server) install(ctx context.Context, ref string, c inventory.Confirmation, again bool) (inventory.Host, error) {
	return s.change(ctx, ref, func(tx *inventory.Tx, h inventory.Host, now time.Time) (inventory.Host, string, error) {
		by := caller(ctx).By
		if again {
			h, _, err := inventory.Reinstall(tx, h.ID, c, by, now)
			return h, "A reinstall was asked for by " + by + ".", err
		}
		h, _, err := inventory.Install(tx, h.ID, c, by, now)
		return h, "The install was confirmed by " + by + ".", err
	})
}
