package e2e

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// demo is a running `make demo`.
type demo struct {
	cmd  *exec.Cmd
	done chan error

	mu  sync.Mutex
	out bytes.Buffer
}

// Write gathers what the demo prints.
func (d *demo) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *demo) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{done: make(chan error, 1)}
	d.cmd = exec.Command(built(t, "hatchery-demo"), "-build", built(t, ""), "-install=false", "-firmware", "bios", "-listen", "127.0.0.1:0")
	d.cmd.Stdout, d.cmd.Stderr = d, d
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		if t.Failed() {
			t.Log(d.text())
		}
	})
	return d
}

// says waits until the demo has printed something that matches.
func (d *demo) says(t *testing.T, limit time.Duration, re *regexp.Regexp) []string {
	t.Helper()
	var m []string
	eventually(t, limit, func() string {
		if m = re.FindStringSubmatch(d.text()); m != nil {
			return ""
		}
		return "the demo does not say " + re.String()
	})
	return m
}

// TestDemo holds that the demo shows a machine becoming ready and its page on this
// computer, and that nothing is left of it after Ctrl-C or after a crash and one more start.
func TestDemo(t *testing.T) {
	l := newLAN(t) // skips where no LAN can be laid, and gives the demo another name than hy0
	poweredOn := regexp.MustCompile(`Power on: `)
	crashed := startDemo(t)
	name := crashed.says(t, 30*time.Second, regexp.MustCompile(`Virtual LAN (hy\d+)`))[1]
	if name == l.Name() {
		t.Fatalf("the demo took the running lab's name %s", name)
	}
	crashed.says(t, 30*time.Second, poweredOn)
	if err := crashed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-crashed.done

	d := startDemo(t)
	url := d.says(t, 30*time.Second, regexp.MustCompile(`The page: +(https://\S+)`))[1]
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // a loopback address, a certificate just made
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the page through this computer's address: %s", res.Status)
	}
	d.says(t, 90*time.Second, regexp.MustCompile(`is ready after`))
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("the demo ends with %v after Ctrl-C", err)
		}
	case <-within(t, 20*time.Second).Done():
		t.Fatal("the demo does not end after Ctrl-C")
	}
	if out, err := exec.Command("ip", "netns", "list").Output(); err != nil || strings.Contains(string(out), name+"-") {
		t.Errorf("after Ctrl-C there are still namespaces (%v):\n%s", err, out)
	}
	if err := lab.Cleanup(); err != nil {
		t.Error(err)
	}
	if err := l.Command(t.Context(), lab.Appliance, "true").Run(); err != nil {
		t.Errorf("the demo took another lab with it: %v", err)
	}
	t.Log(d.text())
}
