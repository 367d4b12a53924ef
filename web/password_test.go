package web

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/inventory"
)

const goodPassword = "correct horse battery"

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// fresh is the same server seen by another browser.
func (b *box) fresh() *box {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	o, h := *b, *b.http
	h.Jar = jar
	o.http = &h
	return &o
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestFirstRunCodeSetsThePasswordOnce(t *testing.T) {
	t.Parallel()
	clock, log := clocktest.New(t0), &lockedBuffer{}
	b := start(t, func(c *Config) { c.Now, c.Log = clock.Now, slog.New(slog.NewTextHandler(log, nil)) })
	code := b.FirstRunCode()
	if len(code) != 11 || strings.Count(log.String(), code) != 1 {
		t.Fatalf("code %q: want 11 characters, once in the log: %s", code, log)
	}
	if p := b.page("/login"); !strings.Contains(p, "/first-run") || strings.Contains(p, code) {
		t.Error("the login does not point at the first run, or tells the code")
	}
	if p := b.page("/first-run"); strings.Contains(p, code) {
		t.Error("the page tells the code")
	}
	for _, c := range []struct {
		name string
		form url.Values
		says string
	}{
		{"a wrong code", form("code", "AAAAA-AAAAA", "password", goodPassword, "again", goodPassword), "not the first-run code"},
		{"no code", form("password", goodPassword, "again", goodPassword), "not the first-run code"},
		{"a short password", form("code", code, "password", "ninechars", "again", "ninechars"), "too short"},
		{"a password that bcrypt would cut", form("code", code, "password", strings.Repeat("x", 73), "again", strings.Repeat("x", 73)), "too long"},
		{"two passwords", form("code", code, "password", goodPassword, "again", goodPassword+"!"), "differ"},
	} {
		clock.Add(time.Minute)
		if a := b.send("POST", "/first-run", c.form, nil); a.code != 422 || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: got %d %s", c.name, a.code, a.body)
		}
	}
	typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
	if a := b.send("POST", "/first-run", form("code", typed, "password", goodPassword, "again", goodPassword), nil); a.code != 303 || a.header.Get("Location") != "/setup?first=1" {
		t.Fatalf("the code: got %d %s", a.code, a.body)
	}
	b.page("/settings")
	if e := b.lastActs(1)[0]; !strings.Contains(e.Text, "set with the first-run code") || !e.From.IsLoopback() {
		t.Errorf("the activity says %+v", e)
	}
	if got := b.FirstRunCode(); got != "" {
		t.Errorf("the code is still %q", got)
	}
	if a := b.send("POST", "/first-run", form("code", code, "password", "another password", "again", "another password"), nil); a.code != 303 || a.header.Get("Location") != "/login" {
		t.Errorf("the code again: got %d", a.code)
	}
	if got := b.again().FirstRunCode(); got != "" {
		t.Errorf("after a restart there is a code again: %q", got)
	}
}

func TestFirstRunIsRateLimitedWithTheLogin(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Now = func() time.Time { return t0 } })
	for range 5 {
		b.send("POST", "/login", form("token", "wrong"), nil)
	}
	if a := b.send("POST", "/first-run", form("code", b.FirstRunCode(), "password", goodPassword, "again", goodPassword), nil); a.code != 429 {
		t.Errorf("after five wrong logins: got %d, want 429", a.code)
	}
}

func TestPasswordSignsInBesideTheToken(t *testing.T) {
	t.Parallel()
	clock := clocktest.New(t0)
	b := start(t, func(c *Config) { c.Now = clock.Now })
	b.send("POST", "/first-run", form("code", b.FirstRunCode(), "password", goodPassword, "again", goodPassword), nil)
	for name, typed := range map[string]string{"the password": goodPassword, "the token": b.token} {
		clock.Add(time.Minute)
		o := b.fresh()
		if a := o.send("POST", "/login", form("token", typed), nil); a.code != 303 {
			t.Errorf("%s: got %d", name, a.code)
		}
		o.page("/")
	}
	clock.Add(time.Minute)
	for name, typed := range map[string]string{"nothing": "", "the password in capitals": strings.ToUpper(goodPassword), "more than bcrypt reads": goodPassword + strings.Repeat("x", 80)} {
		if a := b.fresh().send("POST", "/login", form("token", typed), nil); a.code != 422 || !strings.Contains(a.body, "neither the password") {
			t.Errorf("%s: got %d", name, a.code)
		}
	}
	if a := b.send("GET", "/api/v1/hosts", nil, as(goodPassword)); a.code != 401 {
		t.Errorf("the password as a bearer: got %d", a.code)
	}
}

