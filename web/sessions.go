package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/inventory"
)

// What a session remembers of how it was opened, beside sessionMark.
const (
	sessionOpened = "opened" // int64, Unix seconds
	sessionFrom   = "from"   // address
	sessionAgent  = "agent"  // the browser's own words, cleaned
	sessionWith   = "with"   // "password", "admin token"
)

// open starts a session anew under a fresh cookie, so that one that was planted before is worth nothing.
func (s *Server) open(c echo.Context, mark, with string) error {
	r := c.Request()
	ctx := r.Context()
	if err := s.sessions.RenewToken(ctx); err != nil {
		return fmt.Errorf("sign-in: %w", err)
	}
	s.sessions.Put(ctx, sessionMark, mark)
	s.sessions.Put(ctx, sessionOpened, s.cfg.Now().Unix())
	s.sessions.Put(ctx, sessionFrom, remote(r).String())
	s.sessions.Put(ctx, sessionAgent, inventory.Clean(clip(r.UserAgent(), 160), 200))
	s.sessions.Put(ctx, sessionWith, with)
	return nil
}

// Session is an open session of a browser.
type Session struct {
	ID      string    `json:"id"` // says nothing about the cookie
	Opened  time.Time `json:"opened_at"`
	Ends    time.Time `json:"ends_at"`
	From    string    `json:"from"`
	Agent   string    `json:"agent" doc:"the browser's own words"`
	With    string    `json:"with" doc:"what it was opened with"`
	Current bool      `json:"current" doc:"it makes this request"`
}

// sessionID names a session by its key in the store, which is a hash of the cookie, without telling even that.
func sessionID(key string) string {
	sum := sha256.Sum256([]byte("hatchery session id\n" + key))
	return hex.EncodeToString(sum[:8])
}

// sessionKey is where the store keeps the session of a cookie (scs hashes it so, HashTokenInStore).
func sessionKey(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// openSessions are those that still let somebody in, newest first; current is the key of the caller's own.
func (s *Server) openSessions(current string) (out []Session, err error) {
	pw, err := s.password()
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		return tx.Scan(bucketSessions, "", "", func(k string, v []byte) (bool, error) {
			var r sessionRecord
			if json.Unmarshal(v, &r) != nil || !now.Before(r.Expires) {
				return true, nil
			}
			_, values, err := scs.GobCodec{}.Decode(r.Data)
			mark, ok := values[sessionMark].(string)
			if err != nil || !ok || !s.markGood(mark, pw) {
				return true, nil //nolint:nilerr // it lets nobody in
			}
			out = append(out, viewOfSession(k, values, r.Expires, k == current))
			return true, nil
		})
	})
	slices.SortFunc(out, func(a, b Session) int { return b.Opened.Compare(a.Opened) })
	return out, err
}

func viewOfSession(key string, values map[string]any, ends time.Time, current bool) Session {
	v := Session{ID: sessionID(key), Ends: ends, Current: current}
	if t, ok := values[sessionOpened].(int64); ok {
		v.Opened = time.Unix(t, 0)
	}
	v.From, _ = values[sessionFrom].(string)
	v.Agent, _ = values[sessionAgent].(string)
	v.With, _ = values[sessionWith].(string)
	return v
}

// markGood reports whether a session that carries the mark lets its holder in.
func (s *Server) markGood(mark string, pw passwordRecord) bool {
	return mark != "" && (mark == s.token.mark() || mark == pw.mark())
}

// sessionOf is the key of the caller's own session in the store; it fits none when there is no session.
func (s *Server) sessionOf(ctx context.Context) string { return sessionKey(s.sessions.Token(ctx)) }

// endSession ends one session, its open pages too. ErrNotFound.
func (s *Server) endSession(ctx context.Context, id string) (Session, error) {
	all, err := s.openSessions(s.sessionOf(ctx))
	if err != nil {
		return Session{}, err
	}
	i := slices.IndexFunc(all, func(v Session) bool { return v.ID == id })
	if i < 0 {
		return Session{}, fmt.Errorf("session %q is %w; it ended since", clip(id, 40), inventory.ErrNotFound)
	}
	if err := s.store.drop(func(key string, _ bool) bool { return sessionID(key) == id }); err != nil {
		return Session{}, err
	}
	s.endStreams()
	return all[i], s.noteSite(ctx, topicAccess, "A session opened from "+all[i].From+" was ended by "+caller(ctx).By+".")
}

// endSessions ends every session, the caller's too.
func (s *Server) endSessions(ctx context.Context) error {
	if err := s.store.drop(func(string, bool) bool { return true }); err != nil {
		return err
	}
	s.endStreams()
	return s.noteSite(ctx, topicAccess, "All sessions were ended by "+caller(ctx).By+".")
}

// revokeSession ends one session for the settings page.
func (s *Server) revokeSession(c echo.Context) error {
	ctx, id := c.Request().Context(), c.Param("id")
	if id == sessionID(s.sessionOf(ctx)) {
		return s.logout(c)
	}
	if _, err := s.endSession(ctx, id); err != nil {
		return err
	}
	s.flash(c, "The session is ended.")
	return c.Redirect(http.StatusSeeOther, "/settings")
}

// refusals bounds what strangers can write into the activity: a few lines at once, then one in ten minutes.
type refusals struct {
	mu     sync.Mutex
	l      *rate.Limiter
	unsaid int
}

func newRefusals() *refusals { return &refusals{l: rate.NewLimiter(rate.Every(10*time.Minute), 5)} }

// say reports whether to write a line now, and how many were left out since the last.
func (r *refusals) say(now time.Time) (unsaid int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.l.AllowN(now, 1) {
		r.unsaid++
		return 0, false
	}
	unsaid, r.unsaid = r.unsaid, 0
	return unsaid, true
}

// refused notes a failed attempt to get in.
func (s *Server) refused(from netip.Addr, text string) {
	now := s.cfg.Now()
	unsaid, ok := s.refusals.say(now)
	if !ok {
		return
	}
	s.log.Warn("sign-in refused", "ip", from, "err", text)
	if unsaid > 0 {
		text += " " + plural(unsaid, "refusal") + " before it are not listed."
	}
	if err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: now, Kind: "admin." + topicAccess, Text: text, By: "unknown", From: from, Level: "warn"})
	}); err != nil {
		s.log.Warn("refused sign-in could not be noted", "ip", from, "err", err)
	}
}
