package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/internal/tlspin"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestGuardLetsOnlyKnownCallersIn(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, c := range []struct {
		name, method, path string
		set                func(*http.Request)
		want               int
	}{
		{"the health check needs no token", "GET", "/healthz", nil, 200},
		{"metrics that were not given are not there", "GET", "/metrics", nil, 404},
		{"the API without a token", "GET", "/api/v1/hosts", nil, 401},
		{"the OpenAPI document without a token", "GET", "/api/v1/openapi.json", nil, 401},
		{"the API with a wrong token", "GET", "/api/v1/hosts", func(r *http.Request) { r.Header.Set("Authorization", "Bearer nope") }, 401},
		{"the API with the token", "GET", "/api/v1/hosts", b.bearer, 200},
		{"the scheme in small letters", "GET", "/api/v1/hosts", func(r *http.Request) {
			b.bearer(r)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Bearer", "bearer", 1))
		}, 200},
		{"the token as another scheme", "GET", "/api/v1/hosts", func(r *http.Request) {
			b.bearer(r)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Bearer", "Basic", 1))
		}, 401},
		{"a page without a session goes to the login", "GET", "/roles", nil, 303},
		{"a stream without a session ends for good", "GET", "/live", nil, 204},
		{"a post without a session does nothing", "POST", "/assign", nil, 303},
		{"another name, as DNS rebinding makes it", "GET", "/healthz", func(r *http.Request) { r.Host = "evil.example" }, 421},
		{"an address", "GET", "/healthz", func(r *http.Request) { r.Host = "10.1.2.3:8443" }, 200},
		{"an IPv6 address", "GET", "/healthz", func(r *http.Request) { r.Host = "[fd00::1]:8443" }, 200},
		{"localhost", "GET", "/healthz", func(r *http.Request) { r.Host = "LOCALHOST.:8443" }, 200},
		{"a post from another site, by Sec-Fetch-Site", "POST", "/login", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"a post from another site, by Origin", "POST", "/login", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		{"a post from the null origin", "POST", "/login", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		{"an API call from another site, token or not", "POST", "/api/v1/hosts", func(r *http.Request) {
			b.bearer(r)
			r.Header.Set("Origin", "https://evil.example")
		}, 403},
		{"the agent's paths when nobody answers there", "POST", "/agent/v1/checkin", nil, 404},
		{"an unknown static file", "GET", "/static/nope.js", nil, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.send(c.method, c.path, nil, c.set)
			if a.code != c.want {
				t.Errorf("got %d %s, want %d", a.code, a.body, c.want)
			}
			if got := a.header.Get("Content-Security-Policy"); got != policy {
				t.Errorf("policy: got %q", got)
			}
		})
	}
}

func TestGuardAnswersTheAPIWithProblems(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	a := b.send("GET", "/api/v1/hosts", nil, nil)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" || !strings.Contains(a.body, "admin-token") {
		t.Errorf("401: got %s %s", got, a.body)
	}
	a = b.api("GET", "/hosts/nobody", nil, 404, nil)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" || !strings.Contains(a.body, "Host nobody is not known.") {
		t.Errorf("404: got %s %s", got, a.body)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if a := b.send("POST", "/login", url.Values{"token": {"wrong"}, "to": {"/roles"}}, nil); a.code != 422 || !strings.Contains(a.body, "not the admin token") ||
		!strings.Contains(a.body, `value="/roles"`) {
		t.Errorf("a wrong token: got %d %s", a.code, a.body)
	}
	a := b.send("POST", "/login", url.Values{"token": {" " + b.token + "\n"}, "to": {"//evil.example/"}}, nil)
	if a.code != 303 || a.header.Get("Location") != "/" {
		t.Errorf("the token, with a hostile way on: got %d to %q", a.code, a.header.Get("Location"))
	}
	cookie := a.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-hatchery=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q: want %s", cookie, want)
		}
	}
	b.page("/")
	if a := b.send("POST", "/logout", nil, nil); a.code != 303 {
		t.Errorf("logout: got %d", a.code)
	}
	if a := b.send("GET", "/", nil, nil); a.code != 303 {
		t.Errorf("after the logout: got %d, want the login", a.code)
	}
}