func TestChangeOfThePasswordEndsOtherSessions(t *testing.T) {
	t.Parallel()
	clock := clocktest.New(t0)
	b := start(t, func(c *Config) { c.Now = clock.Now })
	b.send("POST", "/first-run", form("code", b.FirstRunCode(), "password", goodPassword, "again", goodPassword), nil)
	byPassword, byToken := b.fresh(), b.fresh()
	byPassword.send("POST", "/login", form("token", goodPassword), nil)
	byToken.signIn()
	token := b.makeToken("stays", ScopeRead, nil).Secret
	if a := b.send("POST", "/settings/password", form("current", "wrong", "password", "the next one", "again", "the next one"), nil); a.code != 422 {
		t.Errorf("a wrong current password: got %d", a.code)
	}
	if a := b.send("POST", "/settings/password", form("current", goodPassword, "password", "short", "again", "short"), nil); a.code != 422 {
		t.Errorf("a short password: got %d", a.code)
	}
	clock.Add(time.Minute)
	if a := b.send("POST", "/settings/password", form("current", goodPassword, "password", "the next one", "again", "the next one"), nil); a.code != 303 {
		t.Fatalf("got %d %s", a.code, a.body)
	}
	b.page("/settings")
	for name, o := range map[string]*box{"by password": byPassword, "by token": byToken} {
		if a := o.send("GET", "/", nil, nil); a.code != 303 {
			t.Errorf("the session %s: got %d, want the login", name, a.code)
		}
	}
	if a := b.send("GET", "/api/v1/hosts", nil, as(token)); a.code != 200 {
		t.Errorf("the API token: got %d", a.code)
	}
	clock.Add(time.Minute)
	if a := b.fresh().send("POST", "/login", form("token", goodPassword), nil); a.code != 422 {
		t.Errorf("the old password: got %d", a.code)
	}
	if a := b.fresh().send("POST", "/login", form("token", "the next one"), nil); a.code != 303 {
		t.Errorf("the new password: got %d", a.code)
	}
}

func TestPasswordIsStoredAsBcryptOfCost12(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Store: start(t, nil).store, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := s.setPassword(t.Context(), goodPassword, true, "set")
	if err != nil || !strings.HasPrefix(rec.Hash, "$2a$12$") {
		t.Errorf("got %q %v", rec.Hash, err)
	}
	if !s.hasher.is(rec, goodPassword) || s.hasher.is(rec, "another") || s.hasher.is(passwordRecord{}, "") {
		t.Error("the hash does not tell right from wrong")
	}
}

