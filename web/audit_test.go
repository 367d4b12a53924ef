package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// deed is one request that changes something, on a box that seed filled.
type deed struct {
	path string // "" = the route's own
	body any
	code int
}

// deeds has one for every mutating route.
func deeds(b *box, token, session string) map[string]deed {
	host := func(n byte, act string) string { return "/api/v1/hosts/" + mac(n).String() + "/" + act }
	reserve := `{"ip":"192.168.1.9"}`
	return map[string]deed{
		"POST /api/v1/hosts":                          {"", `{"mac":"52:54:00:12:34:50"}`, 201},
		"PUT /api/v1/hosts/:id":                       {"/api/v1/hosts/52:54:00:12:34:06", `{"name":"node9"}`, 200},
		"DELETE /api/v1/hosts/:id":                    {"/api/v1/hosts/52:54:00:12:34:08", nil, 204},
		"POST /api/v1/hosts/:id/approve":              {host(9, "approve"), nil, 200},
		"POST /api/v1/hosts/:id/cancel":               {host(3, "cancel"), nil, 200},
		"POST /api/v1/hosts/:id/retry":                {host(5, "retry"), nil, 200},
		"POST /api/v1/hosts/:id/rescue":               {host(4, "rescue"), nil, 200},
		"POST /api/v1/hosts/:id/release":              {host(6, "release"), nil, 200},
		"POST /api/v1/hosts/:id/ignore":               {host(6, "ignore"), nil, 200},
		"POST /api/v1/hosts/:id/unignore":             {host(7, "unignore"), nil, 200},
		"POST /api/v1/hosts/:id/wake":                 {host(4, "wake"), nil, 200},
		"POST /api/v1/hosts/:id/reboot":               {host(4, "reboot"), nil, 200},
		"POST /api/v1/hosts/:id/poweroff":             {host(4, "poweroff"), nil, 200},
		"POST /api/v1/hosts/:id/deploy":               {host(4, "deploy"), nil, 200},
		"POST /api/v1/hosts/:id/format":               {host(4, "format"), `{"plan_id":"` + planID(b, 4) + `","slot":"data","confirm":"D41"}`, 200},
		"POST /api/v1/hosts/:id/install":              {host(10, "install"), nil, 200},
		"POST /api/v1/hosts/:id/reinstall":            {host(4, "reinstall"), nil, 200},
		"POST /api/v1/roles/:role/deploy":             {"/api/v1/roles/worker/deploy", nil, 200},
		"POST /roles/deploy":                          {"", form("role", "worker"), 303},
		"POST /api/v1/roles/refresh":                  {"", nil, 200},
		"PUT /api/v1/reservations/:mac":               {"/api/v1/reservations/52:54:00:12:34:01", reserve, 200},
		"DELETE /api/v1/reservations/:mac":            {"/api/v1/reservations/52:54:00:12:34:02", nil, 204},
		"POST /api/v1/tokens":                         {"", `{"name":"of the walk","scope":"read"}`, 201},
		"DELETE /api/v1/tokens/:id":                   {"/api/v1/tokens/" + token, nil, 204},
		"POST /api/v1/isos":                           {"", `{}`, 201},
		"DELETE /api/v1/isos/:id":                     {"/api/v1/isos/0000000000000001", nil, 204},
		"POST /media/isos":                            {"", form("arch", "x86_64", "days", "7"), 303},
		"POST /media/isos/:id/revoke":                 {"/media/isos/0000000000000001/revoke", nil, 303},
		"POST /media/stage0/:arch/:digest/use":        {"/media/stage0/x86_64/e4d909c290d0fb1ca068ffaddf22cbd0/use", nil, 303},
		"POST /api/v1/media/stage0/:arch/:digest/use": {"/api/v1/media/stage0/x86_64/9e107d9d372bb6826bd81d3542a419d6/use", nil, 200},
		"DELETE /api/v1/sessions/:id":                 {"/api/v1/sessions/" + session, nil, 204},
		"DELETE /api/v1/sessions":                     {"", nil, 204},
		"PUT /api/v1/password":                        {"", `{"password":"` + goodPassword + `","current":"` + b.token + `"}`, 204},
		"POST /login":                                 {"", url.Values{"token": {b.token}}, 303},
		"POST /first-run":                             {"", form("code", b.FirstRunCode(), "password", goodPassword, "again", goodPassword), 303},
		"POST /logout":                                {"", nil, 303},
		"POST /assign":                                {"", url.Values{"role": {"server"}, "host": {mac(1).String()}}, 303},
		"POST /hosts/:id/:act":                        {"/hosts/" + mac(4).Hyphens() + "/wake", nil, 303},
		"POST /hosts":                                 {"", form("mac", "52:54:00:12:34:51"), 303},
		"POST /roles/refresh":                         {"", nil, 303},
		"POST /reservations":                          {"", form("mac", "52:54:00:12:34:03", "ip", "192.168.1.11"), 303},
		"POST /settings/tokens":                       {"", form("name", "of the form", "scope", "read", "days", "30"), 200},
		"POST /settings/tokens/:id/revoke":            {"/settings/tokens/" + token + "/revoke", nil, 303},
		"POST /settings/password":                     {"", form("current", b.token, "password", goodPassword, "again", goodPassword), 303},
		"POST /settings/sessions/:id/revoke":          {"/settings/sessions/" + session + "/revoke", nil, 303},
		"POST /settings/signout":                      {"", nil, 303},
		"PUT /api/v1/setup/dhcp":                      {"", `{"mode":"proxy"}`, 200},
		"POST /api/v1/restart":                        {"", nil, 204},
		"POST /api/v1/ssh/keys":                       {"", `{"keys":"ssh-ed25519 AAAA ann@laptop"}`, 200},
		"DELETE /api/v1/ssh/keys/:id":                 {"/api/v1/ssh/keys/00000000000000aa", nil, 204},
		"POST /api/v1/restore":                        {"", "backup", 202},
		"POST /setup/dhcp":                            {"", form("mode", "proxy"), 303},
		"POST /setup/keys":                            {"", form("keys", "ssh-ed25519 AAAA ann@laptop"), 303},
		"POST /setup/keys/:id/remove":                 {"/setup/keys/00000000000000aa/remove", form(), 303},
		"PUT /api/v1/certificate":                     {"", givenPair(b.t), 204},
		"DELETE /api/v1/certificate":                  {"", nil, 204},
		"POST /settings/certificate":                  {"", form("own", "1"), 303},
		"POST /restart":                               {"", form(), 200},
		"POST /settings/restore":                      {"", upload{"restore", "backup"}, 200},
		"GET /settings/backup":                        {"", nil, 200},
		"GET /api/v1/backup":                          {"", nil, 200},
		"GET /api/v1/support":                         {"", nil, 200},
		"POST /api/v1/doctor":                         {"", nil, 200},
	}
}

