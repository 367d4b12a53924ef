package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// policy is the Content-Security-Policy of every page: nothing but our own files, no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxBody bounds what a person or program may send.
const maxBody = 1 << 20

// ours reports whether a Host header means this appliance: any literal address, or one of its names.
// A rebound DNS name of a stranger is neither (seen: it passes every origin check).
func (s *Server) ours(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slices.Contains(s.names, host)
}

// guard is the outermost middleware: security headers, the Host allow-list, the size of bodies, cross-origin posts.
func (s *Server) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, h := c.Request(), c.Response().Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if isLocal(r.Context()) || strings.HasPrefix(r.URL.Path, "/agent/v1/") {
			return next(c) // no browser speaks there
		}
		if !s.ours(r.Host) {
			return echo.NewHTTPError(http.StatusMisdirectedRequest, "This appliance is not called "+clip(r.Host, 80)+
				". Use its address, or add the name to its configuration (web names).")
		}
		if err := s.origin.Check(r); err != nil {
			return echo.NewHTTPError(http.StatusForbidden, "This request came from another site and was refused. Open the page on the appliance itself and try again.")
		}
		if !takesBackup(r.URL.Path) {
			if r.ContentLength > maxBody { // a form would be cut, and refused for what is missing in it
				return echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("What you sent is %s; at most %s is taken here. Nothing was done.", diskText(uint64(r.ContentLength)), diskText(maxBody)))
			}
			r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		}
		return next(c)
	}
}

// who says who makes a request, for the diary, and what the caller may do.
type who struct {
	By    string // "admin" (a session or the file's token), "admin (socket)", "token NAME"
	From  netip.Addr
	Scope Scope
	Until time.Time // when the caller's token ends; zero = never
	fault *error    // set to why the API could not do what it should have, for the log
}

type whoKey struct{}

func caller(ctx context.Context) who {
	w, _ := ctx.Value(whoKey{}).(who)
	return w
}

// identify finds out who makes the request; ok is false when nobody we know does.
func (s *Server) identify(c echo.Context) (w who, ok bool, err error) {
	r := c.Request()
	w.From = remote(r)
	if isLocal(r.Context()) {
		w.By, w.Scope = "admin (socket)", ScopeAdmin
		return w, true, nil
	}
	scheme, presented, found := strings.Cut(r.Header.Get("Authorization"), " ")
	found = found && strings.EqualFold(scheme, "Bearer") // RFC 9110 §11.1
	if presented = strings.TrimSpace(presented); found && !s.token.is(presented) {
		t, ok, err := s.findToken(presented)
		w.By, w.Scope, w.Until = "token "+t.Name, t.Scope, t.Expires
		return w, ok, err
	}
	w.By, w.Scope = "admin", ScopeAdmin
	mark := s.sessions.GetString(r.Context(), sessionMark)
	if found || s.markGood(mark, passwordRecord{}) {
		return w, true, nil
	}
	if mark == "" {
		return w, false, nil
	}
	pw, err := s.password()
	return w, s.markGood(mark, pw), err
}

// remote is the address that a request came from; not valid for one through the socket.
func remote(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// admit lets only those in who are known and whose scope is enough; others are sent to the login, or told what is missing.
func (s *Server) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		w, ok, err := s.identify(c)
		if err != nil {
			return err
		}
		if ok {
			if want := needs(r.Method, strings.Replace(c.Path(), ":act", c.Param("act"), 1)); !w.Scope.covers(want) {
				return echo.NewHTTPError(http.StatusForbidden, "This needs scope "+string(want)+"; "+w.By+" has scope "+string(w.Scope)+". Use a token of that scope.")
			}
			w.fault = new(error)
			c.SetRequest(r.WithContext(context.WithValue(r.Context(), whoKey{}, w)))
			err := next(c)
			if *w.fault != nil {
				s.log.Error("request failed", "step", r.Method+" "+c.Path(), "err", *w.fault)
			}
			return err
		}
		if strings.HasPrefix(r.URL.Path, "/api/") {
			if !s.attempts.allow(w.From, s.cfg.Now()) {
				return echo.NewHTTPError(http.StatusTooManyRequests, "Too many requests without a valid token from this address. Wait half a minute and try again.")
			}
			if r.Header.Get("Authorization") != "" {
				s.refused(w.From, "A request with a wrong token was refused.")
			}
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="hatchery"`)
			return echo.NewHTTPError(http.StatusUnauthorized, "This needs the header Authorization: Bearer TOKEN with a token that was neither revoked nor is over. The first token is in the file admin-token of the appliance's data directory.")
		}
		if r.URL.Path == "/live" || strings.HasSuffix(r.URL.Path, "/log/stream") {
			return c.NoContent(http.StatusNoContent) // tells an EventSource to stop trying
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return c.Redirect(http.StatusSeeOther, "/login?out=1&to="+queryEscape(cameFrom(r)))
		}
		to := "/login"
		if r.URL.Path != "/" {
			to += "?to=" + queryEscape(r.URL.RequestURI())
		}
		return c.Redirect(http.StatusSeeOther, to)
	}
}

// attempts limits failed logins per address: five at once, then one every six seconds.
type attempts struct {
	mu sync.Mutex
	by map[netip.Addr]*rate.Limiter
}

func newAttempts() *attempts { return &attempts{by: map[netip.Addr]*rate.Limiter{}} }

// retryAfter is how many seconds until the next attempt may be made.
const retryAfter = "6"

// maxAddrs bounds the limiters kept; all are dropped then, which gives a few attempts more.
const maxAddrs = 4096

// allow takes one attempt; false when there is none left.
func (a *attempts) allow(from netip.Addr, now time.Time) bool {
	_, ok := a.take(from, now)
	return ok
}

// take is allow for who finds out that the attempt was none: back gives it back.
func (a *attempts) take(from netip.Addr, now time.Time) (back func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if from.Is6() { // one customer has a whole /64
		if p, err := from.WithZone("").Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	l := a.by[from]
	if l == nil {
		if len(a.by) >= maxAddrs {
			clear(a.by)
		}
		l = rate.NewLimiter(rate.Every(6*time.Second), 5)
		a.by[from] = l
	}
	r := l.ReserveN(now, 1)
	back = func() { r.CancelAt(now) }
	if ok = r.DelayFrom(now) == 0; !ok {
		back()
	}
	return back, ok
}
