package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/inventory"
)

// as presents a token.
func as(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func (b *box) makeToken(name string, scope Scope, expires *time.Time) NewToken {
	b.t.Helper()
	var t NewToken
	b.api("POST", "/tokens", map[string]any{"name": name, "scope": scope, "expires": expires}, 201, &t)
	return t
}

// lastActs are the newest n lines of the appliance's activity, newest first.
func (b *box) lastActs(n int) []inventory.Entry {
	b.t.Helper()
	acts, err := b.activity(n)
	if err != nil {
		b.t.Fatal(err)
	}
	return acts
}

func TestTokenMayDoWhatItsScopeSays(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.checkIn(1, facts())
	token := map[Scope]string{ScopeAdmin: b.token}
	for _, s := range []Scope{ScopeRead, ScopeOperate} {
		token[s] = b.makeToken("a "+string(s), s, nil).Secret
	}
	host := "/api/v1/hosts/" + string(h.ID)
	for _, c := range []struct {
		name, method, path string
		body               any
		needs              Scope
	}{
		{"hosts are read", "GET", "/api/v1/hosts", nil, ScopeRead},
		{"a diary is read", "GET", host + "/events", nil, ScopeRead},
		{"the OpenAPI document is read", "GET", "/api/v1/openapi.json", nil, ScopeRead},
		{"a page is read", "GET", "/roles", nil, ScopeRead},
		{"a host is announced", "POST", "/api/v1/hosts", `{"mac":"52:54:00:12:34:50"}`, ScopeOperate},
		{"a host is named", "PUT", host, `{"name":"node1"}`, ScopeOperate},
		{"a host is rebooted", "POST", host + "/reboot", nil, ScopeOperate},
		{"an act by the page's form", "POST", "/hosts/" + string(h.ID) + "/wake", nil, ScopeOperate},
		{"the roles are read again", "POST", "/api/v1/roles/refresh", nil, ScopeOperate},
		{"an address is reserved", "PUT", "/api/v1/reservations/52:54:00:12:34:01", `{"ip":"192.168.1.9"}`, ScopeAdmin},
		{"an address is reserved by the page's form", "POST", "/reservations", url.Values{"mac": {"52:54:00:12:34:01"}, "ip": {"192.168.1.9"}}, ScopeAdmin},
		{"a host is forgotten by the page's form", "POST", "/hosts/" + string(h.ID) + "/forget", nil, ScopeAdmin},
		{"a host is forgotten", "DELETE", host, nil, ScopeAdmin},
		{"tokens are listed", "GET", "/api/v1/tokens", nil, ScopeAdmin},
		{"a token is made", "POST", "/api/v1/tokens", `{"name":"x","scope":"admin"}`, ScopeAdmin},
		{"a token is revoked", "DELETE", "/api/v1/tokens/nobody", nil, ScopeAdmin},
		{"the settings are read", "GET", "/settings", nil, ScopeAdmin},
		{"the database is downloaded", "GET", "/settings/backup", nil, ScopeAdmin},
	} {
		for _, have := range []Scope{ScopeRead, ScopeOperate, ScopeAdmin} {
			a := b.send(c.method, c.path, c.body, as(token[have]))
			if refused := a.code == http.StatusForbidden; refused == have.covers(c.needs) {
				t.Errorf("%s with scope %s: got %d %s, needs %s", c.name, have, a.code, a.body, c.needs)
			} else if refused && !strings.Contains(a.body, "needs scope "+string(c.needs)) {
				t.Errorf("%s with scope %s: got %s, want which scope is needed", c.name, have, a.body)
			}
		}
	}
	a := b.send("DELETE", host, nil, as(token[ScopeRead]))
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the refusal is %s, want a problem", got)
	}
}

