package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

func mac(n byte) inventory.MAC { return inventory.MAC{0x52, 0x54, 0, 0x12, 0x34, n} }

// box is a running server and a client of it.
type box struct {
	*Server
	t     testing.TB
	store inventory.Store
	url   string
	http  *http.Client
	token string
	stop  func()
}

// start runs a server on loopback; tweak changes its configuration first.
func start(t testing.TB, tweak func(*Config)) *box {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hw") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := Config{Addr: "127.0.0.1:0", Dir: dir, Store: inventorytest.NewStore(t), Version: "test"}
	if tweak != nil {
		tweak(&cfg)
	}
	return run(t, cfg, time.Minute)
}

// again stops the server and starts it anew with the same store and folder, on another port: its own may be somebody else's by then.
func (b *box) again() *box {
	b.t.Helper()
	b.stop()
	return run(b.t, b.cfg, time.Minute)
}

// run serves cfg; limit is that of one request.
func run(t testing.TB, cfg Config, limit time.Duration) *box {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.limit, s.hasher.cost = limit, bcrypt.MinCost
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatalf("Run: %v", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	b := &box{Server: s, t: t, store: cfg.Store, url: s.URL(), token: string(s.token), http: &http.Client{Transport: tr, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		tr.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		tr.CloseIdleConnections()
	}
	t.Cleanup(b.stop)
	return b
}

// answer is what came back.
type answer struct {
	code   int
	body   string
	header http.Header
}

// send makes one request; set changes it first.
func (b *box) send(method, path string, body any, set func(*http.Request)) answer {
	b.t.Helper()
	var rd io.Reader
	kind := ""
	switch v := body.(type) {
	case nil:
	case url.Values:
		rd, kind = strings.NewReader(v.Encode()), "application/x-www-form-urlencoded"
	case upload:
		rd, kind = v.body(b.t)
	case string:
		rd, kind = strings.NewReader(v), "application/json"
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			b.t.Fatal(err)
		}
		rd, kind = bytes.NewReader(raw), "application/json"
	}
	req, err := http.NewRequest(method, b.url+path, rd)
	if err != nil {
		b.t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if set != nil {
		set(req)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, string(raw), res.Header}
}

func (b *box) bearer(r *http.Request) { r.Header.Set("Authorization", "Bearer "+b.token) }

// api calls the API with the token and reads the answer into out, unless nil.
func (b *box) api(method, path string, body any, want int, out any) answer {
	b.t.Helper()
	a := b.send(method, "/api/v1"+path, body, b.bearer)
	if a.code != want {
		b.t.Fatalf("%s %s: got %d %s, want %d", method, path, a.code, a.body, want)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(a.body), out); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
		}
	}
	return a
}

// signIn opens a session.
func (b *box) signIn() {
	b.t.Helper()
	if a := b.send("POST", "/login", url.Values{"token": {b.token}}, nil); a.code != http.StatusSeeOther {
		b.t.Fatalf("login: got %d %s, want a redirect", a.code, a.body)
	}
}

// page reads a page that must be there.
func (b *box) page(path string) string {
	b.t.Helper()
	a := b.send("GET", path, nil, nil)
	if a.code != http.StatusOK {
		b.t.Fatalf("GET %s: got %d %s, want 200", path, a.code, a.body)
	}
	return a.body
}

func (b *box) update(fn func(tx *inventory.Tx) error) {
	b.t.Helper()
	if err := b.store.Update(fn); err != nil {
		b.t.Fatal(err)
	}
}

// discover makes a host that only asked DHCP.
func (b *box) discover(n byte) (h inventory.Host) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) (err error) {
		h, err = inventory.Discover(tx, inventory.Contact{MAC: mac(n), IP: netip.AddrFrom4([4]byte{10, 0, 0, n}), Arch: "x86_64", Firmware: "uefi", DHCP: true}, time.Now())
		return err
	})
	return h
}

func facts() inventory.Facts {
	return inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "QEMU", Product: "Standard PC", UUID: "5b2c7a1e-0001-4000-8000-000000000001",
		Serial: "SN-1", CPU: inventory.CPU{Model: "Xeon", Cores: 4, Threads: 8}, MemoryBytes: 8 << 30,
		Disks: []inventory.Disk{
			{ID: "virtio-OS1", Name: "vda", Serial: "OS1", Model: "QEMU HARDDISK", SizeBytes: 20e9, Type: "virtual", Transport: "virtio"},
			{ID: "virtio-DATA1", Name: "vdb", Serial: "DATA1", Model: "QEMU HARDDISK", SizeBytes: 40e9, Type: "virtual", Transport: "virtio"},
		}}
}

// checkIn makes a host that sits in stage-0.
func (b *box) checkIn(n byte, f inventory.Facts) (h inventory.Host) {
	b.t.Helper()
	c := inventory.Contact{MAC: mac(n), IP: netip.AddrFrom4([4]byte{10, 0, 0, n}), Arch: "x86_64", Firmware: "uefi"}
	b.update(func(tx *inventory.Tx) (err error) {
		hash := "hash-" + string(rune('a'+n))
		if _, _, _, err = inventory.FetchScript(tx, c, inventory.DiscoveryAlways, hash, time.Now()); err != nil {
			return err
		}
		f.NICs = []inventory.NIC{{Name: "eth0", MAC: mac(n), Up: true}}
		h, err = inventory.CheckIn(tx, inventory.Report{NonceHash: hash, HostKey: "ssh-ed25519 AAAA", BootID: "b1", Facts: f, From: c.IP}, time.Now())
		return err
	})
	return h
}

func TestServerListensAndStops(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if a := b.send("GET", "/healthz", nil, nil); a.code != 200 {
		t.Errorf("healthz: got %d", a.code)
	}
	if a := b.send("GET", "/", nil, nil); a.code != 303 || a.header.Get("Location") != "/login" {
		t.Errorf("/ without a session: got %d %s", a.code, a.header.Get("Location"))
	}
	b.checkIn(1, facts())
	b.signIn()
	if p := b.page("/"); !strings.Contains(p, mac(1).String()) || !strings.Contains(p, "Needs a role") {
		t.Errorf("the machine is not on the page: %s", p)
	}
	var l struct{ Items []Host }
	b.api("GET", "/hosts", nil, 200, &l)
	if len(l.Items) != 1 || l.Items[0].State != "ready" || l.Items[0].Disks[0].ID != "virtio-OS1" {
		t.Errorf("got %+v", l.Items)
	}
	if fi, err := os.Stat(filepath.Join(b.cfg.Dir, "admin-token")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("admin token: %v %v", fi.Mode(), err)
	}
	b.api("GET", "/openapi.json", nil, 200, nil)
	b.stop()
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, socketName)); err == nil {
		t.Errorf("the socket was left behind")
	}
}
