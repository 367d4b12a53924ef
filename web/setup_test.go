package web

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// upload is the form that puts a backup back: the word that confirms it, and the file.
type upload struct{ typed, file string }

func (u upload) body(t testing.TB) (io.Reader, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	err := w.WriteField("typed", u.typed)
	if err == nil {
		var f io.Writer
		if f, err = w.CreateFormFile("file", "backup.tar.gz"); err == nil {
			_, err = io.WriteString(f, u.file)
		}
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return &b, w.FormDataContentType()
}

func TestTheFirstRunGoesOnToNetworkAndKeysWithWhatWasHeard(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	site.setup.Fixed = []string{"dhcp_dns"}
	b := start(t, site.config)
	a := b.send("POST", "/first-run", form("code", b.FirstRunCode(), "password", goodPassword, "again", goodPassword), nil)
	if a.code != http.StatusSeeOther || a.header.Get("Location") != "/setup?first=1" {
		t.Fatalf("got %d to %s", a.code, a.header.Get("Location"))
	}
	p := b.page("/setup?first=1")
	for _, want := range []string{"The DHCP server 192.168.1.1 answered on eth0", `value="proxy" checked`, `value="192.168.1.100-192.168.1.199"`,
		"configuration file or the command line, and changed only there: dhcp_dns", "nobody but Hatchery itself can log in", "eth1"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	a = b.send("POST", "/setup/dhcp", form("mode", "server", "range", "", "first", "1"), nil)
	if a.code != 422 || !strings.Contains(a.body, "A DHCP server needs the first and last address") || !strings.Contains(a.body, `value="server" checked`) || !strings.Contains(field(t, a.body, "range"), `aria-invalid="true"`) {
		t.Errorf("a server without a range: got %d", a.code)
	}
	if a = b.send("POST", "/setup/dhcp", form("mode", "server", "range", "192.168.1.10-192.168.1.20", "interface", "eth0", "first", "1"), nil); a.code != 303 || a.header.Get("Location") != "/setup?first=1#network" {
		t.Errorf("got %d to %s", a.code, a.header.Get("Location"))
	}
	want := DHCPChoice{Mode: "server", Range: "192.168.1.10-192.168.1.20", Interfaces: []string{"eth0"}, DNS: []string{}}
	if diff := cmp.Diff(want, site.Setup().Next); diff != "" {
		t.Errorf("stored (-want +got): %s", diff)
	}
	if p := b.page("/setup"); !strings.Contains(p, "does not count before a restart") || !strings.Contains(p, "Hatchery hands out the addresses") {
		t.Error("the page does not say that a restart is due")
	}
	if a := b.send("POST", "/setup/keys", form("keys", "nonsense"), nil); a.code != 422 || !strings.Contains(a.body, ">nonsense</textarea>") {
		t.Errorf("a bad key: got %d, and the text is lost", a.code)
	}
	if a := b.send("POST", "/setup/keys", form("keys", "ssh-ed25519 AAAA ann@laptop"), nil); a.code != 303 {
		t.Errorf("a good key: got %d", a.code)
	}
	if p := b.page("/setup"); !strings.Contains(p, "ann@laptop") || !strings.Contains(p, "SHA256:AAAA") {
		t.Error("the key is not on the page")
	}
	if a := b.send("POST", "/restart", form(), nil); a.code != 200 || site.restarts != 1 || !strings.Contains(a.body, `http-equiv="refresh"`) {
		t.Errorf("restart: got %d, %d restarts", a.code, site.restarts)
	}
}

func TestARestartAndARestoreWaitForTheJobThatRuns(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	for path, a := range map[string]answer{"/restart": b.send("POST", "/restart", form(), nil), "/settings/restore": b.send("POST", "/settings/restore", upload{"restore", "backup"}, nil)} {
		if a.code != http.StatusConflict || !strings.Contains(a.body, "A job works on node3: wait until it has ended") {
			t.Errorf("%s: got %d", path, a.code)
		}
	}
	if site.restarts != 0 || site.restored != nil {
		t.Error("it was done all the same")
	}
}

func TestABackupIsPutBackOnlyWhenTheWordIsTypedAndTheFileIsWhole(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.signIn()
	for _, c := range []struct {
		name string
		u    upload
		code int
		says string
	}{
		{"another word", upload{"yes", "backup"}, 422, "Type the word restore"},
		{"no backup", upload{"restore", "something else"}, 422, "nothing was changed"},
		{"a backup larger than other requests may be", upload{"restore", "backup" + strings.Repeat("x", 3*maxBody)}, 200, "Restarting"},
	} {
		a := b.send("POST", "/settings/restore", c.u, nil)
		if a.code != c.code || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: got %d", c.name, a.code)
		}
		if done := site.restored != nil; done != (c.code == 200) {
			t.Errorf("%s: restored %v", c.name, done)
		}
	}
	if n := len(site.restored); n != 3*maxBody+6 {
		t.Errorf("%d bytes arrived", n)
	}
	reader := b.makeToken("reader", ScopeOperate, nil)
	for _, r := range []string{"POST /restore", "POST /restart", "PUT /setup/dhcp", "POST /ssh/keys"} {
		method, path, _ := strings.Cut(r, " ")
		if a := b.fresh().send(method, "/api/v1"+path, "{}", as(reader.Secret)); a.code != http.StatusForbidden {
			t.Errorf("%s with scope operate: got %d, want 403", r, a.code)
		}
	}
}

func TestAnApplianceWithoutSetupSaysSo(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.api(http.MethodGet, "/setup", nil, 501, nil)
	b.api(http.MethodPost, "/restart", nil, 501, nil)
	b.api(http.MethodPost, "/ssh/keys", map[string]string{"keys": "x"}, 501, nil)
	b.api(http.MethodPost, "/restore", nil, 501, nil)
	b.signIn()
	if p := b.page("/settings"); strings.Contains(p, "Put a backup back") || strings.Contains(p, "/setup") {
		t.Error("the page offers what is not there")
	}
}
