package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func TestMain(m *testing.M) {
	if os.Getenv("HATCHERY_E2E") == "1" {
		// Under a lock: two runs that start together would make the same files.
		cmd := exec.Command("flock", "Makefile", "make", "--no-print-directory", "-s", "build", "lab-images", "browser-deps")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "flock Makefile make build lab-images browser-deps: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestBrowser drives the pages of the real program in Chromium: see run.mjs and what it imports for what is looked at.
func TestBrowser(t *testing.T) {
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs root, network namespaces, node and Chromium: set HATCHERY_E2E=1 to run it")
	}
	shots := built("screenshots")
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	images := filepath.Join(t.TempDir(), "stage0")
	copyStage0(t, images)
	var main, empty, large, crowd *site
	var laying sync.WaitGroup
	laying.Go(func() { // its search for other DHCP servers takes 5 s
		large = newSite(t, false, thousand(1099), "--dhcp", "server", "--dhcp-range", "10.83.0.200-10.83.0.220", "--stage0", images)
	})
	laying.Go(func() { main, empty = newMain(t, images), newSite(t, true, nil) })
	laying.Go(func() { crowd = newCrowd(t, images, 200) })
	laying.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("four appliances with their machines after %.1f s", time.Since(began).Seconds())
	sites := map[string]any{}
	for name, s := range map[string]*site{"main": main, "empty": empty, "large": large, "crowd": crowd} {
		srv := httptest.NewServer(s.orders())
		t.Cleanup(srv.Close)
		sites[name] = map[string]string{"url": s.url, "token": s.token, "control": srv.URL, "code": s.code()}
	}
	drive(t, map[string]any{"shots": shots, "sites": sites})
}

// drive runs the script; HATCHERY_BROWSER_ONLY is a part of the names of what is to be run.
func drive(t *testing.T, in any) {
	t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "run.mjs", os.Getenv("HATCHERY_BROWSER_ONLY"))
	cmd.Stdin = bytes.NewReader(raw)
	cmd.WaitDelay = 5 * time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	fmt.Fprintln(t.Output(), out.String())
	if err != nil {
		t.Fatalf("browser tests: %v", err)
	}
}

// newCrowd is an appliance with many machines that booted; half of them wait for the first server of their cluster.
func newCrowd(t *testing.T, images string, n int) *site {
	t.Helper()
	s := newSite(t, false, func(tx *inventory.Tx) error { return tx.PutHive(hive()) }, "--dhcp", "off", "--stage0", images)
	s.crowd(n)
	return s
}

// newMain is the appliance with a machine of every state.
func newMain(t *testing.T, images string) *site {
	t.Helper()
	s := newSite(t, true, installed(4, "node1", "plain"), "--stage0", images)
	boot := func(m *machine, whole bool) *machine {
		t.Helper()
		s.must(m.boot(whole))
		return m
	}
	boot(s.machine(1, facts(1)), true)
	boot(s.machine(2, foreignFacts(2)), false)
	s.assign(mac(2).String(), "mini", "worker")
	boot(s.machine(3, facts(3)), true)
	s.assign(mac(3).String(), "node3", "plain")
	boot(s.machine(5, facts(5)), false)
	s.assign(mac(5).String(), "node2", "plain")
	s.ask(6)
	s.ask(7)
	s.must(s.call(http.MethodPost, "/hosts/"+mac(7).String()+"/ignore", nil, nil))
	s.must(s.call(http.MethodPost, "/hosts", map[string]string{"mac": mac(8).String(), "name": "nas", "role": "server"}, nil))
	boot(s.machine(9, facts(9)), false)
	other := facts(9)
	other.Serial = "SN-90" // another board behind the same network card
	boot(s.machine(9, other), false)
	s.must(s.call(http.MethodPut, "/reservations/"+mac(4).String(), map[string]string{"ip": s.lan.Addr(50).String(), "hostname": "node1"}, nil))
	s.must(s.call(http.MethodPost, "/isos", map[string]any{"arch": "x86_64", "static": map[string]string{"address": "192.168.1.50/24"}}, nil))
	s.reportAll()
	s.until("node3", "copies", func(h host) bool { return strings.HasSuffix(h.Step, "copying the system, 12 of 29 MB") })
	s.until("node2", "failed", func(h host) bool { return h.State == "failed" })
	return s
}
