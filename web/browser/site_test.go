package browser

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// machinesSide is the namespace that holds the cards of all machines of a site.
var machinesSide = lab.Client(0)

// site is one appliance, `hatchery serve` on a LAN of its own, with its machines.
type site struct {
	t     *testing.T
	lan   *lab.LAN
	dir   string // of the test: data, stand-ins, log
	args  []string
	url   string
	token string
	http  *http.Client
	log   *os.File

	background sync.WaitGroup // of orders that take a while

	mu       sync.Mutex
	proc     *lab.Process
	machines map[int]*machine
	cards    map[int]bool
}

// newSite lays the LAN and the data folder; seed writes to the store before the first start and may be nil.
func newSite(t *testing.T, withRouter bool, seed func(*inventory.Tx) error, args ...string) *site {
	t.Helper()
	l, err := lab.New(lab.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, lan: l, dir: t.TempDir(), args: args, machines: map[int]*machine{}, cards: map[int]bool{}}
	s.http = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: l.Dialer(lab.Appliance), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	s.must(l.Plug(0, "02:00:00:00:00:fe"))
	// Many addresses in one namespace: each card answers ARP for its own alone.
	s.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
	if withRouter {
		router, err := l.StartRouter(t.Context(), lab.RouterConfig{})
		s.must(err)
		t.Cleanup(router.Kill)
	}
	s.standIns()
	if seed != nil {
		s.seed(seed)
	}
	s.log, err = os.Create(filepath.Join(s.dir, "log"))
	s.must(err)
	t.Cleanup(s.cleanup)
	t.Cleanup(s.background.Wait)
	s.serveSSH()
	s.forward()
	s.start()
	token, err := os.ReadFile(filepath.Join(s.data(), "admin-token"))
	s.must(err)
	s.token = strings.TrimSpace(string(token))
	return s
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func (s *site) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

// run runs a program where the machines are.
func (s *site) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.lan.Command(s.t.Context(), machinesSide, name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// seed writes to the store before the program has it.
func (s *site) seed(fn func(*inventory.Tx) error) {
	s.t.Helper()
	s.must(os.MkdirAll(s.data(), 0o700))
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(s.data(), "hatchery.db")})
	s.must(err)
	defer db.Close()
	s.must(db.Update(fn))
}

// start runs the program and returns once it serves.
func (s *site) start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"serve", "--data", s.data(), "--interface", "eth0", "--ipxe", built("ipxe"), "--nix", s.dir + "/nix", "--nixos-anywhere", s.dir + "/nixos-anywhere"}, s.args...)
	p, err := s.lan.StartReady(ctx, lab.Appliance, s.log, built("hatchery"), args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.said())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
}

// kill ends it as a power cut would.
func (s *site) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc.Kill()
}

func (s *site) cleanup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		if err := s.proc.Stop(); err != nil && !s.t.Failed() {
			s.t.Errorf("the program did not end well on SIGTERM: %v", err)
		}
	}
	if s.t.Failed() {
		s.t.Logf("the end of the program's log:\n%s", s.said())
	}
	_ = s.log.Close()
}

// said is the end of the program's log.
func (s *site) said() string {
	b, _ := os.ReadFile(s.log.Name())
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// code is the one-time code of the first run, as a person reads it in the log.
func (s *site) code() string {
	s.t.Helper()
	b, err := os.ReadFile(s.log.Name())
	s.must(err)
	m := regexp.MustCompile(`one-time code.* code=(\S+)`).FindSubmatch(b)
	if m == nil {
		s.t.Fatalf("the log has no one-time code:\n%s", b)
	}
	return string(m[1])
}

// forward makes the pages reachable on loopback, where the browser is: it is not part of the LAN.
func (s *site) forward() {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.lan.Forward(ctx, ln, lab.Appliance, s.lan.ApplianceAddr().String()+":8443") }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.url = "https://" + ln.Addr().String()
}

// call sends one API request with the admin token; out may be nil.
func (s *site) call(method, path string, body, out any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "https://"+s.lan.ApplianceAddr().String()+":8443/api/v1"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if body == nil {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if raw, err = io.ReadAll(res.Body); err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if text, is := out.(*string); is {
		*text = string(raw)
		return nil
	}
	if out != nil {
		return json.Unmarshal(raw, out)
	}
	return nil
}

// host is what the API says of a host, as far as is looked at here.
type host struct {
	ID, State, Step, Error string
	Job                    string `json:"job_id"`
}

// until waits until a host is as wanted.
func (s *site) until(ref, what string, ok func(host) bool) {
	s.t.Helper()
	var h host
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err := s.call(http.MethodGet, "/hosts/"+ref, nil, &h); err != nil {
			s.t.Fatal(err)
		}
		if ok(h) {
			return
		}
	}
	s.t.Fatalf("host %s never %s: %+v", ref, what, h)
}

// assign gives a host a name and a role, as a person at the command line does.
func (s *site) assign(ref, name, role string) {
	s.t.Helper()
	s.must(s.call(http.MethodPut, "/hosts/"+ref, map[string]string{"name": name, "role": role}, nil))
}

// root is the repository's folder.
const root = "../.."

// built is the absolute path of something that make builds.
func built(name string) string {
	p, err := filepath.Abs(filepath.Join(root, "build", name))
	if err != nil {
		panic(err) // there is no working directory
	}
	return p
}

// stage0 gives the site's appliance a stage-0 image.
func copyStage0(t *testing.T, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-r", built("stage0")+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("copy stage-0: %v: %s", err, out)
	}
}
