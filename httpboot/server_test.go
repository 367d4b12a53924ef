package httpboot_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	key, nonce := sshtest.NewKey(t), nonceRE.FindStringSubmatch(script)[1]
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: facts()}
	code, text := a.send(t, key, agentapi.PathCheckIn, ci)
	if code != 200 || !strings.Contains(text, "Give it a role") {
		t.Fatalf("check-in: %d %s", code, text)
	}
	if h := a.host(t); h.State != inventory.StateReady || h.HostKey != sshtest.PublicLine(key) || h.Attention != "" {
		t.Errorf("after check-in: %+v", h)
	}
	if code, text := a.send(t, key, agentapi.PathCheckIn, ci); code != 200 {
		t.Errorf("a repeat with the same key: %d %s", code, text)
	}
	code, text = a.send(t, key, agentapi.PathProgress, agentapi.Progress{Nonce: nonce, BootID: bootID, Seq: 1, Log: []string{"all is well\n\x1b[31m"}})
	if code != 200 {
		t.Errorf("progress: %d %s", code, text)
	}
	for _, want := range []string{"http.script: iPXE fetched its script: it boots stage-0 1.0", "http.file: Loaded bzImage by HTTP: 10 kB", "its initrd comes next", "http.file: Loaded initrd by HTTP: 9.0 MB",
		"checkin: Checked in from 127.0.0.1", "progress: all is well[31m"} {
		a.waitDiary(t, want)
	}
	if st := a.srv.Stats(); st.Scripts != 1 || st.Downloads != 2 || st.CheckIns != 3 || st.Refused != 0 {
		t.Errorf("counts %+v", st)
	}
}

func TestCheckInRefusals(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := sshtest.NewKey(t), a.fetchNonce(t)
	ok := agentapi.CheckIn{Nonce: nonce, HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: facts()}
	other := sshtest.NewKey(t)
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
		{"an unknown field and no nonce", func() (int, string) { return unsigned(`{"nonce":"x","surprise":1}`, "") }, 400, "nonce"},
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
		a.clock.Add(2 * time.Second)
	}
	if code, text := a.send(t, key, agentapi.PathCheckIn, ok); code != 200 {
		t.Fatalf("the honest check-in: %d %s", code, text)
	}
	thief := ok
	thief.HostKey = sshtest.PublicLine(other)
	if code, text := a.send(t, other, agentapi.PathCheckIn, thief); code != 403 || !strings.Contains(text, "another machine already checked in") {
		t.Errorf("another key with a bound nonce: %d %s", code, text)
	}
}

func TestCheckInFromAnotherMachinesAddress(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := sshtest.NewKey(t), a.fetchNonce(t)
	a.setNeighbor("127.0.0.1", mac(t, "52:54:00:00:00:99"))
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: facts()}
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

func TestScriptFetchInAnotherMachinesName(t *testing.T) {
	a := startAppliance(t, true)
	a.fetchNonce(t)
	before := a.host(t).IP
	if err := a.store.Update(func(tx *inventory.Tx) error {
		h := a.host(t)
		h.IP = netip.MustParseAddr("192.0.2.77")
		_, err := tx.PutHost(h)
		return err
	}); err != nil || !before.IsLoopback() {
		t.Fatal(before, err)
	}
	a.setNeighbor("127.0.0.1", mac(t, "52:54:00:00:00:99"))
	a.fetchNonce(t)
	if ip := a.host(t).IP; ip.String() != "192.0.2.77" {
		t.Errorf("a stranger moved the host to %s", ip)
	}
}

func TestReportAfterRestart(t *testing.T) {
	a := startAppliance(t, true)
	key, nonce := sshtest.NewKey(t), a.fetchNonce(t)
	p := agentapi.Progress{Nonce: nonce, BootID: bootID, Seq: 1}
	code, text := a.send(t, key, agentapi.PathProgress, p)
	if code != 409 || !strings.Contains(text, `"action":"checkin"`) {
		t.Errorf("report before check-in: %d %s", code, text)
	}
	ci := agentapi.CheckIn{Nonce: nonce, HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: facts()}
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
	a.clock.Add(2 * time.Second)
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
	manifest, text := get(t, a.url+"/stage0/x86_64/manifest.json")
	if m, err := stage0.ParseManifest([]byte(text)); err != nil || m.Kernel != "bzImage" || manifest.Header.Get("Content-Type") != "application/json" {
		t.Errorf("manifest: %s, %v, %+v", manifest.Status, err, m)
	}
	if resp, _ := do(t, "GET", a.url+"/stage0/x86_64/manifest.json", nil, "If-None-Match", manifest.Header.Get("ETag")); resp.StatusCode != 304 {
		t.Errorf("the manifest again: %s", resp.Status)
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
	a.clock.Add(2 * time.Second)
	deadline := time.Now().Add(60 * time.Second)
	for {
		if _, s := get(t, a.url+"/stage0/x86_64/bzImage"); strings.HasPrefix(s, "kernel 2.0") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new image was not taken")
		}
		a.clock.Add(2 * time.Second)
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
	for _, path := range []string{"/ipxe/..%2f..%2fetc%2fpasswd", "/ipxe/../x", "/stage0/x86_64/manifest.json/x", "/stage0/x86_64/%2e%2e%2fx", "/stage0/..%2f/x",
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
	if resp, _ := do(t, "POST", a.url+agentapi.PathJoin, strings.NewReader("{}")); resp.StatusCode != 404 {
		t.Errorf("a join token over plain HTTP: %s", resp.Status)
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
	resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get(a.bootURL(""))
	if err != nil {
		t.Fatalf("another machine is not answered: %v", err)
	}
	_ = resp.Body.Close()
}
