package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const applianceKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5kbr8sTBLJWmGgAw/w7aXZrnRzl0GXPYTWYD1BjpUQ appliance"

// console is a writer that a test can look into.
type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *console) waitFor(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		ok := strings.Contains(c.b.String(), want)
		c.mu.Unlock()
		if ok {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Fatalf("the console never said %q:\n%s", want, c.b.String())
}

// stage0Dir makes a small image.
func stage0Dir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := stage0.Manifest{Arch: "x86_64", Version: "1.0", Kernel: "k", Initrd: []string{"i"}, SHA256: map[string]string{}}
	if err := os.Mkdir(filepath.Join(dir, "x86_64"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"k", "i"} {
		s := sha256.Sum256([]byte(f))
		m.SHA256[f] = hex.EncodeToString(s[:])
		if err := os.WriteFile(filepath.Join(dir, "x86_64", f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x86_64", "manifest.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startBoot runs a boot listener on addr; stop ends it.
func startBoot(t *testing.T, store inventory.Store, addr string) (bound string, stop func()) {
	t.Helper()
	images, err := stage0.Open(stage0.Config{Dir: stage0Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := inventory.ParseMAC("52:54:00:00:00:01")
	s, err := httpboot.New(httpboot.Config{Addr: addr, Store: store, Stage0: images, ReportEvery: time.Second, AuthorizedKeys: func() []string { return []string{applianceKey} },
		Segments: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} },
		Neighbor: func(netip.Addr) (inventory.MAC, bool) { return mac, true }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return s.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("boot listener: %v", err)
		}
		images.Close()
	}
}

// quietPort is an address whose port the kernel gives to nobody by itself, so that it is free once more after its listener has ended.
func quietPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))) // ip_local_port_range begins at 32768
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// bootLine fetches the script and returns the kernel's command line.
func bootLine(t *testing.T, addr string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/boot.ipxe?mac=52-54-00-00-00-01&platform=efi&buildarch=x86_64")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	defer http.DefaultClient.CloseIdleConnections()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(b.String()) {
		if strings.HasPrefix(l, "kernel ") {
			return l
		}
	}
	t.Fatalf("no kernel line:\n%s", b.String())
	return ""
}

func hostOf(t *testing.T, store inventory.Store) inventory.Host {
	t.Helper()
	mac, _ := inventory.ParseMAC("52:54:00:00:00:01")
	var h inventory.Host
	if err := store.View(func(tx *inventory.Tx) (err error) { h, err = tx.HostByMAC(mac); return err }); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAgentAgainstTheBootListener(t *testing.T) {
	store := inventorytest.NewStore(t)
	addr, stop := startBoot(t, store, quietPort(t))
	r := testMachine(t)
	r.file("cmdline", bootLine(t, addr))
	r.file("root/.ssh/authorized_keys", "# mine")
	out := &console{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline")}, out)
	}()
	out.waitFor(t, "waits for the SSH host key")
	key := r.hostKey()
	out.waitFor(t, "Give it a role")

	h := hostOf(t, store)
	if want := sshtest.PublicLine(key); h.State != inventory.StateReady || h.HostKey != want || h.BootID != testBootID {
		t.Errorf("host: state %s, key %s, boot %s", h.State, h.HostKey, h.BootID)
	}
	if h.Facts == nil || len(h.Facts.Disks) != 3 || h.Facts.Disks[2].ID != "virtio-AAA" {
		t.Errorf("facts: %+v", h.Facts)
	}
	file := filepath.Join(r.root, "root/.ssh/authorized_keys")
	keys, err := os.ReadFile(file)
	if err != nil || string(keys) != "# mine\n"+applianceKey+"\n" {
		t.Errorf("authorized_keys: %q, %v", keys, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", st.Mode(), err)
	}

	stop() // the appliance goes away and comes back under the same address
	_, stop = startBoot(t, store, addr)
	defer stop()
	before := hostOf(t, store).ReportedAt
	for deadline := time.Now().Add(2 * time.Minute); !hostOf(t, store).ReportedAt.After(before); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no report after the appliance's restart")
		}
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("run: %v", err)
	}
}

func TestAgentRepeatsTheCheckInAnUnknownBoot(t *testing.T) {
	store := inventorytest.NewStore(t)
	addr, stop := startBoot(t, store, "127.0.0.1:0")
	defer stop()
	r := testMachine(t)
	r.hostKey()
	r.file("cmdline", bootLine(t, addr))
	args := []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline"), "--once"}
	for i := range 2 { // the second is a restarted agent: the same boot, taken again
		if err := run(context.Background(), args, &console{}); err != nil {
			t.Errorf("run %d: %v", i, err)
		}
	}
	r.hostKey() // another machine with the same nonce
	out := &console{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, out) }()
	out.waitFor(t, "another machine already checked in")
	cancel()
	<-done
}

func TestAgentOnASystemThatWasNotNetbooted(t *testing.T) {
	r := testMachine(t)
	r.file("cmdline", "quiet splash")
	err := run(context.Background(), []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline")}, &console{})
	if err == nil || !strings.Contains(err.Error(), "was not netbooted") {
		t.Errorf("got %v", err)
	}
}

func TestAgentWithNobodyListening(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	r := testMachine(t)
	r.hostKey()
	r.file("cmdline", "hatchery.url=http://"+addr+" hatchery.nonce=00112233445566778899aabbccddeeff")
	out := &console{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline")}, out)
	}()
	out.waitFor(t, "is not checked in with http://"+addr)
	cancel()
	<-done
}
