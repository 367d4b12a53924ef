package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"golang.org/x/crypto/bcrypt"

	"github.com/staged-hive/hatchery/inventory"
)

const bucketPassword inventory.Bucket = "web_password" // passwordKey → passwordRecord

const (
	passwordKey  = "admin"
	passwordCost = 12 // of bcrypt: about a quarter of a second
	passwordMin  = 10 // characters
	passwordMax  = 72 // bytes: bcrypt reads no more
)

// passwordRecord is the admin's password as it is stored.
type passwordRecord struct {
	Hash string    `json:"hash"` // bcrypt
	Set  time.Time `json:"set"`
}

// mark identifies the password without telling it: sessions carry it, so that a new password ends them. "" when none is set.
func (p passwordRecord) mark() string {
	if p.Hash == "" {
		return ""
	}
	return secret(p.Hash).mark()
}

// password reads what is stored; the zero record when no password is set.
func (s *Server) password() (p passwordRecord, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		_, err := tx.GetJSON(bucketPassword, passwordKey, &p)
		return err
	})
	return p, err
}

// hasher makes and compares password hashes, one at a time: strangers must not keep all processors busy.
type hasher struct {
	mu   sync.Mutex
	cost int
}

func (h *hasher) hash(p secret) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := bcrypt.GenerateFromPassword([]byte(p), h.cost)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return string(b), nil
}

func (h *hasher) is(rec passwordRecord, typed secret) bool {
	if rec.Hash == "" || len(typed) == 0 || len(typed) > passwordMax {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return bcrypt.CompareHashAndPassword([]byte(rec.Hash), []byte(typed)) == nil
}

// checkPassword refuses a password that is too short or longer than bcrypt reads.
func checkPassword(p, again secret) error {
	switch {
	case utf8.RuneCountInString(string(p)) < passwordMin:
		return fmt.Errorf("the password is too short: want %d characters or more: %w", passwordMin, inventory.ErrInvalid)
	case len(p) > passwordMax:
		return fmt.Errorf("the password is too long: want %d bytes or fewer: %w", passwordMax, inventory.ErrInvalid)
	case p != again:
		return fmt.Errorf("the two passwords differ: %w", inventory.ErrInvalid)
	}
	return nil
}

// setPassword stores a password, and voids the first-run code. Where first is true one that is set already is not replaced: ErrConflict.
func (s *Server) setPassword(ctx context.Context, p secret, first bool, text string) (passwordRecord, error) {
	now := s.cfg.Now()
	hash, err := s.hasher.hash(p)
	if err != nil {
		return passwordRecord{}, err
	}
	rec := passwordRecord{Hash: hash, Set: now}
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		found, err := tx.GetJSON(bucketPassword, passwordKey, &passwordRecord{})
		if err == nil && found && first {
			err = fmt.Errorf("a password is set already; sign in with it: %w", inventory.ErrConflict)
		}
		if err != nil {
			return err
		}
		if err := tx.PutJSON(bucketPassword, passwordKey, rec); err != nil {
			return err
		}
		return noteAccess(tx, ctx, now, text)
	})
	if err == nil {
		s.firstRun.void()
	}
	return rec, err
}

// firstRun is the code that sets the first password: known to whoever sees the console or the log.
type firstRun struct {
	mu   sync.Mutex
	code secret // "" = void
}

func newFirstRun(set bool) *firstRun {
	if set {
		return &firstRun{}
	}
	t := rand.Text()
	return &firstRun{code: secret(t[:5] + "-" + t[5:10])} // 50 bits, and attempts are limited
}

func (f *firstRun) get() secret {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.code
}

func (f *firstRun) void() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.code = ""
}

// is compares as people type: any case, with or without the dash.
func (f *firstRun) is(typed string) bool {
	plain := func(t string) string { return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(t)) }
	code := f.get()
	return code != "" && secret(plain(string(code))).is(plain(strings.TrimSpace(typed)))
}

