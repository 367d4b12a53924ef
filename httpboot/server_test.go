package httpboot_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// appliance is a boot listener on a real socket over a store in memory.
type appliance struct {
	url   string
	store *inventorytest.Store
	clock *clock
	dir   string // of stage-0
	srv   *httpboot.Server

	mu        sync.Mutex
	neighbors map[netip.Addr]inventory.MAC
}

func (a *appliance) setNeighbor(ip string, mac inventory.MAC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.neighbors[netip.MustParseAddr(ip)] = mac
}

func (a *appliance) neighbor(ip netip.Addr) (inventory.MAC, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m, ok := a.neighbors[ip]
	return m, ok
}

func mac(t testing.TB, s string) inventory.MAC {
	t.Helper()
	m, err := inventory.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const bootMAC = "52:54:00:00:00:01"

// writeImage puts a stage-0 image into dir.
func writeImage(t testing.TB, dir, version string) {
	t.Helper()
	d := filepath.Join(dir, "x86_64")
	if err := os.MkdirAll(d, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"bzImage": bytes.Repeat([]byte("kernel "+version), 1000), "initrd": bytes.Repeat([]byte("initrd "+version), 900_000)}
	sums := map[string]string{}
	for n, b := range files {
		s := sha256.Sum256(b)
		sums[n] = hex.EncodeToString(s[:])
		if err := os.WriteFile(filepath.Join(d, n+".new"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(d, n+".new"), filepath.Join(d, n)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := json.Marshal(stage0.Manifest{Arch: "x86_64", Version: version, Kernel: "bzImage", Initrd: []string{"initrd"}, Cmdline: "console=ttyS0 quiet", SHA256: sums})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d, "manifest.json"), m, 0o644); err != nil {
		t.Fatal(err)
	}
}

func startAppliance(t *testing.T, image bool, change ...func(*httpboot.Config)) *appliance {
	t.Helper()
	a := &appliance{store: inventorytest.NewStore(t), clock: &clock{t: time.Now()}, dir: t.TempDir(), neighbors: map[netip.Addr]inventory.MAC{}}
	if image {
		writeImage(t, a.dir, "1.0")
	}
	images, err := stage0.Open(stage0.Config{Dir: a.dir, Now: a.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := httpboot.Config{
		Listener: l, Store: a.store, Stage0: images, Now: a.clock.now,
		Files:          fstest.MapFS{"snponly.efi": {Data: bytes.Repeat([]byte("x"), 285_000)}, "ipxe-amd64.efi": {Data: []byte("amd64")}},
		AuthorizedKeys: func() []string { return []string{pubLine(t, newKey(t)) + " appliance"} },
		Neighbor:       a.neighbor,
		Segments:       func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} },
	}
	for _, f := range change {
		f(&c)
	}
	a.setNeighbor("127.0.0.1", mac(t, bootMAC))
	if a.srv, err = httpboot.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.srv.Run(ctx) }()
	<-a.srv.Ready()
	a.url = "http://" + a.srv.Addr().String()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return a
}

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pubLine(t testing.TB, k ssh.Signer) string {
	t.Helper()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey())))
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	return do(t, http.MethodGet, url, nil, header...)
}

func do(t *testing.T, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func (a *appliance) bootURL(extra string) string {
	return a.url + "/boot.ipxe?mac=52-54-00-00-00-01&uuid=4c4c4544-0042-3510-8053-b4c04f564433&serial=SN1&platform=efi&buildarch=x86_64" + extra
}

var nonceRE = regexp.MustCompile(`hatchery\.nonce=([0-9a-f]{32})`)

// fetchNonce boots the machine as far as its script.
func (a *appliance) fetchNonce(t *testing.T) string {
	t.Helper()
	_, script := get(t, a.bootURL(""))
	m := nonceRE.FindStringSubmatch(script)
	if m == nil {
		t.Fatalf("no nonce in the script:\n%s", script)
	}
	return m[1]
}

const bootID = "11111111-2222-4333-8444-555555555555"

func facts() inventory.Facts {
	return inventory.Facts{Arch: "x86_64", Firmware: "uefi", UUID: "4c4c4544-0042-3510-8053-b4c04f564433", Serial: "SN1", MemoryBytes: 8 << 30,
		Disks: []inventory.Disk{{ID: "virtio-AAA", Name: "vda", Serial: "AAA", SizeBytes: 8 << 30, Type: "virtual", Signatures: []string{}}}}
}

// send signs and posts a body.
func (a *appliance) send(t *testing.T, key ssh.Signer, path string, body any) (int, string) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := agentapi.Sign(key, path, raw)
	if err != nil {
		t.Fatal(err)
	}
	resp, text := do(t, http.MethodPost, a.url+path, bytes.NewReader(raw), agentapi.SignatureHeader, sig)
	return resp.StatusCode, text
}

