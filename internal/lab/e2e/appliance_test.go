package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// appliance is `hatchery serve` on the appliance's side of a LAN.
type appliance struct {
	t    *testing.T
	lan  *lab.LAN
	data string
	args []string
	log  *os.File
	proc *lab.Process
	addr netip.Addr // where it is reached
	http *http.Client
	sick bool // it says on /healthz that its disk is full
}

// startAppliance starts it with a fresh data folder and waits until it serves.
func startAppliance(t *testing.T, l *lab.LAN, args ...string) *appliance {
	t.Helper()
	return startApplianceIn(t, l, filepath.Join(t.TempDir(), "data"), args...)
}

// startApplianceIn is startAppliance with a data folder of the caller's, which may have stage-0 images of its own.
func startApplianceIn(t *testing.T, l *lab.LAN, data string, args ...string) *appliance {
	t.Helper()
	a := &appliance{t: t, lan: l, addr: l.ApplianceAddr(), data: data, args: args}
	// The store of images is the appliance's own to write to.
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-rn", built(t, "stage0")+"/.", filepath.Join(a.data, "stage0")).CombinedOutput(); err != nil {
		t.Fatalf("copy stage-0: %v: %s", err, out)
	}
	var err error
	if a.log, err = os.Create(filepath.Join(t.TempDir(), "appliance.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.cleanup)
	a.start()
	return a
}

// start runs the program and returns once it serves.
func (a *appliance) start() {
	a.t.Helper()
	args := append([]string{"serve", "--data", a.data, "--interface", "eth0", "--ipxe", built(a.t, "ipxe"), "--log-level", "debug"}, a.args...)
	p, err := a.lan.StartReady(within(a.t, 60*time.Second), lab.Appliance, a.log, built(a.t, "hatchery"), args...)
	if err != nil {
		a.t.Fatalf("%v\n%s", err, a.logTail(20))
	}
	a.proc = p
	if err := a.connect(); err != nil {
		a.t.Fatalf("it says that it serves, but: %v\n%s", err, a.logTail(20))
	}
}

// connect makes a client that trusts the appliance's own certificate alone, and tries it.
func (a *appliance) connect() error {
	cert, err := os.ReadFile(filepath.Join(a.data, "tls", "cert.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	a.http = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		DialContext: a.lan.Dialer(lab.Router), TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: true}}
	res, err := a.http.Get(a.url("/healthz"))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if want := map[bool]int{false: http.StatusOK, true: http.StatusServiceUnavailable}[a.sick]; res.StatusCode != want {
		return fmt.Errorf("/healthz: %s, want %d", res.Status, want)
	}
	return nil
}

func (a *appliance) cleanup() {
	if a.proc != nil {
		if err := a.proc.Stop(); err != nil && !a.t.Failed() {
			a.t.Errorf("the appliance did not end well on SIGTERM: %v\n%s", err, a.logTail(10))
		}
	}
	if a.t.Failed() {
		a.t.Logf("the appliance's log:\n%s", a.logTail(120))
	}
	_ = a.log.Close()
}

func (a *appliance) logTail(n int) string {
	b, err := os.ReadFile(a.log.Name())
	if err != nil {
		return err.Error()
	}
	return tail(string(b), n)
}

// crash ends the program with SIGKILL.
func (a *appliance) crash() {
	a.proc.Kill()
	a.proc = nil
}

// restart ends the program well and starts it with other flags on the same data.
func (a *appliance) restart(args ...string) {
	a.t.Helper()
	if err := a.proc.Stop(); err != nil {
		a.t.Fatalf("stop: %v", err)
	}
	a.proc, a.args = nil, args
	a.start()
}

func (a *appliance) url(path string) string {
	return "https://" + a.addr.String() + ":8443" + path
}

// bootURL is an address of the boot listener.
func (a *appliance) bootURL(path string) string {
	return "http://" + a.addr.String() + ":8080" + path
}

func (a *appliance) token() string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.data, "admin-token"))
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// call sends one API request; out may be nil. It returns the status.
func (a *appliance) call(method, path string, body, out any) (int, error) {
	a.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, a.url("/api/v1"+path), in)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token())
	req.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if res.StatusCode >= 300 {
		return res.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if out != nil {
		return res.StatusCode, json.Unmarshal(raw, out)
	}
	return res.StatusCode, nil
}

// host is what the API says of a host, as far as the tests look.
type host struct {
	ID          string `json:"id"`
	MAC         string
	State       string
	Step        string
	BlockedOn   string `json:"blocked_on"`
	Error       string
	IP          string
	Arch        string
	Firmware    string
	UUID        string
	Serial      string
	Vendor      string
	Product     string
	CPU         struct{ Threads int }
	MemoryBytes uint64 `json:"memory_bytes"`
	Disks       []struct {
		ID         string
		Serial     string
		SizeBytes  uint64 `json:"size_bytes"`
		Signatures []string
	}
	NICs     []struct{ MAC string }
	LastSeen time.Time `json:"last_seen"`
	Online   bool
}

// hosts lists all of them.
func (a *appliance) hosts() ([]host, error) {
	a.t.Helper()
	var list struct{ Items []host }
	_, err := a.call(http.MethodGet, "/hosts", nil, &list)
	return list.Items, err
}

// host finds one by its MAC; nil when it is not known.
func (a *appliance) host(mac string) (*host, error) {
	all, err := a.hosts()
	for i := range all {
		if all[i].MAC == mac {
			return &all[i], err
		}
	}
	return nil, err
}

// entry is one line of the boot diary.
type entry struct {
	Seq   uint64
	Time  time.Time
	Kind  string
	Text  string
	By    string
	Bytes int64
	Level string
}

// diary of a host since a moment, oldest first.
func (a *appliance) diary(mac string, since time.Time) []entry {
	a.t.Helper()
	var list struct{ Items []entry }
	if _, err := a.call(http.MethodGet, "/hosts/"+mac+"/events", nil, &list); err != nil {
		a.t.Fatal(err)
	}
	var out []entry
	for _, e := range list.Items {
		if e.Time.After(since) {
			out = append(out, e)
		}
	}
	return out
}
