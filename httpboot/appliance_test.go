package httpboot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// appliance is a boot listener on a real socket over a store in memory.
type appliance struct {
	url   string
	store *inventorytest.Store
	clock *clocktest.Clock
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
	a := &appliance{store: inventorytest.NewStore(t), clock: clocktest.New(time.Now()), dir: t.TempDir(), neighbors: map[netip.Addr]inventory.MAC{}}
	if image {
		writeImage(t, a.dir, "1.0")
	}
	images, err := stage0.Open(stage0.Config{Dir: a.dir, Now: a.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := httpboot.Config{
		Listener: l, Store: a.store, Stage0: images, Now: a.clock.Now,
		Files:          fstest.MapFS{"snponly.efi": {Data: bytes.Repeat([]byte("x"), 285_000)}, "ipxe-amd64.efi": {Data: []byte("amd64")}},
		AuthorizedKeys: func() []string { return []string{sshtest.PublicLine(sshtest.NewKey(t)) + " appliance"} },
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

// waitDiary waits for a line, which is written once its download has gone out, and wants it once.
func (a *appliance) waitDiary(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		d := strings.Join(a.diary(t), "\n")
		if n := strings.Count(d, want); n == 1 {
			return
		} else if n > 1 || time.Now().After(deadline) {
			t.Fatalf("want once %q:\n%s", want, d)
		}
	}
}