func (a *appliance) host(t *testing.T) inventory.Host {
	t.Helper()
	var h inventory.Host
	err := a.store.View(func(tx *inventory.Tx) (err error) { h, err = tx.HostByMAC(mac(t, bootMAC)); return err })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (a *appliance) diary(t *testing.T) []string {
	t.Helper()
	h := a.host(t)
	var out []string
	err := a.store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary(h.ID, 0, 100)
		for _, e := range es {
			out = append(out, e.Kind+": "+e.Text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBootJourney(t *testing.T) {
	a := startAppliance(t, true)
	_, script := get(t, a.bootURL(""), "User-Agent", "iPXE/1.21.1")
	for _, want := range []string{"#!ipxe\n", "hatchery.url=" + a.url + " ", "BOOTIF=01-52-54-00-00-00-01", "console=ttyS0 quiet", "imgfree", "hatchery.stage0=1.0"} {
		if !strings.Contains(script, want) {
			t.Errorf("script lacks %q:\n%s", want, script)
		}
	}
	if h := a.host(t); h.State != inventory.StateBooting || h.Firmware != "uefi" {
		t.Errorf("state %s, firmware %s after the script", h.State, h.Firmware)
	}
	for _, u := range regexp.MustCompile(a.url+`/stage0/\S+`).FindAllString(script, -1) {
		resp, body := get(t, u, "User-Agent", "iPXE/1.21.1")
		if resp.StatusCode != 200 || resp.ContentLength != int64(len(body)) {
			t.Errorf("%s: %s, %d of %d bytes", u, resp.Status, len(body), resp.ContentLength)
		}
	}
	key, nonce := newKey(t), nonceRE.FindStringSubmatch(script)[1]
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: pubLine(t, key), BootID: bootID, Facts: facts()}
	code, text := a.send(t, key, agentapi.PathCheckIn, ci)
	if code != 200 || !strings.Contains(text, "Give it a role") {
		t.Fatalf("check-in: %d %s", code, text)
	}
	if h := a.host(t); h.State != inventory.StateReady || h.HostKey != pubLine(t, key) || h.Attention != "" {
		t.Errorf("after check-in: %+v", h)
	}
	if code, text := a.send(t, key, agentapi.PathCheckIn, ci); code != 200 {
		t.Errorf("a repeat with the same key: %d %s", code, text)
	}
	code, text = a.send(t, key, agentapi.PathProgress, agentapi.Progress{Nonce: nonce, BootID: bootID, Seq: 1, Log: []string{"all is well\n\x1b[31m"}})
	if code != 200 {
		t.Errorf("progress: %d %s", code, text)
	}
	got := strings.Join(a.diary(t), "\n")
	for _, want := range []string{"http.script: iPXE fetched its script: it boots stage-0 1.0", "http.file: Loaded bzImage by HTTP: 10 kB", "http.file: Loaded initrd by HTTP: 9.0 MB",
		"checkin: Checked in from 127.0.0.1", "progress: all is well[31m"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("diary: want once %q:\n%s", want, got)
		}
	}
}

func TestCheckInRefusals(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := newKey(t), a.fetchNonce(t)
	ok := agentapi.CheckIn{Nonce: nonce, HostKey: pubLine(t, key), BootID: bootID, Facts: facts()}
	other := newKey(t)
	unsigned := func(body, sig string) (int, string) {
		resp, text := do(t, http.MethodPost, a.url+agentapi.PathCheckIn, strings.NewReader(body), agentapi.SignatureHeader, sig)
		return resp.StatusCode, text
	}
	raw, _ := json.Marshal(ok)
	good, _ := agentapi.Sign(key, agentapi.PathCheckIn, raw)
	forPath, _ := agentapi.Sign(key, agentapi.PathProgress, raw)
	for _, c := range []struct {
		name string
		do   func() (int, string)
		code int
		want string
	}{
		{"no signature", func() (int, string) { return unsigned(string(raw), "") }, 403, "signature"},
		{"a signature of another body", func() (int, string) { return unsigned(string(raw)+" ", good) }, 403, "signature"},
		{"a signature for another path", func() (int, string) { return unsigned(string(raw), forPath) }, 403, "signature"},
		{"a signature of another key", func() (int, string) { return a.send(t, other, agentapi.PathCheckIn, ok) }, 403, "signature"},
		{"an unknown field", func() (int, string) { return unsigned(`{"nonce":"x","surprise":1}`, "") }, 400, "surprise"},
		{"no JSON", func() (int, string) { return unsigned("\x00\x01", "") }, 400, "check-in"},
		{"an oversized body", func() (int, string) { return unsigned(strings.Repeat(" ", agentapi.MaxCheckIn+1), "") }, 413, "more than"},
		{"a nonce never issued", func() (int, string) {
			c := ok
			c.Nonce = strings.Repeat("0", 32)
			return a.send(t, key, agentapi.PathCheckIn, c)
		}, 403, "not known here"},
	} {
		code, text := c.do()
		if code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%s: got %d %s, want %d with %q", c.name, code, text, c.code, c.want)
		}
		a.clock.add(2 * time.Second)
	}
	if code, text := a.send(t, key, agentapi.PathCheckIn, ok); code != 200 {
		t.Fatalf("the honest check-in: %d %s", code, text)
	}
	thief := ok
	thief.HostKey = pubLine(t, other)
	if code, text := a.send(t, other, agentapi.PathCheckIn, thief); code != 403 || !strings.Contains(text, "another machine already checked in") {
		t.Errorf("another key with a bound nonce: %d %s", code, text)
	}
}

func TestCheckInFromAnotherMachinesAddress(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := newKey(t), a.fetchNonce(t)
	a.setNeighbor("127.0.0.1", mac(t, "52:54:00:00:00:99"))
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: pubLine(t, key), BootID: bootID, Facts: facts()}
	code, text := a.send(t, key, agentapi.PathCheckIn, ci)
	if code != 403 || !strings.Contains(text, "belongs to another machine (52:54:00:00:00:99)") {
		t.Errorf("got %d %s", code, text)
	}
	if h := a.host(t); h.Facts != nil {
		t.Error("the report was taken")
	}
	if d := strings.Join(a.diary(t), "\n"); !strings.Contains(d, "was refused") {
		t.Errorf("not in the diary:\n%s", d)
	}
}

