package web

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// format has the disk of one persistent slot wiped and formatted, held against the plan that was looked at.
func (s *Server) format(ctx context.Context, ref string, o inventory.FormatOrder) (inventory.Host, error) {
	return s.change(ctx, ref, func(tx *inventory.Tx, h inventory.Host, now time.Time) (inventory.Host, string, error) {
		role, err := roleOf(tx, &h, "")
		if err != nil {
			return h, "", err
		}
		p := diskplan.Make(diskplan.Input{Host: h, Role: role, WipePersistent: []string{o.Slot}})
		if err := p.ConfirmedFormat(o); err != nil {
			return h, "", err
		}
		by := caller(ctx).By
		h, _, err = inventory.Format(tx, h.ID, o, by, now.Add(rescueFor), now)
		return h, fmt.Sprintf("The format of slot %s, disk %s, was asked for by %s.", clip(o.Slot, 63), clip(o.Word, 100), by), err
	})
}

// lagText says how far a host lags behind the hive, "" = it does not.
func lagText(h *inventory.Host) string {
	switch {
	case !h.Lags():
		return ""
	case h.Behind < 0:
		return "which the hive does not have any more"
	}
	return plural(h.Behind, "commit") + " behind the hive"
}

// deployRole deploys every host of a role that lags behind the hive, each in a transaction of its own. A host that
// cannot be deployed now does not keep the others from it: its error is joined to the rest.
func (s *Server) deployRole(ctx context.Context, role string) (asked []inventory.Host, err error) {
	var list []inventory.Host
	if err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		hive, err := tx.Hive()
		if err != nil {
			return err
		}
		if _, known := hive.Roles[role]; !known {
			return fmt.Errorf("role %q is not in the hive as it was read last: %w", clip(role, 63), inventory.ErrInvalid)
		}
		list, err = tx.Lagging(role)
		return err
	}); err != nil {
		return nil, err
	}
	for i := range list {
		h, aerr := s.doAct(ctx, string(list[i].ID), "deploy")
		if aerr == nil {
			asked = append(asked, h)
		}
		err = errors.Join(err, aerr)
	}
	return asked, err
}

type roleIn struct {
	Role string `path:"role" maxLength:"63"`
}

func (s *Server) deployRoleAPI(ctx context.Context, in *roleIn) (*listOut[Host], error) {
	hosts, err := s.deployRole(ctx, in.Role)
	if err != nil {
		return nil, err
	}
	out := items([]Host(nil))
	for i := range hosts {
		out.Body.Items = append(out.Body.Items, s.hostJSON(&hosts[i]))
	}
	return out, nil
}

// deployRoleForm is the button on the roles page.
func (s *Server) deployRoleForm(c echo.Context) error {
	role := c.FormValue("role")
	hosts, err := s.deployRole(c.Request().Context(), role)
	text := fmt.Sprintf("%s of role %s: a deploy was asked for.", plural(len(hosts), "machine"), clip(role, 63))
	if err != nil {
		s.logFault(c, err)
		text += " " + sentence(err)
	}
	s.flash(c, text)
	return back(c, "/roles")
}
