package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// ErrNotHere says that this appliance cannot do it at all; an [Operator] may return it too.
var ErrNotHere = errors.New("not possible on this appliance")

// errMachine says that the machine itself did not do what it was asked over the network.
var errMachine = errors.New("the machine did not do it")

// rescueFor is how long a host may take to come back for the stage-0 that somebody asked for.
const rescueFor = time.Hour

// act is something a person does to a host, with the sentence for its diary.
type act struct {
	say string // "Approved by %s."
	do  func(tx *inventory.Tx, h inventory.Host, by string, now time.Time) (inventory.Host, error)
}

// acts are those that are nothing but a change of the inventory. They need no more than the host.
func acts() map[string]act {
	return map[string]act{
		"approve": {"Approved by %s.", func(tx *inventory.Tx, h inventory.Host, _ string, now time.Time) (inventory.Host, error) {
			return inventory.Approve(tx, h.ID, now)
		}},
		"cancel": {"Its job was cancelled by %s.", func(tx *inventory.Tx, h inventory.Host, _ string, now time.Time) (inventory.Host, error) {
			return inventory.Cancel(tx, h.ID, now)
		}},
		"retry": {"Another try was asked for by %s.", func(tx *inventory.Tx, h inventory.Host, by string, now time.Time) (inventory.Host, error) {
			if h.JobID == "" {
				return h, fmt.Errorf("host %s never had a job: %w", h.Label(), inventory.ErrBadEvent)
			}
			h, _, err := inventory.Retry(tx, h.ID, by, now)
			return h, err
		}},
		"rescue": {"Stage-0 at its next netboot, once, was asked for by %s. Nothing is written.", func(tx *inventory.Tx, h inventory.Host, _ string, now time.Time) (inventory.Host, error) {
			return inventory.Rescue(tx, h.ID, now.Add(rescueFor))
		}},
		"deploy": {"A deploy was asked for by %s.", func(tx *inventory.Tx, h inventory.Host, by string, now time.Time) (inventory.Host, error) {
			h, _, err := inventory.Deploy(tx, h.ID, by, now)
			return h, err
		}},
		"release": {"Released from the loop guard by %s: it may boot stage-0 again.", func(tx *inventory.Tx, h inventory.Host, _ string, now time.Time) (inventory.Host, error) {
			if err := inventory.ReleaseHold(tx, h.MAC, now); err != nil {
				return h, err
			}
			return tx.Host(h.ID)
		}},
		"ignore": {"Ignored by %s: its netboot is met with silence.", func(tx *inventory.Tx, h inventory.Host, by string, now time.Time) (inventory.Host, error) {
			return inventory.Apply(tx, h.ID, inventory.IgnoreAsked{By: by, At: now})
		}},
		"unignore": {"No longer ignored, by %s.", func(tx *inventory.Tx, h inventory.Host, _ string, _ time.Time) (inventory.Host, error) {
			return inventory.Apply(tx, h.ID, inventory.UnignoreAsked{})
		}},
	}
}

// change finds the host that ref means and changes it in one transaction, which also notes what
// sentence fn returns, in the host's diary and in the appliance's activity.
func (s *Server) change(ctx context.Context, ref string, fn func(tx *inventory.Tx, h inventory.Host, now time.Time) (inventory.Host, string, error)) (inventory.Host, error) {
	var out inventory.Host
	now := s.cfg.Now()
	err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		h, err := tx.FindHost(ref)
		if err != nil {
			return err
		}
		var text string
		if out, text, err = fn(tx, h, now); err != nil || text == "" {
			return err
		}
		return note(tx, ctx, &out, text, now)
	})
	return out, err
}

// note writes a sentence into a host's diary and, with the host's name, into the appliance's activity.
func note(tx *inventory.Tx, ctx context.Context, h *inventory.Host, text string, now time.Time) error {
	w := caller(ctx)
	e := inventory.Entry{Time: now, HostID: h.ID, Kind: "admin", Text: text, By: w.By, From: w.From}
	if err := tx.Note(e); err != nil {
		return err
	}
	e.HostID, e.About, e.Text = "", h.ID, h.Label()+": "+text
	return tx.Note(e)
}

// doAct carries out one of acts.
func (s *Server) doAct(ctx context.Context, ref, name string) (inventory.Host, error) {
	a, ok := acts()[name]
	if !ok {
		return inventory.Host{}, fmt.Errorf("act %q is %w", clip(name, 40), inventory.ErrNotFound)
	}
	return s.change(ctx, ref, func(tx *inventory.Tx, h inventory.Host, now time.Time) (inventory.Host, string, error) {
		by := caller(ctx).By
		h, err := a.do(tx, h, by, now)
		return h, fmt.Sprintf(a.say, by), err
	})
}

