package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// An appliance of its own for tests that kill it: this test's binary, started once more with siteVar, runs a Runner over
// a real database file and real programs, and takes orders on a socket.
const (
	siteVar = "HATCHERY_TEST_SITE" // its folder
	holdVar = "HATCHERY_TEST_HOLD" // the step before which it pauses once
)

// order is one thing that is asked of it: what a machine, a person or a test wants.
type order struct {
	Do         string
	MAC        inventory.MAC
	Nonce      string
	Report     inventory.Report
	Name, Role string
	At         inventory.Contact
}

// answer is what it says.
type answer struct {
	Target inventory.Target
	Host   inventory.Host
	Job    inventory.Job
	Log    []Line
	Err    string
}

// paused is a store that pauses once after the update that begins a step, outside the transaction.
type paused struct {
	inventory.Store
	step string
	once sync.Once
}

const holdFor = 400 * time.Millisecond

func (p *paused) Update(fn func(*inventory.Tx) error) error {
	hit := false
	err := p.Store.Update(func(tx *inventory.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		jobs, err := tx.OpenJobs()
		for _, j := range jobs {
			hit = hit || p.step != "" && j.State == inventory.JobRunning && j.Step == p.step
		}
		return err
	})
	if hit && err == nil {
		p.once.Do(func() { time.Sleep(holdFor) }) // the moment in which the test strikes
	}
	return err
}

// siteMain is that process. It ends when it is told to.
func siteMain(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(dir, "data", "hatchery.db"), LockTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	raw, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		return err
	}
	cfg := Config{Store: &paused{Store: db, step: os.Getenv(holdVar)}, Hive: siteHive{&fakeHive{roles: testRoles(), noKeys: true}, dir}, Key: key, KeyPath: filepath.Join(dir, "id"),
		Dir: filepath.Join(dir, "data"), NixosAnywhere: []string{filepath.Join(dir, "nixos-anywhere")}, Tick: 200 * time.Millisecond,
		RolesEvery: 200 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Limits: Limits{Stage0: 20 * time.Second, Preflight: 20 * time.Second, Facts: 10 * time.Second, Build: 20 * time.Second, Install: 30 * time.Second,
			Mounts: 10 * time.Second, Reboot: 15 * time.Second, Verify: 30 * time.Second, Reach: 30 * time.Second, Copy: 60 * time.Second, Switch: 30 * time.Second, Health: 20 * time.Second, Trial: 12 * time.Second, Lost: 5 * time.Second, Fresh: time.Hour, Grace: time.Second,
			Poll: 150 * time.Millisecond, Dial: 2 * time.Second}}
	r, err := New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	_ = os.Remove(filepath.Join(dir, "sock"))
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var o order
		a := answer{}
		err := json.NewDecoder(req.Body).Decode(&o)
		if err == nil {
			a, err = obey(r, db, o)
		}
		if err != nil {
			a.Err = err.Error()
		}
		_ = json.NewEncoder(w).Encode(a)
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	return r.Run(ctx)
}

// obey carries one order out.
func obey(r *Runner, db inventory.Store, o order) (a answer, err error) {
	now := time.Now()
	err = db.Update(func(tx *inventory.Tx) error {
		switch o.Do {
		case "fetch":
			_, a.Target, _, err = inventory.FetchScript(tx, o.At, inventory.DiscoveryOnce, o.Nonce, now)
			return err
		case "checkin":
			_, err := inventory.CheckIn(tx, o.Report, now)
			return err
		}
		h, err := tx.HostByMAC(o.MAC)
		if err != nil {
			return err
		}
		switch o.Do {
		case "assign":
			_, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Name: &o.Name, Role: &o.Role}, "admin", false, now)
		case "cancel":
			_, err = inventory.Cancel(tx, h.ID, now)
		case "retry":
			_, _, err = inventory.Retry(tx, h.ID, "admin", now)
		case "deploy":
			_, _, err = inventory.Deploy(tx, h.ID, "admin", now)
		case "format":
			p := diskplan.Make(diskplan.Input{Host: h, Role: testRole(h.Role), WipePersistent: []string{o.Name}})
			f := inventory.FormatOrder{PlanID: p.ID, Slot: o.Name, Word: o.Role}
			if err = p.ConfirmedFormat(f); err == nil {
				_, _, err = inventory.Format(tx, h.ID, f, "admin", now.Add(time.Minute), now)
			}
		case "look", "log":
			if a.Host = h; h.JobID != "" {
				a.Job, err = tx.Job(h.JobID)
			}
		default:
			err = fmt.Errorf("no order %q", o.Do)
		}
		return err
	})
	if err == nil && o.Do == "log" {
		a.Log, err = r.Tail(a.Host.ID, 300)
	}
	return a, err
}

// site is the test's end of such an appliance.
type site struct {
	t    *testing.T
	dir  string
	key  ssh.Signer
	http *http.Client
	errs *os.File   // what the appliance and the machine say
	mu   sync.Mutex // guards cmd
	cmd  *exec.Cmd
	done chan struct{}
}

func newSite(t *testing.T, hold string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "site") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{t: t, dir: dir}
	raw, err := newKey("appliance")
	if err != nil {
		t.Fatal(err)
	}
	if s.key, err = ssh.ParsePrivateKey(raw); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"id": string(raw), "nixos-anywhere": anywhereScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "id"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.errs, err = os.Create(filepath.Join(dir, "errors")); err != nil {
		t.Fatal(err)
	}
	s.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "sock"))
	}}}
	s.start(hold)
	t.Cleanup(func() {
		s.kill(syscall.SIGTERM)
		if raw, err := os.ReadFile(s.errs.Name()); t.Failed() {
			t.Logf("what was said on standard error: %v\n%s", err, raw)
		}
		s.errs.Close()
	})
	return s
}

// start runs the appliance; hold is the step before which it pauses once.
func (s *site) start(hold string) {
	s.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), siteVar+"="+s.dir, holdVar+"="+hold)
	cmd.Stderr = s.errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

// kill ends the appliance alone: what it started goes on, as after a crash.
func (s *site) kill(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Signal(sig)
	<-s.done
}

// do gives an order and waits for the answer, also while the appliance is being started again.
func (s *site) do(o order) (answer, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		res, err := s.http.Post("http://site/", "application/json", bytes.NewReader(body))
		if err != nil {
			if time.Now().After(deadline) {
				return answer{}, err
			}
			continue
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		var a answer
		if err == nil {
			err = json.Unmarshal(raw, &a)
		}
		if err == nil && a.Err != "" {
			err = errors.New(a.Err)
		}
		return a, err
	}
}

func (s *site) must(o order) answer {
	s.t.Helper()
	a, err := s.do(o)
	if err != nil {
		s.t.Fatalf("%s: %v", o.Do, err)
	}
	return a
}

// until waits until the host and its job are as wanted.
func (s *site) until(mac inventory.MAC, what string, ok func(answer) bool) answer {
	s.t.Helper()
	for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(40 * time.Millisecond) {
		a := s.must(order{Do: "look", MAC: mac})
		if ok(a) {
			return a
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("host never %s: state %s step %q blocked on %q error %q\n%s", what, a.Host.State, a.Host.Step, a.Host.BlockedOn, a.Host.Error, s.log(mac))
		}
	}
}

// log is the end of the job's log.
func (s *site) log(mac inventory.MAC) string {
	var b strings.Builder
	for _, l := range s.must(order{Do: "log", MAC: mac}).Log {
		fmt.Fprintf(&b, "%s %s: %s\n", l.Time.Format("05.000"), l.Step, l.Text)
	}
	return b.String()
}