func TestTokenLivesUntilItEndsOrIsRevoked(t *testing.T) {
	t.Parallel()
	clock := clocktest.New(t0)
	b := start(t, func(c *Config) { c.Now = clock.Now })
	end := t0.Add(time.Hour)
	short, long := b.makeToken("short", ScopeRead, &end), b.makeToken("long", ScopeOperate, nil)
	if !strings.HasPrefix(long.Secret, tokenPrefix) || short.ExpiresAt.IsZero() || !long.ExpiresAt.IsZero() {
		t.Errorf("got %+v and %+v", short, long)
	}
	get := func(secret string) int { return b.send("GET", "/api/v1/hosts", nil, as(secret)).code }
	if get(short.Secret) != 200 || get(long.Secret) != 200 {
		t.Error("a fresh token is refused")
	}
	for name, wrong := range map[string]string{"another secret of the id": long.Secret[:len(long.Secret)-1] + "!", "the id alone": tokenPrefix + long.ID,
		"an unknown id": tokenPrefix + "0123456789abcdef_AAAA", "an empty secret": tokenPrefix + long.ID + "_"} {
		if get(wrong) != 401 {
			t.Errorf("%s is accepted", name)
		}
	}
	clock.Add(time.Hour)
	if get(short.Secret) != 401 || get(long.Secret) != 200 {
		t.Error("a token is good after its end, or another is not")
	}
	var l list[Token]
	b.api("GET", "/tokens", nil, 200, &l)
	if len(l.Items) != 2 || l.Items[0].Expired == l.Items[1].Expired {
		t.Errorf("got %+v", l.Items)
	}
	if raw := b.api("GET", "/tokens", nil, 200, nil).body; strings.Contains(raw, long.Secret) || strings.Contains(raw, "hash") {
		t.Errorf("the list tells secrets: %s", raw)
	}
	b.update(func(tx *inventory.Tx) error {
		return tx.Scan(bucketTokens, "", "", func(_ string, v []byte) (bool, error) {
			if strings.Contains(string(v), long.Secret[len(tokenPrefix+long.ID)+1:]) {
				t.Errorf("the secret is stored: %s", v)
			}
			return true, nil
		})
	})
	again := b.again()
	if a := again.send("GET", "/api/v1/hosts", nil, as(long.Secret)); a.code != 200 {
		t.Errorf("after a restart: got %d", a.code)
	}
	lines, _ := again.stream("/api/v1/events", as(long.Secret))
	until(t, lines, "hello")
	again.api("DELETE", "/tokens/"+long.ID, nil, 204, nil)
	for range lines { // ends by itself
	}
	if e := again.lastActs(1)[0]; e.Text != `API token "long" was revoked.` || e.By != "admin" || !e.From.IsLoopback() {
		t.Errorf("the activity says %+v", e)
	}
	if a := again.send("GET", "/api/v1/hosts", nil, as(long.Secret)); a.code != 401 {
		t.Errorf("after it was revoked: got %d", a.code)
	}
	again.api("DELETE", "/tokens/"+long.ID, nil, 404, nil)
}

func TestTokenThatCannotBe(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.makeToken("ci", ScopeRead, nil)
	past := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		body any
		want int
	}{
		"no name":              {map[string]any{"name": " ", "scope": "read"}, 422},
		"a name on two lines":  {map[string]any{"name": "a\nb", "scope": "read"}, 422},
		"an unknown scope":     {map[string]any{"name": "a", "scope": "root"}, 422},
		"an end in the past":   {map[string]any{"name": "a", "scope": "read", "expires": past}, 422},
		"a name that is taken": {map[string]any{"name": "ci", "scope": "read"}, 409},
	} {
		if a := b.send("POST", "/api/v1/tokens", c.body, b.bearer); a.code != c.want {
			t.Errorf("%s: got %d %s, want %d", name, a.code, a.body, c.want)
		}
	}
}

func TestTokensOnTheSettingsPage(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.signIn()
	a := b.send("POST", "/settings/tokens", url.Values{"name": {"grafana"}, "scope": {"read"}, "days": {"90"}}, nil)
	secret := regexp.MustCompile(tokenPrefix + `[0-9a-f]+_[A-Z2-7]+`).FindString(a.body)
	if a.code != 200 || secret == "" {
		t.Fatalf("got %d %s", a.code, a.body)
	}
	if got := b.send("GET", "/api/v1/hosts", nil, as(secret)).code; got != 200 {
		t.Errorf("the token on the page does not work: %d", got)
	}
	if p := b.page("/settings"); strings.Contains(p, secret) || !strings.Contains(p, "grafana") {
		t.Error("the page shows the secret again, or not the token")
	}
	for name, form := range map[string]url.Values{"a name that is taken": {"name": {"grafana"}, "scope": {"read"}, "days": {"never"}}, "no scope": {"name": {"x"}, "days": {"30"}},
		"no days": {"name": {"x"}, "scope": {"read"}}} {
		if a := b.send("POST", "/settings/tokens", form, nil); a.code < 400 || a.code > 422 || !strings.Contains(a.body, `id="token-error"`) {
			t.Errorf("%s: got %d", name, a.code)
		}
	}
	action := regexp.MustCompile(`/settings/tokens/[0-9a-f]+/revoke`).FindString(b.page("/settings"))
	if a := b.send("POST", action, nil, nil); a.code != 303 {
		t.Errorf("revoke: got %d", a.code)
	}
	if got := b.send("GET", "/api/v1/hosts", nil, as(secret)).code; got != 401 {
		t.Errorf("the revoked token works: %d", got)
	}
	if p := b.page("/activity"); !strings.Contains(p, "grafana") {
		t.Error("the activity does not tell of it")
	}
}
