package e2e

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// page is a Chromium that is signed in and has the list of machines open.
type page struct {
	proc *lab.Process
	says chan string
}

// watchPage signs in with the admin token and returns once the list is open. It runs on
// the appliance's side, the only place but the LAN from which the page can be reached.
func watchPage(t *testing.T, a *appliance, mac string) *page {
	t.Helper()
	script, err := filepath.Abs("testdata/watch.mjs")
	if err != nil {
		t.Fatal(err)
	}
	shot := filepath.Join(built(t, "screenshots"), "e2e-machines.png")
	if err := os.MkdirAll(filepath.Dir(shot), 0o755); err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(a.data, "admin-token")
	r, w := io.Pipe()
	proc, err := a.lan.Start(lab.Appliance, w, "node", script, a.url("/"), tokenFile, mac, shot, filepath.Join(a.lan.Dir(), "chromium"))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{proc: proc, says: make(chan string, 64)}
	go func() {
		<-proc.Done()
		_ = w.Close()
	}()
	go func() {
		defer close(p.says)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.says <- s.Text()
		}
	}()
	t.Cleanup(proc.Kill)
	p.wait(t, "WATCHING", 60*time.Second)
	return p
}

// seen waits until the machine's row stands there as ready, without a reload.
func (p *page) seen(t *testing.T) {
	t.Helper()
	p.wait(t, "READY", 10*time.Second)
	select {
	case <-p.proc.Done():
		if err := p.proc.Err(); err != nil {
			t.Errorf("the browser ends with %v", err)
		}
	case <-within(t, 20*time.Second).Done():
		t.Error("the browser does not end")
	}
}

func (p *page) wait(t *testing.T, word string, d time.Duration) {
	t.Helper()
	limit := within(t, d)
	var said []string
	for {
		select {
		case line, open := <-p.says:
			if !open {
				t.Fatalf("the browser ended before it said %s: %v\n%s", word, p.proc.Err(), strings.Join(said, "\n"))
			}
			if said = append(said, line); strings.HasPrefix(line, word) {
				t.Log("page: " + line)
				return
			}
		case <-limit.Done():
			t.Fatalf("the page did not say %s within %s:\n%s", word, d, strings.Join(said, "\n"))
		}
	}
}
