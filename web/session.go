package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	bucketSessions inventory.Bucket = "web_sessions" // hash of the cookie → sessionRecord
	sessionMark                     = "token"        // session key: the mark of the token it was opened with
	sessionLife                     = 30 * 24 * time.Hour
)

// sessionStore keeps sessions in the inventory's store, so that a restart signs nobody out.
type sessionStore struct {
	store inventory.Store
	now   func() time.Time

	mu    sync.Mutex
	ended map[string]time.Time // sessions that were ended within endedFor, and when
}

// endedFor is how long a session that was ended is known as such: longer than a request takes.
const endedFor = 24 * time.Hour

// end has no request that began before store the session anew.
func (s *sessionStore) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.ended == nil {
		s.ended = map[string]time.Time{}
	}
	maps.DeleteFunc(s.ended, func(_ string, at time.Time) bool { return now.Sub(at) > endedFor })
	s.ended[key] = now
}

func (s *sessionStore) wasEnded(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, yes := s.ended[key]
	return yes
}

type sessionRecord struct {
	Data    []byte    `json:"data"`
	Expires time.Time `json:"expires"`
}

// Delete implements scs.Store.
func (s *sessionStore) Delete(token string) error {
	return s.store.Update(func(tx *inventory.Tx) error {
		s.end(token)
		return tx.Delete(bucketSessions, token)
	})
}

// Find implements scs.Store.
func (s *sessionStore) Find(token string) (b []byte, found bool, err error) {
	var r sessionRecord
	err = s.store.View(func(tx *inventory.Tx) error {
		found, err = tx.GetJSON(bucketSessions, token, &r)
		return err
	})
	if err != nil || !found || !s.now().Before(r.Expires) {
		return nil, false, err
	}
	return r.Data, true, nil
}

// Commit implements scs.Store. One that was ended while the request ran stays ended: the request read it before, and a slow
// one would bring it back.
func (s *sessionStore) Commit(token string, b []byte, expiry time.Time) error {
	return s.store.Update(func(tx *inventory.Tx) error {
		if s.wasEnded(token) {
			return nil
		}
		return tx.PutJSON(bucketSessions, token, sessionRecord{Data: b, Expires: expiry})
	})
}

// drop ends the sessions that which says true to; over tells it that one is past its end or unreadable.
func (s *sessionStore) drop(which func(key string, over bool) bool) error {
	return s.store.Update(func(tx *inventory.Tx) error {
		var keys []string
		if err := tx.Scan(bucketSessions, "", "", func(k string, v []byte) (bool, error) {
			var r sessionRecord
			if which(k, json.Unmarshal(v, &r) != nil || !s.now().Before(r.Expires)) {
				keys = append(keys, k)
			}
			return true, nil
		}); err != nil {
			return err
		}
		for _, k := range keys {
			s.end(k)
			if err := tx.Delete(bucketSessions, k); err != nil {
				return err
			}
		}
		return nil
	})
}

func isOver(_ string, over bool) bool { return over }

// sweep removes sessions that are over, once a day. When it cannot (a full disk), the next day does.
func (s *Server) sweep(ctx context.Context) {
	t := time.NewTicker(24 * time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.store.drop(isOver); err != nil {
				s.log.Warn("old sessions could not be removed", "err", err)
			}
		}
	}
}

// newSessions does without scs.New, which starts a goroutine for a store that we do not use.
func newSessions(store scs.Store, secure bool, log *slog.Logger) *scs.SessionManager {
	name := "hatchery"
	if secure {
		name = "__Host-hatchery" // RFC 6265bis §4.1.3.2: bound to this host, Secure, Path=/
	}
	return &scs.SessionManager{Store: store, Lifetime: sessionLife, HashTokenInStore: true, Codec: scs.GobCodec{},
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Error("sessions could not be read", "err", err)
			http.Error(w, "The appliance could not read who is signed in. "+sentence(err), status(err))
		},
		Cookie: scs.SessionCookie{Name: name, HttpOnly: true, Path: "/", Persist: true, SameSite: http.SameSiteStrictMode, Secure: secure}}
}

// tooMany is the answer to whoever guesses.
const tooMany = "Too many attempts from this address. Wait half a minute and try again."

type loginPage struct {
	base
	To, Error   string
	HasPassword bool
	Out         bool // somebody who was signed out meanwhile sent a form
}

func (s *Server) showLogin(c echo.Context) error {
	if _, ok, err := s.identify(c); err != nil {
		return err
	} else if ok {
		return c.Redirect(http.StatusSeeOther, "/")
	}
	return s.loginForm(c, http.StatusOK, localPath(c.QueryParam("to")), "")
}

func (s *Server) loginForm(c echo.Context, code int, to, text string) error {
	return s.render(c, code, "login", loginPage{base: s.base(c, "Sign in", ""), To: to, Error: text, HasPassword: s.FirstRunCode() == "", Out: text == "" && c.QueryParam("out") != ""})
}

func (s *Server) login(c echo.Context) error {
	from, to := remote(c.Request()), localPath(c.FormValue("to"))
	right, ok := s.attempts.take(from, s.cfg.Now())
	if !ok {
		c.Response().Header().Set("Retry-After", retryAfter)
		return s.loginForm(c, http.StatusTooManyRequests, to, tooMany)
	}
	mark, with, err := s.known(c.FormValue("token"))
	if err != nil {
		return err
	}
	if with == "" {
		s.refused(from, "A sign-in was refused: wrong password or token.")
		text := "That is not the admin token. It is the one line of the file admin-token in the appliance's data directory."
		if s.FirstRunCode() == "" {
			text = "That is neither the password nor the admin token. The token is the one line of the file admin-token in the appliance's data directory."
		}
		return s.loginForm(c, http.StatusUnprocessableEntity, to, text)
	}
	right() // only wrong ones are limited
	ctx := context.WithValue(c.Request().Context(), whoKey{}, who{By: "admin", From: from})
	if err := s.noteSite(ctx, topicAccess, "Signed in with the "+with+"."); err != nil {
		return err
	}
	if err := s.open(c, mark, with); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, to)
}

// known finds out what was typed: with is "admin token", "password", or "" when it is neither; mark is for the session.
func (s *Server) known(typed string) (mark, with string, err error) {
	if s.token.is(strings.TrimSpace(typed)) {
		return s.token.mark(), "admin token", nil
	}
	pw, err := s.password()
	if err != nil || !s.hasher.is(pw, secret(typed)) {
		return "", "", err
	}
	return pw.mark(), "password", nil
}

// endStreams makes all open streams end; those who may still read come back by themselves.
func (s *Server) endStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signOut()
	s.signedIn, s.signOut = context.WithCancel(context.Background())
}

// whileSignedIn is a context of a stream, which ends with the next sign-out and with the caller's token too.
func (s *Server) whileSignedIn(ctx context.Context) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := func() {}
	if until := caller(ctx).Until; !until.IsZero() {
		ctx, end = context.WithTimeout(ctx, until.Sub(s.cfg.Now()))
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.signedIn, cancel)
	return ctx, func() { stop(); cancel(); end() }
}

func (s *Server) logout(c echo.Context) error {
	if err := s.sessions.Destroy(c.Request().Context()); err != nil {
		return fmt.Errorf("sign-out: %w", err)
	}
	s.endStreams()
	if err := s.noteSite(c.Request().Context(), topicAccess, "Signed out."); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}

// cameFrom is the page of ours that a form was on, as far as the browser says so.
func cameFrom(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host {
		return "/"
	}
	return localPath(u.RequestURI())
}

// localPath is where to go after the login: only ever a path of ours.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
		return "/"
	}
	return to
}