func TestSessionsAreListedAndRevoked(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.signIn()
	other := b.fresh()
	other.signIn()
	lines, _ := b.stream("/live?host=", nil)
	until(t, lines, "hello")
	ends := regexp.MustCompile(`/settings/sessions/[0-9a-f]{16}/revoke"><button aria-label="End the session from 127\.0\.0\.1"`)
	p := b.page("/settings")
	if strings.Count(p, "/settings/sessions/") != 2 || strings.Count(p, "this one</span>") != 1 || !strings.Contains(p, "with the admin token") || !strings.Contains(p, "Go-http-client") {
		t.Errorf("the page does not list both sessions: %s", p)
	}
	action, _, _ := strings.Cut(ends.FindString(p), `"`)
	if a := b.send("POST", action, nil, nil); a.code != 303 || a.header.Get("Location") != "/settings" {
		t.Fatalf("ending the other at %q: got %d", action, a.code)
	}
	for range lines { // all streams end and come back with their own right
	}
	if a := other.send("GET", "/", nil, nil); a.code != 303 {
		t.Errorf("the ended session: got %d", a.code)
	}
	if p := b.page("/settings"); strings.Count(p, "/settings/sessions/") != 1 || !strings.Contains(p, "The session is ended.") {
		t.Error("the page still lists it")
	}
	if a := b.send("POST", action, nil, nil); a.code != 404 {
		t.Errorf("ending it again: got %d", a.code)
	}
	own := regexp.MustCompile(`/settings/sessions/[0-9a-f]{16}/revoke`).FindString(b.page("/settings"))
	if a := b.send("POST", own, nil, nil); a.header.Get("Location") != "/login" {
		t.Errorf("ending one's own: got %d to %s", a.code, a.header.Get("Location"))
	}
	if a := b.send("GET", "/", nil, nil); a.code != 303 {
		t.Errorf("after ending one's own: got %d", a.code)
	}
}

func TestRefusedSignInsAreNotedButDoNotFillTheActivity(t *testing.T) {
	t.Parallel()
	clock := clocktest.New(t0)
	b := start(t, func(c *Config) { c.Now = clock.Now })
	from := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		b.refused(from, "A sign-in was refused.")
	}
	if got := len(b.lastActs(200)); got != 5 {
		t.Errorf("got %d lines for 100 refusals, want 5", got)
	}
	clock.Add(10 * time.Minute)
	b.send("POST", "/login", form("token", "wrong"), nil)
	want := inventory.Entry{Kind: "admin.access", Text: "A sign-in was refused: wrong password or token. 95 refusals before it are not listed.", By: "unknown", Level: "warn"}
	got := b.lastActs(1)[0]
	if got.Kind != want.Kind || got.Text != want.Text || got.By != want.By || got.Level != want.Level || !got.From.IsLoopback() {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAttemptsCountAnIPv6NetworkAsOneAddress(t *testing.T) {
	t.Parallel()
	a := newAttempts()
	for i := range byte(5) {
		a.allow(netip.AddrFrom16([16]byte{0: 0xfd, 15: i}), t0)
	}
	if a.allow(netip.MustParseAddr("fd00::99"), t0) || !a.allow(netip.MustParseAddr("fd00:0:0:1::1"), t0) {
		t.Error("want one limit for each /64")
	}
}

// slowRefresh is a hive during whose reading something else happens.
type slowRefresh struct {
	Hive
	meanwhile func()
}

func (r *slowRefresh) Refresh(context.Context) error {
	r.meanwhile()
	return nil
}

// A request that began before its session was ended, and ends after, must not bring it back: whoever has a stolen cookie could keep
// one slow request open.
func TestEndedSessionIsNotBroughtBackByASlowRequest(t *testing.T) {
	t.Parallel()
	hive := &slowRefresh{}
	b := start(t, func(c *Config) { hive.Hive, c.Hive = newFakeSite(), hive })
	end := map[string]func() error{
		"all are ended": func() error { return b.endSessions(t.Context()) },
		"this one is ended": func() error {
			all, err := b.openSessions("")
			if err != nil || len(all) != 1 {
				return fmt.Errorf("%d sessions are open: %w", len(all), err)
			}
			ctx, err := b.sessions.Load(t.Context(), "") // of the one who ends it
			if err == nil {
				_, err = b.endSession(ctx, all[0].ID)
			}
			return err
		},
	}
	for name, end := range end {
		who := b.fresh()
		who.signIn()
		hive.meanwhile = func() {
			if err := end(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		who.send("POST", "/roles/refresh", nil, nil)
		if a := who.send("GET", "/settings", nil, nil); a.code != 303 || !strings.HasPrefix(a.header.Get("Location"), "/login") {
			t.Errorf("%s while it made a request: got %d", name, a.code)
		}
		if all, err := b.openSessions(""); err != nil || len(all) != 0 {
			t.Errorf("%s while it made a request: %d sessions are open, %v", name, len(all), err)
		}
	}
}
