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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// control lets the browser script make the things happen that machines would.
func (b *box) control(site *fakeSite, hosts map[string]inventory.Host) http.Handler {
	mux := http.NewServeMux()
	num := func(r *http.Request) byte {
		n, err := strconv.ParseUint(r.FormValue("n"), 10, 8)
		if err != nil {
			b.t.Error(err)
		}
		return byte(n)
	}
	mux.HandleFunc("POST /discover", func(_ http.ResponseWriter, r *http.Request) {
		b.discover(num(r))
		site.mu.Lock()
		site.net.Requests, site.net.LastMAC, site.net.LastRequest = site.net.Requests+1, mac(num(r)), time.Now()
		site.mu.Unlock()
	})
	mux.HandleFunc("POST /checkin", func(_ http.ResponseWriter, r *http.Request) {
		f := facts()
		f.UUID, f.Serial = "", "browser-"+r.FormValue("n")
		f.Product = `<img src=x onerror="document.title='owned'">`
		f.Disks[0].Model = `"><script>document.title='owned'</script>`
		h := b.checkIn(num(r), f)
		b.journey(h, time.Now().Add(-41*time.Second))
		hosts[r.FormValue("n")] = h
	})
	mux.HandleFunc("POST /step", func(_ http.ResponseWriter, r *http.Request) {
		no, err := strconv.Atoi(r.FormValue("no"))
		if err != nil {
			b.t.Error(err)
		}
		h, err := b.host(r.FormValue("host"))
		if err != nil {
			b.t.Error(err)
			return
		}
		b.events(h.ID, inventory.StepStarted{Step: r.FormValue("step"), No: no, Of: 11})
		b.putJob(h.ID, func(j *inventory.Job) {
			j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt = inventory.JobRunning, r.FormValue("step"), no, 11, time.Now()
		})
		site.say(h.ID, "step %s", r.FormValue("step"))
	})
	mux.HandleFunc("POST /restart", func(http.ResponseWriter, *http.Request) { *b = *b.again() })
	mux.HandleFunc("POST /say", func(_ http.ResponseWriter, r *http.Request) {
		h, err := b.host(r.FormValue("host"))
		if err != nil {
			b.t.Error(err)
		}
		site.say(h.ID, "%s", r.FormValue("text"))
	})
	mux.HandleFunc("POST /swap", func(_ http.ResponseWriter, r *http.Request) { // another disk hangs where the host's first one was
		h, err := b.host(r.FormValue("host"))
		if err != nil {
			b.t.Error(err)
			return
		}
		b.put(h.ID, func(h *inventory.Host) { h.Facts.Disks[0].ID, h.Facts.Disks[0].Serial = "virtio-SWAPPED", "SWAPPED" })
	})
	b.crowd(mux, num)
	return mux
}

// crowd adds what it takes to see the page under load.
func (b *box) crowd(mux *http.ServeMux, num func(*http.Request) byte) {
	mux.HandleFunc("POST /touch", func(_ http.ResponseWriter, r *http.Request) { // n hosts change
		b.update(func(tx *inventory.Tx) error {
			list, _, err := tx.Hosts("", int(num(r)))
			for _, h := range list {
				h.LastSeen = time.Now()
				if _, err := tx.PutHost(h); err != nil {
					return err
				}
			}
			return err
		})
	})
	mux.HandleFunc("POST /many", func(http.ResponseWriter, *http.Request) {
		for i := range 200 {
			b.update(func(tx *inventory.Tx) error {
				m := inventory.MAC{0x02, 0, 0, 0, 1, byte(i)}
				_, err := inventory.Discover(tx, inventory.Contact{MAC: m, Arch: "x86_64", Firmware: "uefi", DHCP: true}, time.Now())
				return err
			})
		}
	})
}

// TestBrowser drives the pages in Chromium: see browser/run.mjs for what is looked at.
func TestBrowser(t *testing.T) {
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs node, npm and Chromium: set HATCHERY_E2E=1 to run it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
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
	empty := newFakeSite()
	empty.media.Stage0 = nil
	eb := start(t, empty.config)
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
	ctl := httptest.NewServer(b.control(site, map[string]inventory.Host{}))
	defer ctl.Close()
	ectl := httptest.NewServer(eb.control(empty, map[string]inventory.Host{}))
	defer ectl.Close()
	in, err := json.Marshal(map[string]any{"url": b.url, "token": b.token, "control": ctl.URL, "shots": shots,
		"empty": map[string]string{"url": eb.url, "token": eb.token, "control": ectl.URL, "code": eb.FirstRunCode()}})
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