// FirstRunCode is the one-time code that sets the admin password at /first-run; "" once a password is set.
// It is made anew at every start until then.
func (s *Server) FirstRunCode() string { return string(s.firstRun.get()) }

type firstRunPage struct {
	base
	Error string
}

func (s *Server) showFirstRun(c echo.Context) error {
	if s.FirstRunCode() == "" {
		return c.Redirect(http.StatusSeeOther, "/login")
	}
	return s.render(c, http.StatusOK, "firstrun", firstRunPage{base: s.base(c, "First start", "")})
}

// setFirstPassword takes the code and the password, and signs in.
func (s *Server) setFirstPassword(c echo.Context) error {
	from := remote(c.Request())
	fail := func(code int, text string) error {
		return s.render(c, code, "firstrun", firstRunPage{base: s.base(c, "First start", ""), Error: text})
	}
	if s.FirstRunCode() == "" {
		return c.Redirect(http.StatusSeeOther, "/login")
	}
	if !s.attempts.allow(from, s.cfg.Now()) {
		c.Response().Header().Set("Retry-After", retryAfter)
		return fail(http.StatusTooManyRequests, tooMany)
	}
	if !s.firstRun.is(c.FormValue("code")) {
		s.refused(from, "A wrong first-run code was refused.")
		return fail(http.StatusUnprocessableEntity, "That is not the first-run code. The appliance showed it on its console and in its log when it started last.")
	}
	p := secret(c.FormValue("password"))
	if err := checkPassword(p, secret(c.FormValue("again"))); err != nil {
		return fail(http.StatusUnprocessableEntity, words(err))
	}
	ctx := context.WithValue(c.Request().Context(), whoKey{}, who{By: "admin", From: from})
	rec, err := s.setPassword(ctx, p, true, "The admin password was set with the first-run code.")
	if errors.Is(err, inventory.ErrConflict) {
		return fail(http.StatusConflict, sentence(err))
	} else if err != nil {
		return err
	}
	if err := s.open(c, rec.mark(), "password"); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/setup?first=1")
}

// wrongCurrent is the line in the activity about who may not change the password.
const wrongCurrent = "A change of the password was refused: wrong current password."

// replacePassword sets the password and ends every session.
func (s *Server) replacePassword(ctx context.Context, p secret) (passwordRecord, error) {
	rec, err := s.setPassword(ctx, p, false, "The admin password was set by "+caller(ctx).By+". All sessions opened before were ended.")
	if err != nil {
		return rec, err
	}
	err = s.store.drop(func(string, bool) bool { return true })
	s.endStreams()
	return rec, err
}

// changePassword sets the password on the settings page; whoever does must show the old one or the admin token again.
func (s *Server) changePassword(c echo.Context) error {
	ctx := c.Request().Context()
	w := caller(ctx)
	fail := func(code int, text string) error {
		return s.showSettings(c, code, settingsPage{PasswordError: text})
	}
	if !s.attempts.allow(w.From, s.cfg.Now()) {
		c.Response().Header().Set("Retry-After", retryAfter)
		return fail(http.StatusTooManyRequests, tooMany)
	}
	_, with, err := s.known(c.FormValue("current"))
	if err != nil {
		return err
	}
	if with == "" {
		s.refused(w.From, wrongCurrent)
		return fail(http.StatusUnprocessableEntity, "That is neither the current password nor the admin token.")
	}
	p := secret(c.FormValue("password"))
	if err := checkPassword(p, secret(c.FormValue("again"))); err != nil {
		return fail(http.StatusUnprocessableEntity, words(err))
	}
	rec, err := s.replacePassword(ctx, p)
	if err != nil {
		return err
	}
	if err := s.open(c, rec.mark(), "password"); err != nil {
		return err
	}
	s.flash(c, "The password is changed. All other sessions are ended.")
	return c.Redirect(http.StatusSeeOther, "/settings")
}
