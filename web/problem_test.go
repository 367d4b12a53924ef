package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

// aProblem checks that an answer is an RFC 9457 problem that says something.
func aProblem(t *testing.T, name string, a answer, code int) {
	t.Helper()
	var p struct {
		Status int
		Title  string
		Detail string
	}
	if a.code != code || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: got %d %s %s, want a problem with %d", name, a.code, a.header.Get("Content-Type"), a.body, code)
		return
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Status != code || p.Title != http.StatusText(code) || p.Detail == "" {
		t.Errorf("%s: got %s (%v), want status, title and detail", name, a.body, err)
	}
}

func TestEveryRefusalOfTheAPIIsAProblem(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	h := b.checkIn(1, facts())
	host := "/api/v1/hosts/" + string(h.ID)
	reader := b.makeToken("reader", ScopeRead, nil).Secret
	kind := func(v string) func(*http.Request) {
		return func(r *http.Request) { b.bearer(r); r.Header.Set("Content-Type", v) }
	}
	for _, c := range []struct {
		name, method, path string
		body               any
		set                func(*http.Request)
		code               int
		header             string // NAME: VALUE
	}{
		{"not JSON", "POST", "/api/v1/hosts", "{", b.bearer, 400, ""},
		{"no body", "POST", "/api/v1/hosts", nil, b.bearer, 400, ""},
		{"no token", "GET", "/api/v1/hosts", nil, nil, 401, "Www-Authenticate: Bearer realm=\"hatchery\""},
		{"another kind of authorization", "GET", "/api/v1/hosts", nil, func(r *http.Request) { r.SetBasicAuth("admin", "x") }, 401, ""},
		{"a scope that is too small", "DELETE", host, nil, as(reader), 403, ""},
		{"a call from another site", "PUT", host, `{}`, func(r *http.Request) { b.bearer(r); r.Header.Set("Origin", "https://evil.example") }, 403, ""},
		{"a host that is not known", "GET", "/api/v1/hosts/nobody", nil, b.bearer, 404, ""},
		{"an address that is not there", "GET", "/api/v1/nothing", nil, b.bearer, 404, ""},
		{"an address above the API", "GET", "/api/v2/hosts", nil, b.bearer, 404, ""},
		{"the API's own address", "GET", "/api/v1/", nil, b.bearer, 404, ""},
		{"a way out of the path", "GET", "/api/v1/hosts/%2e%2e%2fadmin", nil, b.bearer, 404, ""},
		{"a method that is not there", "PATCH", host, `{}`, b.bearer, 405, "Allow: DELETE, GET, PUT"},
		{"a method of a list", "DELETE", "/api/v1/roles", nil, b.bearer, 405, "Allow: GET"},
		{"an act by GET", "GET", host + "/reboot", nil, b.bearer, 405, "Allow: POST"},
		{"a job that is not there", "POST", host + "/cancel", nil, b.bearer, 409, ""},
		{"an old version", "PUT", host, `{"name":"x"}`, func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", `"999"`) }, 412, ""},
		{"an old version of one to forget", "DELETE", host, nil, func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", `"999", W/"1"`) }, 412, ""},
		{"any version of a host that is not there yet", "PUT", "/api/v1/hosts/52:54:00:12:34:99", `{"name":"x"}`, func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", "*") }, 412, ""},
		{"too much", "POST", "/api/v1/hosts", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, b.bearer, 413, ""},
		{"a form", "POST", "/api/v1/hosts", "mac=x", kind("application/x-www-form-urlencoded"), 415, ""},
		{"text", "PUT", host, "{}", kind("text/plain"), 415, ""},
		{"another name of ours", "GET", "/api/v1/hosts", nil, func(r *http.Request) { b.bearer(r); r.Host = "evil.example" }, 421, ""},
		{"a list where an object should be", "POST", "/api/v1/hosts", `[]`, b.bearer, 422, ""},
		{"a field that is not known", "PUT", host, `{"root":true}`, b.bearer, 422, ""},
		{"a number that is none", "GET", "/api/v1/hosts?limit=many", nil, b.bearer, 422, ""},
		{"a name that is too long", "GET", "/api/v1/hosts/" + strings.Repeat("a", 200), nil, b.bearer, 422, ""},
		{"a cursor that is none", "GET", "/api/v1/activity?cursor=x", nil, b.bearer, 422, ""},
		{"a cursor of the diary that is none", "GET", host + "/events?cursor=-1", nil, b.bearer, 422, ""},
		{"a role that is not there to plan", "GET", host + "/plan?role=nobody", nil, b.bearer, 422, ""},
		{"what this appliance cannot do", "POST", host + "/reboot", nil, b.bearer, 501, ""},
		{"a log where nothing is installed", "GET", host + "/log", nil, b.bearer, 501, ""},
		{"a job that was never made", "GET", "/api/v1/jobs/x", nil, b.bearer, 404, ""},
	} {
		a := b.send(c.method, c.path, c.body, c.set)
		aProblem(t, c.name, a, c.code)
		if k, v, _ := strings.Cut(c.header, ": "); k != "" && a.header.Get(k) != v {
			t.Errorf("%s: %s is %q, want %q", c.name, k, a.header.Get(k), v)
		}
	}
	if a := b.send("PUT", host, `{"name":"x1"}`, func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", `"7", *`) }); a.code != 200 {
		t.Errorf("a list of versions with a match: got %d %s", a.code, a.body)
	}
	b.signIn()
	if a := b.send("GET", "/settings/signout", nil, nil); a.code != 405 || a.header.Get("Allow") != "POST" || !strings.Contains(a.body, "takes POST") {
		t.Errorf("a page's form by GET: got %d %v", a.code, a.header)
	}
}

func TestTooManyAttemptsSayWhenToTryAgain(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Now = func() time.Time { return t0 } })
	for range 10 {
		b.attempts.allow(netip.MustParseAddr("127.0.0.1"), t0)
	}
	a := b.send("GET", "/api/v1/hosts", nil, as("nope"))
	aProblem(t, "a wrong token", a, 429)
	pw := b.api("PUT", "/password", map[string]string{"password": goodPassword, "current": "no"}, 429, nil)
	aProblem(t, "a password", pw, 429)
	page := b.send("POST", "/login", form("token", "no"), nil)
	for name, a := range map[string]answer{"the API": a, "the password": pw, "the login": page} {
		if a.code != 429 || a.header.Get("Retry-After") != retryAfter {
			t.Errorf("%s: got %d with Retry-After %q, want %s", name, a.code, a.header.Get("Retry-After"), retryAfter)
		}
	}
	b.api("GET", "/hosts", nil, 200, nil) // a good token is not counted
}

func TestAFullDiskIsToldAsSuch(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("commit /data/hatchery.db: nothing was saved, the disk is full: %w", syscall.ENOSPC)
	if got := status(full); got != http.StatusInsufficientStorage {
		t.Errorf("got %d, want 507", got)
	}
	var sick error
	b := start(t, func(c *Config) { c.Health = func() error { return sick } })
	if a := b.send("GET", "/healthz", nil, nil); a.code != 200 || a.body != "ok\n" {
		t.Errorf("well: got %d %q", a.code, a.body)
	}
	sick = errors.New("the disk is full: free some space")
	if a := b.send("GET", "/healthz", nil, nil); a.code != 503 || a.body != "The disk is full: free some space.\n" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("sick: got %d %q", a.code, a.body)
	}
}