func TestReportAfterRestart(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := newKey(t), a.fetchNonce(t)
	p := agentapi.Progress{Nonce: nonce, BootID: bootID, Seq: 1}
	code, text := a.send(t, key, agentapi.PathProgress, p)
	if code != 409 || !strings.Contains(text, `"action":"checkin"`) {
		t.Errorf("report before check-in: %d %s", code, text)
	}
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: pubLine(t, key), BootID: bootID, Facts: facts()}
	if code, text := a.send(t, key, agentapi.PathCheckIn, ci); code != 200 {
		t.Fatalf("check-in: %d %s", code, text)
	}
	for i, want := range []int{200, 409} { // the same report again is a replay
		if code, text := a.send(t, key, agentapi.PathProgress, p); code != want {
			t.Errorf("report %d: %d %s", i, code, text)
		}
	}
}

func TestScriptWithoutImage(t *testing.T) {
	a := startAppliance(t, false)
	_, script := get(t, a.bootURL(""))
	if !strings.Contains(script, "nothing to boot") || !strings.Contains(script, "hatchery stage0 add") || !strings.Contains(script, "goto disk") {
		t.Errorf("script:\n%s", script)
	}
	writeImage(t, a.dir, "2.0")
	a.clock.add(2 * time.Second)
	if _, script = get(t, a.bootURL("")); !strings.Contains(script, "stage-0 2.0") {
		t.Errorf("after the image arrived:\n%s", script)
	}
}

func TestLoopGuard(t *testing.T) {
	a := startAppliance(t, true)
	for range inventory.HoldAfter {
		a.fetchNonce(t)
	}
	_, script := get(t, a.bootURL(""))
	if !strings.Contains(script, "menu Hatchery holds") {
		t.Fatalf("sixth fetch:\n%s", script)
	}
	if _, script = get(t, a.bootURL("&retry=1")); !nonceRE.MatchString(script) {
		t.Errorf("a person's retry:\n%s", script)
	}
}