func TestLoginIsRateLimitedPerAddress(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Now = func() time.Time { return t0 } })
	for range 12 { // right ones do not count
		if got := b.send("POST", "/login", url.Values{"token": {b.token}}, nil).code; got != 303 {
			t.Fatalf("the right token: got %d, want 303", got)
		}
	}
	last := 0
	for range 5 {
		if last = b.send("POST", "/login", url.Values{"token": {"wrong"}}, nil).code; last == 429 {
			t.Errorf("one of the first five wrong ones: 429")
		}
	}
	for range 6 {
		last = b.send("POST", "/login", url.Values{"token": {"wrong"}}, nil).code
	}
	if last != 429 {
		t.Errorf("sixth attempt: got %d, want 429", last)
	}
	if got := b.send("POST", "/login", url.Values{"token": {b.token}}, nil).code; got != 429 {
		t.Errorf("the right token, while limited: got %d, want 429", got)
	}
	if !b.attempts.allow(netip.MustParseAddr("10.0.0.9"), t0) {
		t.Error("another address is limited too")
	}
	if !b.attempts.allow(netip.MustParseAddr("127.0.0.1"), t0.Add(7*time.Second)) {
		t.Error("the limit does not end")
	}
}

func TestSessionsSurviveARestartButNotANewToken(t *testing.T) {
	t.Parallel()
	store := inventorytest.NewStore(t)
	dir := ""
	b := start(t, func(c *Config) { c.Store, dir = store, c.Dir })
	b.signIn()
	jar := b.http.Jar
	again := start(t, func(c *Config) {
		c.Store = store
		copyFile(t, filepath.Join(dir, "admin-token"), filepath.Join(c.Dir, "admin-token"))
	})
	again.http.Jar = jar
	if a := again.send("GET", "/", nil, nil); a.code != 200 {
		t.Errorf("after a restart: got %d, want the page", a.code)
	}
	fresh := start(t, func(c *Config) { c.Store = store })
	fresh.http.Jar = jar
	if a := fresh.send("GET", "/", nil, nil); a.code != 303 {
		t.Errorf("with a new token: got %d, want the login", a.code)
	}
	if a := again.send("POST", "/settings/signout", nil, nil); a.code != 303 {
		t.Errorf("sign out everywhere: got %d", a.code)
	}
	if a := again.send("GET", "/", nil, nil); a.code != 303 {
		t.Errorf("after signing out everywhere: got %d, want the login", a.code)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldSessionsAreSwept(t *testing.T) {
	t.Parallel()
	now := t0
	s := &sessionStore{store: inventorytest.NewStore(t), now: func() time.Time { return now }}
	for key, life := range map[string]time.Duration{"old": time.Hour, "young": 3 * time.Hour} {
		if err := s.Commit(key, []byte("x"), t0.Add(life)); err != nil {
			t.Fatal(err)
		}
	}
	now = t0.Add(2 * time.Hour)
	if _, ok, err := s.Find("old"); ok || err != nil {
		t.Errorf("an old session is found: %v %v", ok, err)
	}
	if err := s.drop(isOver); err != nil {
		t.Fatal(err)
	}
	now = t0
	if _, ok, err := s.Find("old"); ok || err != nil {
		t.Errorf("the old session is still there: %v %v", ok, err)
	}
	if _, ok, err := s.Find("young"); !ok || err != nil {
		t.Errorf("the young session is gone: %v %v", ok, err)
	}
}

func TestSocketNeedsNoTokenAndShowsNoPages(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	b := start(t, func(c *Config) { c.Metrics = reg })
	sock := filepath.Join(b.cfg.Dir, socketName)
	if fi, err := os.Stat(sock); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("socket: %v %v, want mode 0600", fi.Mode(), err)
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sock)
	}}
	defer tr.CloseIdleConnections()
	for path, want := range map[string]int{"/api/v1/hosts": 200, "/healthz": 200, "/metrics": 200, "/": 404, "/login": 404, "/agent/v1/checkin": 404} {
		res, err := (&http.Client{Transport: tr}).Get("http://hatchery" + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, res.StatusCode, want)
		}
	}
	req, err := http.NewRequest("POST", "http://hatchery/api/v1/hosts", strings.NewReader(`{"mac":"52:54:00:12:34:77"}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	var acts []inventory.Entry
	b.update(func(tx *inventory.Tx) (err error) {
		acts, err = tail(tx, "", 1)
		return err
	})
	if res.StatusCode != 201 || len(acts) != 1 || acts[0].By != "admin (socket)" {
		t.Errorf("announced by the socket: %d, %+v", res.StatusCode, acts)
	}
}

func TestSocketReplacesOneThatWasLeftBehind(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "hs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		ln, err := listenSocket(dir)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v %v, want the socket alone", left, err)
	}
	if _, err := listenSocket(filepath.Join(dir, strings.Repeat("long", 30))); err == nil || !strings.Contains(err.Error(), socketName) {
		t.Errorf("an impossible path: got %v", err)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.168.1.5")}
	c, err := ownCertificate(dir, []string{"box", "box.local"}, addrs, t0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"box.local", "192.168.1.5"} {
		if err := c.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key: %v %v, want mode 0600", fi.Mode(), err)
	}
	for _, next := range []struct {
		name  string
		names []string
		addrs []netip.Addr
		at    time.Time
		anew  bool
	}{
		{"a restart", []string{"box", "box.local"}, addrs, t0.Add(time.Hour), false},
		{"an address that is gone", []string{"box"}, addrs[:1], t0.Add(time.Hour), false},
		{"a temporary IPv6 address", []string{"box"}, append(addrs[:2:2], netip.MustParseAddr("2001:db8::1234")), t0.Add(time.Hour), false},
		{"a new IPv4 address", []string{"box"}, append(addrs[:2:2], netip.MustParseAddr("192.168.1.6")), t0.Add(time.Hour), true},
		{"a new name", []string{"boot.example"}, addrs, t0.Add(time.Hour), true},
		{"its end", []string{"boot.example"}, addrs, t0.Add(certLife - 30*24*time.Hour), true},
	} {
		got, err := ownCertificate(dir, next.names, next.addrs, next.at)
		if err != nil {
			t.Fatal(err)
		}
		if anew := shownBy(&got).fingerprint != shownBy(&c).fingerprint; anew != next.anew {
			t.Errorf("%s: made anew: %v, want %v", next.name, anew, next.anew)
		}
		if shownBy(&got).pin != shownBy(&c).pin {
			t.Errorf("%s changed the key", next.name)
		}
		for _, n := range next.names {
			if err := got.Leaf.VerifyHostname(n); err != nil {
				t.Errorf("%s: %v", next.name, err)
			}
		}
		c = got
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ownCertificate(dir, nil, nil, t0); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a broken key: got %v, want what to do", err)
	}
}

func TestANewCertificateIsToldAndServedAtOnce(t *testing.T) {
	t.Parallel()
	clock, log := clocktest.New(t0), &lockedBuffer{}
	b := start(t, func(c *Config) { c.Now, c.Log = clock.Now, slog.New(slog.NewTextHandler(log, nil)) })
	served := func(b *box) string {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return tlspin.Fingerprint(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	old := b.Fingerprint()
	if err := b.renewCertificate(); err != nil || served(b) != old || len(b.lastActs(9)) != 0 {
		t.Errorf("a young certificate: %v, %+v", err, b.lastActs(9))
	}
	clock.Add(certLife - certRenew)
	if err := b.renewCertificate(); err != nil || b.Fingerprint() == old || served(b) != b.Fingerprint() {
		t.Errorf("an old certificate is served still: %v", err)
	}
	if e := b.lastActs(1)[0]; !strings.Contains(e.Text, old) || !strings.Contains(e.Text, b.Fingerprint()) || !strings.Contains(log.String(), old) || e.Level != "" {
		t.Errorf("neither log nor activity tell of it: %+v", e)
	}
	pin := b.Pin()
	if err := os.Remove(filepath.Join(b.cfg.Dir, "tls", "key.pem")); err != nil {
		t.Fatal(err)
	}
	again := b.again()
	if e := again.lastActs(1)[0]; again.Pin() == pin || !strings.Contains(e.Text, pin) || e.Level != "warn" {
		t.Errorf("another key on purpose: the activity says %+v", e)
	}
	if n := len(again.again().lastActs(9)); n != 2 {
		t.Errorf("another restart: got %d lines, want 2", n)
	}
}

func TestAGivenCertificateIsReadAgainWhenItWasReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first, err := ownCertificate(dir, []string{"box"}, nil, t0)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, func(c *Config) { c.TLS = cert + "," + key })
	told := func() string {
		raw, err := os.ReadFile(filepath.Join(b.cfg.Dir, "tls", pinFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if want := shownBy(&first).pin + "\n" + b.Fingerprint() + "\n"; told() != want {
		t.Errorf("hatchery token reads %q, want %q", told(), want)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := b.renewCertificate(); err == nil || b.Pin() != shownBy(&first).pin {
		t.Errorf("half replaced: got %v and pin %s, want an error and the old one", err, b.Pin())
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	second, err := ownCertificate(dir, []string{"box"}, nil, t0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.renewCertificate(); err != nil || b.Pin() != shownBy(&second).pin || !strings.HasPrefix(told(), b.Pin()) {
		t.Errorf("replaced: got %v and pin %s", err, b.Pin())
	}
	plain := start(t, func(c *Config) { c.Dir, c.TLS = b.cfg.Dir, "off" })
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, "tls", pinFile)); err == nil || plain.Pin() != "" {
		t.Error("plain HTTP still tells a pin")
	}
}

func TestServerShowsItsCertificateAndURL(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := conn.ConnectionState().PeerCertificates[0]
	if got, want := tlspin.Fingerprint(seen.Raw), b.Fingerprint(); got != want || len(want) != 64 {
		t.Errorf("fingerprint: got %s, want %s", got, want)
	}
	plain := start(t, func(c *Config) { c.TLS = "off" })
	if !strings.HasPrefix(plain.url, "http://127.0.0.1:") || plain.Fingerprint() != "" {
		t.Errorf("plain: got %s %q", plain.url, plain.Fingerprint())
	}
	plain.signIn()
	own := start(t, func(c *Config) {
		c.TLS = filepath.Join(b.cfg.Dir, "tls", "cert.pem") + "," + filepath.Join(b.cfg.Dir, "tls", "key.pem")
	})
	if own.Fingerprint() != b.Fingerprint() {
		t.Error("the given certificate is not used")
	}
	if _, err := x509.ParseCertificate(own.cert.Certificate[0]); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	store := inventorytest.NewStore(t)
	short := t.TempDir()
	if err := os.WriteFile(filepath.Join(short, "admin-token"), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no store", Config{Dir: t.TempDir()}, "store"},
		{"no folder", Config{Store: store}, "directory"},
		{"half a TLS setting", Config{Store: store, Dir: t.TempDir(), TLS: "cert.pem"}, "CERT,KEY"},
		{"a certificate that is not there", Config{Store: store, Dir: t.TempDir(), TLS: "/no/cert,/no/key"}, "/no/cert"},
		{"a token that is too short", Config{Store: store, Dir: short}, "16 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
		})
	}
}

func TestRunSaysWhichPortIsTaken(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s, err := New(Config{Store: inventorytest.NewStore(t), Dir: t.TempDir(), Addr: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("got %v, want the address", err)
	}
}

func TestSecretNeverShowsItself(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%v %s", secret("abc"), secret("abc")); strings.Contains(got, "abc") {
		t.Errorf("got %s", got)
	}
	if got := secret("abc").LogValue().String(); strings.Contains(got, "abc") {
		t.Errorf("got %s", got)
	}
}

// stream opens a stream of server-sent events and returns its lines.
func (b *box) stream(path string, set func(*http.Request)) (<-chan string, func()) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.bearer(req)
	if set != nil {
		set(req)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		b.t.Fatalf("%s: got %d %s", path, res.StatusCode, got)
	}
	lines := make(chan string, 1024)
	go func() {
		defer close(lines)
		defer res.Body.Close()
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	b.t.Cleanup(cancel)
	return lines, cancel
}

// until reads lines up to the first that contains want, and returns all of them.
func until(t *testing.T, lines <-chan string, want string) []string {
	t.Helper()
	var got []string
	for l := range lines {
		got = append(got, l)
		if strings.Contains(l, want) {
			return got
		}
	}
	t.Fatalf("the stream ended without %q: %q", want, got)
	return nil
}

// TestAFormFromASignedOutBrowser: whoever was signed out meanwhile is told that nothing was done, and led back to the form.
func TestAFormFromASignedOutBrowser(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, c := range []struct{ name, referer, to string }{
		{"from a page of ours", "https://HOST/hosts/node1?role=worker", "/hosts/node1?role=worker"},
		{"from nowhere", "", "/"},
		{"from another site", "https://evil.example/roles", "/"},
		{"from a path that leads elsewhere", "https://HOST//evil.example", "/"},
	} {
		a := b.send("POST", "/hosts/node1/assign", form("name", "x"), func(r *http.Request) { r.Header.Set("Referer", strings.Replace(c.referer, "HOST", r.Host, 1)) })
		if want := "/login?out=1&to=" + queryEscape(c.to); a.code != 303 || a.header.Get("Location") != want {
			t.Errorf("%s: got %d to %q, want %q", c.name, a.code, a.header.Get("Location"), want)
		}
		if p := b.page(a.header.Get("Location")); !strings.Contains(p, "what you just sent was not done") {
			t.Errorf("%s: the page does not say so", c.name)
		}
	}
	if strings.Contains(b.page("/login"), "You were signed out") {
		t.Error("the login says it to everybody")
	}
}

func TestAFormThatIsTooLargeIsToldSo(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.signIn()
	a := b.send("POST", "/settings/certificate", form("certificate", strings.Repeat("x", maxBody+1), "key", "k"), nil)
	if a.code != 413 || !strings.Contains(a.body, "at most 1.0 MB is taken here. Nothing was done.") {
		t.Errorf("got %d %.300s", a.code, a.body)
	}
}