func TestWhatTheAPICannotDoIsInTheLog(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	b := start(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	b.update(func(tx *inventory.Tx) error { return tx.Put(bucketTokens, "0", []byte("no JSON")) })
	aProblem(t, "a broken record", b.api("GET", "/tokens", nil, 500, nil), 500)
	b.api("GET", "/hosts/nobody", nil, 404, nil)
	if got := log.String(); strings.Count(got, "request failed") != 1 || !strings.Contains(got, `step="GET /api/v1/tokens"`) {
		t.Errorf("the log says %s", got)
	}
}

func TestAFaultTellsABrowserNoPaths(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	var sick error
	site := newFakeSite()
	b := start(t, func(c *Config) {
		site.config(c)
		c.Log, c.Health = slog.New(slog.NewTextHandler(log, nil)), func() error { return sick }
		c.Wake = func(context.Context, inventory.MAC) error {
			return errors.New("open /var/lib/hatchery/x: permission denied")
		}
	})
	b.hive()
	h := b.checkIn(1, facts())
	b.update(func(tx *inventory.Tx) error { return tx.Put(bucketTokens, "0", []byte("no JSON /var/lib/hatchery")) })
	b.signIn()
	plain := func(r *http.Request) { r.Header.Set("Accept", "text/plain") }
	for _, c := range []struct {
		name, method, path string
		set                func(*http.Request)
		want               string
	}{
		{"a page", "GET", "/settings", nil, "<h1>A fault of the appliance</h1>"},
		{"a page says that nothing was changed", "GET", "/settings", nil, "Nothing was changed."},
		{"an act of our script", "POST", "/settings/signout/x", plain, "nothing at this address"},
	} {
		a := b.send(c.method, c.path, nil, c.set)
		if !strings.Contains(a.body, c.want) || strings.Contains(a.body, "/var/lib/hatchery") || strings.Contains(a.body, "JSON") {
			t.Errorf("%s: got %d %s", c.name, a.code, a.body)
		}
	}
	if got := log.String(); !strings.Contains(got, `step="GET /settings"`) {
		t.Errorf("the log says %s", got)
	}
	sick = errors.New("the disk failed under the database: nothing more is saved")
	if a := b.send("GET", "/settings", nil, nil); !strings.Contains(a.body, "The disk failed under the database: nothing more is saved. The appliance could not show this") {
		t.Errorf("sick: %s", a.body)
	}
	for _, err := range []error{errors.New("open /data/x: no"), fmt.Errorf("write /data/x: %w", syscall.ENOSPC), fmt.Errorf("host x: open /data/y: %w", syscall.EIO)} {
		if got := sentence(err); strings.Contains(got, "/data") || got == "" {
			t.Errorf("%v is told as %q", err, got)
		}
	}
	if a := b.send("POST", "/hosts/"+string(h.ID)+"/wake", nil, plain); a.code != 502 || !strings.Contains(a.body, "ermission denied") {
		t.Errorf("what a machine did not do is told: %d %s", a.code, a.body)
	}
}

func TestProseEscapesAllAndMarksCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]template.HTML{
		"Run `nix build .#stage0` & wait.": "Run <code>nix build .#stage0</code> &amp; wait.",
		"`a` and `b`":                      "<code>a</code> and <code>b</code>",
		"one ` alone <b>":                  "one ` alone &lt;b&gt;",
		"`<script>`":                       "<code>&lt;script&gt;</code>",
		"":                                 "",
		"`a` and ` alone":                  "<code>a</code> and ` alone",
	} {
		if got := prose(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestABulkActTellsWhatBecameOfEachMachine(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	mine := b.checkIn(2, foreignFacts())
	f := facts()
	f.UUID, f.Serial = "", "SN-3"
	blank := b.checkIn(3, f)
	b.signIn()
	a := b.send("POST", "/assign", url.Values{"role": {"worker"}, "host": {string(mine.ID), "nobody", string(blank.ID)}}, func(r *http.Request) { r.Header.Set("Accept", "text/plain") })
	want := "2 of 3 machines got role worker.\nnobody: Not done. Host nobody is not known.\nworker-123402: Needs you: Disk BIG 4000 4 TB serial S2 (ata-BIG_4T_S2) for persistent slot data holds data that this appliance did not put there: ext4. And 1 more.\nworker-123403: Queued: Waits for its turn."
	if a.code != 200 || a.body != want {
		t.Errorf("got %d\n%s\nwant\n%s", a.code, a.body, want)
	}
	if a := b.send("GET", "/hosts/nobody", nil, nil); a.code != 404 || !strings.Contains(a.body, "It was forgotten, or never seen here.") {
		t.Errorf("a machine that is not there: %d %s", a.code, a.body)
	}
	if a := b.send("GET", "/hosts/worker-123402/reinstall", nil, nil); a.code != http.StatusSeeOther || a.header.Get("Location") != "/hosts/worker-123402" {
		t.Errorf("the address of a refused act: %d to %s", a.code, a.header.Get("Location"))
	}
}

func TestARowSaysSinceWhenItsJobRuns(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	p := b.page("/")
	_, installing, _ := strings.Cut(p, `data-state="installing"`)
	if row, _, _ := strings.Cut(installing, "</tr>"); !strings.Contains(row, " · began <time datetime=") {
		t.Errorf("the installing row: %s", row)
	}
	_, installed, _ := strings.Cut(p, `data-state="installed"`)
	if row, _, _ := strings.Cut(installed, "</tr>"); strings.Contains(row, "began") {
		t.Errorf("the installed row: %s", row)
	}
}

func TestMethodsOf(t *testing.T) {
	t.Parallel()
	routes := []*echo.Route{{Method: "GET", Path: "/hosts/:id"}, {Method: "PUT", Path: "/hosts/:id"}, {Method: "GET", Path: "/hosts"},
		{Method: echo.RouteNotFound, Path: "/hosts/:id"}, {Method: "POST", Path: "/hosts/:id/wake"}}
	for path, want := range map[string]string{"/hosts/a": "GET PUT", "/hosts/": "", "/hosts": "GET", "/hosts/a/wake": "POST", "/hosts/a/b": "", "": ""} {
		if got := strings.Join(methodsOf(routes, path), " "); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}

func TestListsArePagedByCursorWhileTheyGrow(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	clock := time.Now()
	for i := range byte(5) {
		f := facts()
		f.UUID, f.Serial = fmt.Sprintf("5b2c7a1e-0001-4000-8000-0000000000%02x", i), fmt.Sprintf("SN-%d", i)
		h := b.checkIn(i+1, f)
		b.update(func(tx *inventory.Tx) error {
			name, role := fmt.Sprintf("node%d", i), "worker"
			_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Name: &name, Role: &role}, "admin", false, clock.Add(time.Duration(i)*time.Second))
			return err
		})
		for n := range 4 {
			b.update(func(tx *inventory.Tx) error {
				return tx.Note(inventory.Entry{HostID: h.ID, Kind: "admin", Text: fmt.Sprint("line ", n)})
			})
		}
	}
	h, err := b.host("node0")
	if err != nil {
		t.Fatal(err)
	}
	type item struct{ ID, Host, Text string }
	walk := func(path string, limit int) (out []item) {
		t.Helper()
		for next, pages := "", 0; ; pages++ {
			var l list[item]
			b.api("GET", fmt.Sprintf("%s?limit=%d&cursor=%s", path, limit, next), nil, 200, &l)
			out = append(out, l.Items...)
			if next = l.Next; next == "" {
				return out
			}
			if len(l.Items) != limit || pages > 100 {
				t.Fatalf("%s: page %d has %d items, want %d", path, pages, len(l.Items), limit)
			}
			b.discover(byte(100 + pages)) // the lists change while they are read
			b.update(func(tx *inventory.Tx) error { return tx.Note(inventory.Entry{Kind: "admin", Text: "meanwhile"}) })
		}
	}
	var names []string
	for _, j := range walk("/jobs", 2) {
		names = append(names, j.Host)
	}
	if got := strings.Join(names, " "); got != "node4 node3 node2 node1 node0" {
		t.Errorf("jobs: got %s, want the newest first, each once", got)
	}
	var open list[Job]
	b.api("GET", "/jobs?state=open&limit=3", nil, 200, &open)
	if len(open.Items) != 3 || open.Items[0].Host != "node4" || open.Next == "" || open.Items[0].Past == nil {
		t.Errorf("open jobs: got %+v", open)
	}
	b.api("GET", "/jobs?state=open&limit=3&cursor="+open.Next, nil, 200, &open)
	if len(open.Items) != 2 || open.Items[1].Host != "node0" || open.Next != "" {
		t.Errorf("the rest of the open jobs: got %+v", open)
	}
	var before list[inventory.Entry]
	b.api("GET", "/hosts/node0/events", nil, 200, &before)
	if lines := walk("/hosts/node0/events", 2); len(lines) != len(before.Items) || lines[len(lines)-1].Text != "line 3" {
		t.Errorf("diary: got %d lines that end with %+v, want %d", len(lines), lines[len(lines)-1], len(before.Items))
	}
	b.api("GET", "/activity", nil, 200, &before)
	if lines := walk("/activity", 3); len(lines) != len(before.Items) {
		t.Errorf("activity: got %d lines, want %d", len(lines), len(before.Items))
	}
	var mine list[Job]
	b.api("GET", "/jobs?host="+string(h.ID), nil, 200, &mine)
	if len(mine.Items) != 1 || mine.Items[0].HostID != h.ID {
		t.Errorf("jobs of one host: got %+v", mine.Items)
	}
}