func TestDownloads(t *testing.T) {
	a := startAppliance(t, true)
	url := a.url + "/stage0/x86_64/initrd"
	resp, whole := get(t, url)
	etag := resp.Header.Get("ETag")
	for _, c := range []struct {
		name, method string
		header       []string
		code, n      int
	}{
		{"a range", "GET", []string{"Range", "bytes=10-19"}, 206, 10},
		{"a resume", "GET", []string{"Range", "bytes=100-", "If-Range", etag}, 206, len(whole) - 100},
		{"a resume of another version", "GET", []string{"Range", "bytes=100-", "If-Range", `"other"`}, 200, len(whole)},
		{"a size question", "HEAD", nil, 200, 0},
		{"a known version", "GET", []string{"If-None-Match", etag}, 304, 0},
		{"a range beyond the end", "GET", []string{"Range", "bytes=99999999-"}, 416, -1},
		{"an absurd range", "GET", []string{"Range", "bytes=" + strings.Repeat("0-,", 500) + "0-"}, 200, len(whole)},
	} {
		resp, body := do(t, c.method, url, nil, c.header...)
		if resp.StatusCode != c.code || c.n >= 0 && len(body) != c.n {
			t.Errorf("%s: %s, %d bytes; want %d, %d", c.name, resp.Status, len(body), c.code, c.n)
		}
		if c.method == "HEAD" && resp.ContentLength != int64(len(whole)) {
			t.Errorf("HEAD says %d bytes", resp.ContentLength)
		}
	}
	if _, b := get(t, a.url+"/ipxe/snponly.efi"); len(b) != 285_000 {
		t.Errorf("boot file of %d bytes", len(b))
	}
	if _, b := get(t, a.url+"/ipxe/ipxe.efi"); b != "amd64" {
		t.Errorf("ipxe.efi: %q", b)
	}
	if _, b := get(t, a.url+"/ipxe/autoexec.ipxe"); !strings.Contains(b, "chain --replace "+a.url+"/boot.ipxe?mac=${mac:hexhyp}") {
		t.Errorf("autoexec:\n%s", b)
	}
}

func TestVersionInUseSurvivesASwap(t *testing.T) {
	a := startAppliance(t, true)
	_, script := get(t, a.bootURL(""))
	u := regexp.MustCompile(a.url + `/stage0/x86_64/bzImage\S+`).FindString(script)
	writeImage(t, a.dir, "2.0")
	a.clock.add(2 * time.Second)
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, s := get(t, a.url+"/stage0/x86_64/bzImage"); strings.HasPrefix(s, "kernel 2.0") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new image was not taken")
		}
		a.clock.add(2 * time.Second)
	}
	if _, b := get(t, u); !strings.HasPrefix(b, "kernel 1.0") {
		t.Errorf("the machine in the middle of its boot got %.20q", b)
	}
	if resp, _ := get(t, a.url+"/stage0/x86_64/bzImage?v=0123456789abcdef"); resp.StatusCode != 404 {
		t.Errorf("an unknown version: %s", resp.Status)
	}
}

func TestHostileRequests(t *testing.T) {
	a := startAppliance(t, true)
	for _, path := range []string{"/ipxe/..%2f..%2fetc%2fpasswd", "/ipxe/../x", "/stage0/x86_64/manifest.json", "/stage0/x86_64/%2e%2e%2fx", "/stage0/..%2f/x",
		"/stage0/x86_64/nope", "/boot.ipxe/", "//boot.ipxe", "/ipxe/passwd"} {
		if resp, _ := get(t, a.url+path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	for _, q := range []string{"", "mac=", "mac=ff:ff:ff:ff:ff:ff", "mac=01:00:5e:00:00:01", "mac=%00", "mac=" + strings.Repeat("a", 900), "mac=zz&x=%zz"} {
		if resp, _ := get(t, a.url+"/boot.ipxe?"+q); resp.StatusCode != 400 {
			t.Errorf("query %q: %s", q, resp.Status)
		}
	}
	if resp, _ := get(t, a.url+"/boot.ipxe?x="+strings.Repeat("a", 20_000)); resp.StatusCode != 431 {
		t.Errorf("a long URL: %s", resp.Status)
	}
	_, script := get(t, a.url+"/boot.ipxe?mac=52-54-00-00-00-02&serial=%24%7Bnext-server%7D%0Ashell%20%7C%7C%20%26%26&uuid=%0Ashell&platform=%0Ashell")
	if strings.Contains(script, "${next-server") || regexp.MustCompile(`(?m)^shell\s*$`).MatchString(script) {
		t.Errorf("hostile values reached the script:\n%s", script)
	}
}

func TestRateLimitKeepsAnswering(t *testing.T) {
	a := startAppliance(t, true)
	busy := ""
	for i := range 25 {
		resp, s := get(t, fmt.Sprintf("%s/boot.ipxe?mac=52-54-00-00-01-%02x", a.url, i))
		if resp.StatusCode != 200 {
			t.Fatalf("fetch %d: %s", i, resp.Status)
		}
		if strings.Contains(s, "too many requests") {
			busy = s
		}
	}
	if !strings.Contains(busy, "goto again") {
		t.Errorf("no busy script that comes back:\n%s", busy)
	}
}

func TestStalledAndIdleClients(t *testing.T) {
	a := startAppliance(t, true)
	addr := strings.TrimPrefix(a.url, "http://")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range 300 { // more than one source may have
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
	tr := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get(a.bootURL(""))
	if err != nil {
		t.Fatalf("another machine is not answered: %v", err)
	}
	_ = resp.Body.Close()
}
