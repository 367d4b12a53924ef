package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	shots := screenshots(t)
	return openPage(t, a, "watch.mjs", mac, filepath.Join(shots, "e2e-machines.png"), filepath.Join(a.lan.Dir(), "chromium"))
}

// screenshots is the folder that keeps them as artefacts.
func screenshots(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(built(t, ""), "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openPage runs one of testdata's scripts and returns once it has the list of machines open.
func openPage(t *testing.T, a *appliance, script string, args ...string) *page {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	proc, err := a.lan.Start(lab.Appliance, w, "node", append([]string{script, a.url("/"), filepath.Join(a.data, "admin-token")}, args...)...)
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
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 8<<20) // a whole log in one line
		for lines.Scan() {
			p.says <- lines.Text()
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
	p.ended(t)
}

// ended waits until the browser is gone.
func (p *page) ended(t *testing.T) {
	t.Helper()
	select {
	case <-p.proc.Done():
		if err := p.proc.Err(); err != nil {
			t.Errorf("the browser ends with %v", err)
		}
	case <-within(t, 20*time.Second).Done():
		t.Error("the browser does not end")
	}
}

// wait returns the line that begins with word. A fault of the page itself ends the test.
func (p *page) wait(t *testing.T, word string, d time.Duration) string {
	t.Helper()
	limit := within(t, d)
	var said []string
	for {
		select {
		case line, open := <-p.says:
			if !open {
				t.Fatalf("the browser ended before it said %s: %v\n%s", word, p.proc.Err(), strings.Join(said, "\n"))
			}
			if strings.HasPrefix(line, "PAGE-ERROR") {
				t.Error(line)
			}
			if said = append(said, line); strings.HasPrefix(line, word) {
				t.Log("page: " + line[:min(len(line), 2000)])
				return line
			}
		case <-limit.Done():
			t.Fatalf("the page did not say %s within %s:\n%s", word, patience*d, strings.Join(said, "\n"))
		}
	}
}

// installByPage gives the machine its role and watches it to the end as a person does, with the mouse; in the middle the
// appliance is killed and started again. The machine has a name, and is switched on by powerOn.
func (i *installation) installByPage(t *testing.T, powerOn func()) {
	t.Helper()
	p := openPage(t, i.appliance, "install.mjs", i.m.MAC(), "server", screenshots(t), filepath.Join(i.lan.Dir(), "chromium"))
	powerOn()
	if line := p.wait(t, "ASSIGNED", 3*time.Minute); !strings.HasSuffix(line, " 2 clicks") {
		t.Errorf("%s, want 2 after the sign-in", line)
	}
	p.wait(t, "LOG", 3*time.Minute)
	i.crash()
	i.start()
	p.wait(t, "RESUMED", time.Minute)
	i.checkProgress(t, p.wait(t, "INSTALLED", 10*time.Minute))
	var shown []string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(p.wait(t, "LINES", time.Minute), "LINES ")), &shown); err != nil {
		t.Fatal(err)
	}
	p.ended(t)
	checkLines(t, shown, i.jobLog())
}

var (
	stepText = regexp.MustCompile(`Step (\d+) of (\d+)`)
	copyText = regexp.MustCompile(`copying the system, (\d+) of (\d+) MB`)
)

// checkProgress demands that what the row said of the install never went back, but once: the appliance was killed, and
// begins again with what it cannot know to be done.
func (i *installation) checkProgress(t *testing.T, line string) {
	t.Helper()
	var last, copied, again int
	for _, text := range strings.Split(line, `","`) {
		if m := stepText.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1]) // digits
			if n == 1 && last > 1 {
				again, copied = again+1, 0
			} else if n < last {
				t.Errorf("step %d came after step %d: %s", n, last, text)
			}
			last = n
		}
		if m := copyText.FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n < copied {
				t.Errorf("%d MB came after %d MB", n, copied)
			}
			copied = n
		}
	}
	if again > 1 {
		t.Errorf("the install began anew %d times, want once at most", again)
	}
	if last < 5 {
		t.Errorf("the row told of no progress: %s", line)
	}
}

// checkLines demands that the page's log is the end of the job's log, with no line lost and none twice.
func checkLines(t *testing.T, shown []string, whole string) {
	t.Helper()
	plain := func(l string) string { // without the time, which each writes in its own way
		_, text, _ := strings.Cut(strings.TrimSpace(l), " ")
		return strings.TrimSpace(text)
	}
	var want []string
	for _, l := range strings.Split(strings.TrimSpace(whole), "\n") {
		want = append(want, plain(l))
	}
	var got []string
	for _, l := range shown {
		got = append(got, plain(l))
	}
	if len(got) == 0 || len(got) > len(want) {
		t.Fatalf("the page has %d lines of the log, of %d", len(got), len(want))
	}
	if diff := cmp.Diff(want[:len(got)], got); diff != "" {
		t.Errorf("the log on the page is not the log of the job (-want +got):\n%s", diff)
	}
	if missing := len(want) - len(got); missing > 2 {
		t.Errorf("the page has not the last %d lines of the log", missing)
	}
}
