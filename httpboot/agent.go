package httpboot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/inventory"
)

// refuse answers an agent with a problem; detail is shown on the machine's screen.
func (s *Server) refuse(c echo.Context, code int, detail string, a agentapi.Action) error {
	s.count.refused.Add(1)
	c.Response().Header().Set("Content-Type", "application/problem+json")
	return c.JSON(code, agentapi.Problem{Title: http.StatusText(code), Status: code, Detail: detail, Action: a})
}

// body reads a request's body up to limit bytes.
func body(c echo.Context, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, c.Request().Body, limit))
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return nil, fmt.Errorf("a body of more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("the body did not arrive whole: %w", err)
	}
	return b, nil
}

// checkIn answers POST /agent/v1/checkin.
func (s *Server) checkIn(c echo.Context) error {
	now := s.cfg.Now()
	from, _ := endpoints(c.Request())
	if !s.checkins.allow(from, now) {
		return s.refuse(c, http.StatusTooManyRequests, "too many check-ins from this address in a short time; it tries again", "")
	}
	raw, err := body(c, agentapi.MaxCheckIn)
	if err != nil {
		s.warnf("check-in refused", "ip", from, "err", err)
		return s.refuse(c, http.StatusRequestEntityTooLarge, err.Error(), "")
	}
	msg, err := agentapi.DecodeCheckIn(raw)
	if err != nil {
		s.warnf("check-in refused", "ip", from, "err", err)
		return s.refuse(c, http.StatusBadRequest, err.Error(), "")
	}
	if err := agentapi.Verify(msg.HostKey, agentapi.PathCheckIn, raw, c.Request().Header.Get(agentapi.SignatureHeader)); err != nil {
		s.warnf("check-in refused", "ip", from, "err", err)
		return s.refuse(c, http.StatusForbidden, err.Error(), "")
	}
	h, err := s.takeCheckIn(msg, from, now)
	if err != nil {
		return s.refuseCheckIn(c, from, err)
	}
	s.cfg.Log.Info("check-in", "host", h.Label(), "mac", h.MAC, "ip", from, "state", h.State)
	s.count.checkIns.Add(1)
	return c.JSON(http.StatusOK, agentapi.CheckInReply{HostID: h.ID, Status: s.statusOf(&h), AuthorizedKeys: s.cfg.AuthorizedKeys()})
}

func (s *Server) refuseCheckIn(c echo.Context, from netip.Addr, err error) error {
	s.warnf("check-in refused", "ip", from, "err", err)
	var wrongSource *sourceError
	switch {
	case errors.As(err, &wrongSource), errors.Is(err, inventory.ErrNonce):
		return s.refuse(c, http.StatusForbidden, err.Error(), "")
	case errors.Is(err, inventory.ErrBadEvent):
		return s.refuse(c, http.StatusConflict, err.Error(), agentapi.ActionNothing)
	case errors.Is(err, inventory.ErrConflict):
		return s.refuse(c, http.StatusConflict, err.Error(), "")
	}
	s.cfg.Log.Error("check-in", "ip", from, "err", err)
	return s.refuse(c, http.StatusInternalServerError, "the appliance could not store the check-in; it tries again", "")
}

// takeCheckIn holds the source against the network's evidence and stores the report.
func (s *Server) takeCheckIn(msg agentapi.CheckIn, from netip.Addr, now time.Time) (inventory.Host, error) {
	hash := agentapi.NonceHash(msg.Nonce)
	nonce, macs, err := s.boot(hash, now)
	if err != nil {
		return inventory.Host{}, err
	}
	unverified, err := s.judge(from, nonce, macs)
	if err != nil {
		s.noteSource(nonce.HostID, from, err, now)
		return inventory.Host{}, err
	}
	s.loads.end(nonce.HostID) // who checks in has all of it; before the store says so
	var h inventory.Host
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		before, err := tx.Host(nonce.HostID)
		if err != nil {
			return err
		}
		r := inventory.Report{NonceHash: hash, HostKey: msg.HostKey, BootID: msg.BootID, Facts: msg.Facts, From: from, SourceUnverified: unverified}
		if h, err = inventory.CheckIn(tx, r, now); err != nil {
			return err
		}
		again := before.BootID == msg.BootID && before.HostKey == msg.HostKey
		if again && now.Sub(before.ReportedAt) < time.Minute && sameDisks(before.Facts, h.Facts) {
			return nil // the reply was lost: nothing new to tell
		}
		return tx.Note(checkInEntry(&h, from, again, unverified, now))
	})
	return h, err
}

func sameDisks(a, b *inventory.Facts) bool {
	return a != nil && b != nil && slices.EqualFunc(a.Disks, b.Disks, func(x, y inventory.Disk) bool { return x.ID == y.ID && x.Name == y.Name && x.Serial == y.Serial })
}

// boot reads the nonce of a boot and the MACs of its host.
func (s *Server) boot(hash string, now time.Time) (n inventory.Nonce, macs []inventory.MAC, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		if n, err = inventory.LookupNonce(tx, hash, now); err != nil {
			return err
		}
		h, err := tx.Host(n.HostID)
		if errors.Is(err, inventory.ErrNotFound) {
			return fmt.Errorf("its host was forgotten here; power the machine on again to netboot it: %w", inventory.ErrNonce)
		}
		macs = h.MACs
		return err
	})
	return n, macs, err
}

func (s *Server) noteSource(id inventory.HostID, from netip.Addr, why error, now time.Time) {
	err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: now, HostID: id, Kind: "checkin", Level: "warn", By: "stage-0", From: from,
			Text: "A check-in in its name was refused: " + why.Error() + "."})
	})
	if err != nil {
		s.cfg.Log.Error("noting a refused check-in", "ip", from, "err", err)
	}
}