func TestEveryActIsInTheActivity(t *testing.T) {
	t.Parallel()
	routes := start(t, nil).echo.Routes()
	known := deeds(start(t, nil), "", "")
	var walk []string
	for _, r := range routes {
		name := r.Method + " " + r.Path
		if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, r.Method) && strings.Contains(r.Path, "/agent/") || r.Path == "/theme" {
			continue // machines have a diary of their own; a theme is a matter of one browser
		}
		if _, ok := known[name]; !ok && slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, r.Method) {
			t.Errorf("%s changes something and is not in this test: add it to deeds", name)
		} else if ok {
			walk = append(walk, name)
		}
	}
	if len(walk) != len(known) {
		t.Errorf("%d of %d deeds have a route", len(walk), len(known))
	}
	for _, name := range walk {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auditOne(t, name)
		})
	}
}

// auditOne does one deed on a box of its own and looks for its line in the activity.
func auditOne(t *testing.T, name string) {
	site := newFakeSite()
	site.reservations = []Reservation{{MAC: mac(2)}}
	b := start(t, func(c *Config) {
		site.config(c)
		c.Care = fakeCare{}
		c.Backup = func(w io.Writer) error { _, err := io.WriteString(w, "db"); return err }
		made := &fakeISOs{store: c.Store}
		if _, err := made.CreateISO(t.Context(), ISORequest{Arch: "x86_64"}); err != nil {
			t.Fatal(err)
		}
		c.ISOs = made
	})
	site.keys = []OperatorKey{{ID: "00000000000000aa", Fingerprint: "SHA256:x"}}
	b.seed(site)
	if strings.HasSuffix(name, "/restart") || strings.HasSuffix(name, "/restore") { // refused while a job runs
		b.putJob(b.must(mac(3)).ID, func(j *inventory.Job) { j.State = inventory.JobDone })
	}
	if strings.Contains(name, "DELETE /api/v1/certificate") || strings.Contains(name, "/settings/certificate") {
		b.api(http.MethodPut, "/certificate", givenPair(t), 204, nil)
	}
	f := facts()
	f.UUID, f.Serial = "5b2c7a1e-0001-4000-8000-000000000010", "SN-10"
	b.assignRole(b.checkIn(10, f), "node10", "worker")
	by := ""
	if !strings.HasSuffix(name, " /login") && !strings.HasSuffix(name, " /first-run") {
		b.signIn()
	}
	other := b.fresh()
	other.signIn()
	all, err := b.openSessions("")
	if err != nil {
		t.Fatal(err)
	}
	victim := b.makeToken("victim", ScopeRead, nil).ID
	d := deeds(b, victim, all[0].ID)[name]
	method, path, _ := strings.Cut(name, " ")
	set := func(*http.Request) {}
	if by = "admin"; strings.Contains(path, "/api/") {
		set = as(b.makeToken("walker", ScopeAdmin, nil).Secret)
		by = "token walker"
	}
	before := b.lastActs(1)[0].Seq
	if a := b.send(method, first(d.path, path), d.body, set); a.code != d.code {
		t.Fatalf("got %d %s, want %d", a.code, a.body, d.code)
	}
	e := b.lastActs(1)[0]
	if e.Seq == before || e.By != by || !e.From.IsLoopback() || e.Text == "" || e.Time.IsZero() {
		t.Errorf("the activity's newest line is %+v, want a new one by %q from here", e, by)
	}
	if strings.Contains(e.Text, goodPassword) || strings.Contains(e.Text, b.token) {
		t.Errorf("the activity tells a secret: %s", e.Text)
	}
}

func TestTheSocketIsNamedInTheActivity(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.cfg.Dir, socketName))
	}}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Post("http://hatchery/api/v1/tokens", "application/json", strings.NewReader(`{"name":"by the socket","scope":"admin"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if e := b.lastActs(1)[0]; res.StatusCode != 201 || e.By != "admin (socket)" || e.From.IsValid() || e.Kind != "admin.access" || e.HostID != inventory.HostID("") {
		t.Errorf("got %d and %+v", res.StatusCode, e)
	}
}