// assign names a host and gives it a role. A MAC that was never seen is announced first.
func (s *Server) assign(ctx context.Context, ref string, a inventory.Assignment, want IfMatchIn) (inventory.Host, error) {
	var out inventory.Host
	now := s.cfg.Now()
	err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		h, err := tx.FindHost(ref)
		if mac, perr := inventory.ParseMAC(ref); errors.Is(err, inventory.ErrNotFound) && perr == nil {
			if err := want.match(nil); err != nil {
				return err
			}
			if h, err = inventory.Expect(tx, inventory.Announce{MAC: mac}, now); err == nil {
				err = note(tx, ctx, &h, "Announced by "+caller(ctx).By+".", now)
			}
		}
		if err != nil {
			return err
		}
		if err := want.match(&h); err != nil {
			return err
		}
		var job *inventory.Job
		if out, job, err = inventory.Assign(tx, h.ID, a, caller(ctx).By, false, now); err != nil {
			return err
		}
		text := assignText(&h, &out, job)
		if text == "" {
			return nil
		}
		return note(tx, ctx, &out, text+" By "+caller(ctx).By+".", now)
	})
	return out, err
}

// assignText says what an assignment changed, "" when nothing.
func assignText(old, h *inventory.Host, job *inventory.Job) string {
	var text string
	if old.Name != h.Name {
		text += fmt.Sprintf("Named %q. ", h.Name)
	}
	if old.Role != h.Role && h.Role != "" {
		text += fmt.Sprintf("Role %s assigned. ", h.Role)
	} else if old.Role != h.Role {
		text += "Role taken away. "
	}
	if old.KernelArgs != h.KernelArgs {
		text += "Kernel arguments changed. "
	}
	if old.Notes != h.Notes {
		text += "Notes changed. "
	}
	if fmt.Sprint(old.Pins) != fmt.Sprint(h.Pins) {
		text += "Pinned disks changed. "
	}
	if !reflect.DeepEqual(old.Address, h.Address) {
		text += "Fixed address changed. "
	}
	if job != nil {
		text += "An install job was made. "
	}
	if text == "" {
		return ""
	}
	return text[:len(text)-1]
}

// expect announces a host.
func (s *Server) expect(ctx context.Context, a inventory.Announce) (inventory.Host, error) {
	var h inventory.Host
	now := s.cfg.Now()
	err := s.cfg.Store.Update(func(tx *inventory.Tx) (err error) {
		if h, err = inventory.Expect(tx, a, now); err != nil {
			return err
		}
		return note(tx, ctx, &h, "Announced by "+caller(ctx).By+".", now)
	})
	return h, err
}

// forget removes a host.
func (s *Server) forget(ctx context.Context, ref string, want IfMatchIn) error {
	now := s.cfg.Now()
	return s.cfg.Store.Update(func(tx *inventory.Tx) error {
		h, err := tx.FindHost(ref)
		if err != nil {
			return err
		}
		if err := want.match(&h); err != nil {
			return err
		}
		if err := inventory.Forget(tx, h.ID, now); err != nil {
			return err
		}
		w := caller(ctx)
		return tx.Note(inventory.Entry{Time: now, Kind: "admin", About: h.ID, Text: h.Label() + ": Forgotten by " + w.By + ".", By: w.By, From: w.From})
	})
}

// wake sends the magic packet to all MACs of a host that it may listen on.
func (s *Server) wake(ctx context.Context, ref string) (inventory.Host, error) {
	h, err := s.host(ref)
	if err != nil {
		return h, err
	}
	if len(h.MACs) == 0 {
		return h, fmt.Errorf("host %s has no known MAC to wake: %w", h.Label(), inventory.ErrBadEvent)
	}
	for _, m := range h.MACs {
		if err := s.cfg.Wake(ctx, m); err != nil {
			return h, fmt.Errorf("%w: %w", err, errMachine)
		}
	}
	return s.change(ctx, string(h.ID), func(_ *inventory.Tx, h inventory.Host, _ time.Time) (inventory.Host, string, error) {
		return h, "A wake-up packet was sent for " + caller(ctx).By + ".", nil
	})
}

// operate hands an act on the running machine to the one who can.
func (s *Server) operate(ctx context.Context, ref string, op Operation) (inventory.Host, error) {
	h, err := s.host(ref)
	if err != nil {
		return h, err
	}
	if s.cfg.Operator == nil {
		return h, fmt.Errorf("%s: this appliance has nothing that does it on running machines: %w", op.Act, ErrNotHere)
	}
	op.Host, op.By = h.ID, caller(ctx).By
	if err := s.cfg.Operator.Operate(ctx, op); err != nil {
		if status(err) == http.StatusInternalServerError {
			err = fmt.Errorf("%w: %w", err, errMachine)
		}
		return h, err
	}
	say := map[string]string{ActReboot: "A reboot", ActPowerOff: "A power-off"}[op.Act]
	return s.change(ctx, string(h.ID), func(_ *inventory.Tx, h inventory.Host, _ time.Time) (inventory.Host, string, error) {
		return h, say + " was asked for by " + op.By + ".", nil
	})
}

// host reads the host that ref means.
func (s *Server) host(ref string) (h inventory.Host, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err = tx.FindHost(ref)
		return err
	})
	return h, err
}