func checkInEntry(h *inventory.Host, from netip.Addr, again, unverified bool, now time.Time) inventory.Entry {
	f := h.Facts
	word := "Checked in"
	if again {
		word = "Checked in again"
	}
	e := inventory.Entry{Time: now, HostID: h.ID, Kind: "checkin", By: "stage-0", From: from,
		Text: fmt.Sprintf("%s from %s: %s, %s, %.1f GB memory, %s, %s.", word, from, productOf(f), count(f.CPU.Threads, "CPU thread"),
			float64(f.MemoryBytes)/1e9, count(len(f.Disks), "disk"), count(len(f.NICs), "network interface"))}
	if unverified {
		e.Text += " Its address could not be checked: it is not of a network of ours, or nothing knows it."
	}
	if h.Attention != "" {
		e.Level, e.Text = "warn", e.Text+" "+h.Attention
	}
	return e
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func productOf(f *inventory.Facts) string {
	p := inventory.Clean(f.Vendor+" "+f.Product, 100)
	if p == "" {
		return "a " + f.Arch + " machine"
	}
	return p
}

// progress answers POST /agent/v1/progress.
func (s *Server) progress(c echo.Context) error {
	now := s.cfg.Now()
	from, _ := endpoints(c.Request())
	if !s.reports.allow(from, now) {
		return s.refuse(c, http.StatusTooManyRequests, "too many reports from this address in a short time; it tries again", "")
	}
	raw, err := body(c, agentapi.MaxProgress)
	if err != nil {
		return s.refuse(c, http.StatusRequestEntityTooLarge, err.Error(), "")
	}
	msg, err := agentapi.DecodeProgress(raw)
	if err != nil {
		return s.refuse(c, http.StatusBadRequest, err.Error(), "")
	}
	hash := agentapi.NonceHash(msg.Nonce)
	nonce, macs, err := s.boot(hash, now)
	if err == nil && nonce.HostKey == "" {
		err = fmt.Errorf("this boot did not check in yet: %w", inventory.ErrNonce)
	}
	if err == nil {
		err = agentapi.Verify(nonce.HostKey, agentapi.PathProgress, raw, c.Request().Header.Get(agentapi.SignatureHeader))
		if err != nil {
			s.warnf("report refused", "ip", from, "err", err)
			return s.refuse(c, http.StatusForbidden, err.Error(), "")
		}
		if _, err := s.judge(from, nonce, macs); err != nil {
			s.warnf("report refused", "ip", from, "err", err)
			return s.refuse(c, http.StatusForbidden, err.Error(), "")
		}
		if !s.fresh(hash, msg.Seq) {
			return s.refuse(c, http.StatusConflict, "an old report came again", "")
		}
	}
	var h inventory.Host
	if err == nil {
		h, err = s.heard(nonce, msg, from, now)
	}
	switch {
	case errors.Is(err, inventory.ErrNonce):
		return s.refuse(c, http.StatusConflict, err.Error(), agentapi.ActionCheckIn)
	case err != nil:
		s.cfg.Log.Error("report", "ip", from, "err", err)
		return s.refuse(c, http.StatusInternalServerError, "the appliance could not store the report; it tries again", "")
	}
	s.count.checkIns.Add(1)
	return c.JSON(http.StatusOK, agentapi.ProgressReply{Status: s.statusOf(&h)})
}

// fresh reports whether a report's number is above the last one's; after a restart of the
// appliance any number is.
func (s *Server) fresh(hash string, seq uint64) bool {
	ok := true
	s.seqs.swap(hash, func(old uint64, known bool) uint64 {
		if known && seq <= old {
			ok = false
			return old
		}
		return seq
	})
	return ok
}

func (s *Server) heard(n inventory.Nonce, msg agentapi.Progress, from netip.Addr, now time.Time) (inventory.Host, error) {
	var h inventory.Host
	var refused error
	err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		var err error
		h, err = inventory.Heard(tx, n.HostID, n.HostKey, msg.BootID, from, now)
		if errors.Is(err, inventory.ErrNonce) { // what Heard noticed is kept
			refused = err
			return nil
		}
		if err != nil {
			return err
		}
		for _, l := range msg.Log {
			if l == "" {
				continue
			}
			if err := tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "progress", By: "stage-0", From: from, Text: l}); err != nil {
				return err
			}
		}
		return nil
	})
	return h, errors.Join(err, refused)
}

// join answers POST /agent/v1/join: a USB image's agent gets the nonce of this boot.
func (s *Server) join(c echo.Context) error {
	now := s.cfg.Now()
	from, _ := endpoints(c.Request())
	if !s.checkins.allow(from, now) {
		return s.refuse(c, http.StatusTooManyRequests, "too many joins from this address in a short time; it tries again", "")
	}
	raw, err := body(c, agentapi.MaxJoin)
	if err != nil {
		return s.refuse(c, http.StatusRequestEntityTooLarge, err.Error(), "")
	}
	msg, err := agentapi.DecodeJoin(raw)
	if err != nil {
		return s.refuse(c, http.StatusBadRequest, err.Error(), "")
	}
	if err := s.cfg.JoinToken(agentapi.TokenHash(msg.Token), now); err != nil {
		s.warnf("join refused", "ip", from, "err", err)
		return s.refuse(c, http.StatusForbidden, err.Error(), "")
	}
	reply, err := s.takeJoin(msg, from, now)
	if err != nil {
		s.cfg.Log.Error("join", "ip", from, "err", err)
		return s.refuse(c, http.StatusInternalServerError, "the appliance could not store the join; it tries again", "")
	}
	return c.JSON(http.StatusOK, reply)
}
