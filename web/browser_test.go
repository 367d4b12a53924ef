package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestBrowser drives the pages in Chromium: see browser/run.mjs for what is looked at.
func TestBrowser(t *testing.T) {
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs node, npm and Chromium: set HATCHERY_E2E=1 to run it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if _, err := os.Stat("browser/node_modules/playwright-core"); err != nil {
		npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
		npm.Dir = "browser"
		if out, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	shots, err := filepath.Abs("../build/screenshots")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	sites := map[string]any{}
	add := func(name string, b *box, ctl http.Handler) {
		srv := httptest.NewServer(ctl)
		t.Cleanup(srv.Close)
		sites[name] = map[string]string{"url": b.url, "token": b.token, "control": srv.URL, "code": b.FirstRunCode()}
	}
	site := newFakeSite()
	site.media.Stage0[0].ISO = true
	b := start(t, func(c *Config) {
		site.config(c)
		made := &fakeISOs{store: c.Store}
		if _, err := made.CreateISO(ctx, ISORequest{Arch: "x86_64", By: "admin", Static: &ISOStatic{Address: netip.MustParsePrefix("192.168.1.50/24")}}); err != nil {
			t.Fatal(err)
		}
		c.ISOs = made
	})
	b.seed(site)
	add("main", b, b.control(site))
	empty := newFakeSite()
	empty.media.Stage0 = nil
	eb := start(t, empty.config)
	add("empty", eb, eb.control(empty))
	large := newFakeSite()
	lb := start(t, large.config)
	lb.thousand(maxRows + 100)
	lb.put(lb.find("node7").ID, func(h *inventory.Host) { h.State, h.EverFlipped, h.Name, h.Role = inventory.StateReady, false, "", "" })
	add("large", lb, lb.control(large))
	var storms sync.WaitGroup
	defer storms.Wait()
	full := newFakeSite()
	fb := start(t, full.config)
	ctl := fb.control(full)
	ctl.HandleFunc("POST /storm", fb.crowd(&storms))
	add("crowd", fb, ctl)
	in, err := json.Marshal(map[string]any{"shots": shots, "sites": sites})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", "browser/run.mjs", os.Getenv("HATCHERY_BROWSER_ONLY"))
	cmd.Stdin = bytes.NewReader(in)
	cmd.WaitDelay = 5 * time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	fmt.Fprintln(t.Output(), out.String())
	if err != nil {
		t.Fatalf("browser tests: %v", err)
	}
}
