package pipeline

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(siteVar); dir != "" {
		if err := siteMain(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fakeHive is a hive that builds names instead of systems.
type fakeHive struct {
	mu       sync.Mutex
	roles    map[string]inventory.Role
	rev      int
	written  []hive.HostFacts
	builds   int
	evalErr  error
	buildErr error
	print    string       // of a build
	layout   []hive.Mount // of a build, nil = the usual one
	version  string       // of what a build gives, part of the system's name
	history  []hive.Commit
	hold     chan struct{} // a build waits for it
	noKeys   bool          // its layout reads no key file
	bytes    uint64        // of a built system
}

func (f *fakeHive) Roles(context.Context) (inventory.Hive, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return inventory.Hive{Revision: fmt.Sprint(f.rev), Roles: f.roles, ReadAt: time.Now()}, f.evalErr
}

func (f *fakeHive) Head(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.rev), nil
}

func (f *fakeHive) WriteHost(_ context.Context, h hive.HostFacts) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = append(f.written, h)
	return "commit-" + h.Host.Name, h.Host.Check()
}

func (f *fakeHive) Build(ctx context.Context, commit, name string, log io.Writer) (hive.Built, error) {
	f.mu.Lock()
	f.builds++
	hold, err := f.hold, f.buildErr
	fmt.Fprintf(log, "building %s\n%s\n", name, f.print)
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return hive.Built{}, ctx.Err()
		}
	}
	if err != nil {
		return hive.Built{}, err
	}
	if f.layout != nil {
		return hive.Built{Commit: commit, Toplevel: "/nix/store/system-" + name + f.version, Script: "/nix/store/script-" + name, Layout: hive.Layout{Mounts: f.layout}}, nil
	}
	built := hive.Built{Commit: commit, Toplevel: "/nix/store/system-" + name + f.version, Script: "/nix/store/script-" + name,
		Layout: hive.Layout{Mounts: []hive.Mount{{Path: "/", FS: "ext4", Slot: "os"}, {Path: "/data", FS: "ext4", Slot: "data"}}}}
	if !f.noKeys {
		built.Layout.KeyFiles = []string{"/tmp/disk.key"}
	}
	built.Bytes = f.bytes
	return built, nil
}

func (f *fakeHive) BuildFormat(_ context.Context, _, name, slot string, log io.Writer) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(log, "building the format of %s\n", slot)
	return "/nix/store/format-" + name + "-" + slot, f.buildErr
}

func (f *fakeHive) ReadHost(_ context.Context, name string) (hive.HostFile, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range slices.Backward(f.written) {
		if h.Host.Name == name {
			return h.Host, true, nil
		}
	}
	return hive.HostFile{}, false, nil
}

func (f *fakeHive) History(context.Context) ([]hive.Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.history), nil
}

// anywhereScript is a nixos-anywhere with the published options and step lines (nix-facts section 2). Like the
// published one it switches host key checking off, and tries an unreachable target for ever.
const anywhereScript = `#!/bin/sh
set -eu
port= copy=
while [ $# -gt 0 ]; do
	case $1 in
	--store-paths) script=$2 system=$3; case $3 in /nix/*) ;; *) [ -s "$3/system" ] || exit 9;; esac; shift 3;;
	-i) key=$2; shift 2;;
	--target-host) host=$2; shift 2;;
	--phases) phases=$2; shift 2;;
	--extra-files) extra=$2; shift 2;;
	--ssh-port) port=$2; shift 2;;
	--build-on) [ "$2" = local ] || exit 9; shift 2;;
	--no-substitute-on-destination) shift;;
	--copy) copy=$2; shift 2;; # this test's own: what is written into that pipe is sent as a closure is
	--disk-encryption-keys) [ "$2" = /tmp/disk.key ] && [ -s "$3" ] || exit 9; shift 3;;
	*) echo "unknown option $1" >&2; exit 9;;
	esac
done
SSH="ssh -T -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no ${port:+-p $port} -i $key $host"
echo "### Uploading install SSH keys ###"
until echo true | $SSH sh -s; do sleep 0.05; done
echo "### Gathering machine facts ###"
echo "### Formatting hard drive with disko ###"
$SSH "$script" </dev/null
[ "$phases" = disko,install ] || { echo "### Done! ###"; exit 0; }
echo "### Uploading the system closure ###"
[ -z "$copy" ] || cat "$copy" | $SSH "cat >/dev/null"
echo "### Copying extra files ###"
tar -C "$extra" -c . | $SSH plant
echo "### Installing NixOS ###"
cat "$extra/var/lib/hatchery/k3s-token" 2>/dev/null || true
echo
echo "### Done! ###"
`

// rig is an appliance with its surroundings: store, hive, machines, and a runner that can be restarted.
type rig struct {
	t     *testing.T
	store *inventorytest.Store
	hive  *fakeHive
	dir   string
	key   ssh.Signer
	port  uint16
	cfg   Config
	*Runner
	stop func()
}

func testRoles() map[string]inventory.Role {
	disks := map[string]inventory.Slot{"os": {Class: inventory.ClassEphemeral, Select: inventory.Select{Order: "smallest"}},
		"data": {Class: inventory.ClassPersistent, Select: inventory.Select{Order: "largest"}, Optional: true}}
	return map[string]inventory.Role{
		"plain":  {System: "x86_64-linux", Disks: disks},
		"server": {System: "x86_64-linux", Disks: disks, K3s: &inventory.K3s{Role: "server", Cluster: "home"}},
		"agent":  {System: "x86_64-linux", Disks: disks, K3s: &inventory.K3s{Role: "agent", Cluster: "home"}},
	}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, store: inventorytest.NewStore(t), hive: &fakeHive{roles: testRoles()}, dir: t.TempDir(), key: sshtest.NewKey(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that all machines of this rig listen on
	if err != nil {
		t.Fatal(err)
	}
	r.port = uint16(l.Addr().(*net.TCPAddr).Port)
	t.Cleanup(func() { l.Close() }) // kept, so that no other rig is given it
	script, key := filepath.Join(r.dir, "nixos-anywhere"), filepath.Join(r.dir, "id")
	r.keyFile(key)
	if err := os.WriteFile(script, []byte(anywhereScript), 0o700); err != nil {
		t.Fatal(err)
	}
	nix := filepath.Join(r.dir, "nix")
	if err := os.WriteFile(nix, []byte(fakeNix), 0o700); err != nil {
		t.Fatal(err)
	}
	r.cfg = Config{Store: r.store, Hive: r.hive, Key: r.key, KeyPath: key, Dir: filepath.Join(r.dir, "data"),
		NixosAnywhere: []string{script}, Nix: []string{nix}, Reserved: reserved, SSHPort: r.port, Tick: 20 * time.Millisecond, RolesEvery: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Limits: Limits{Stage0: 30 * time.Second, Preflight: 30 * time.Second, Build: 30 * time.Second, Install: 60 * time.Second,
			Reboot: 30 * time.Second, Verify: 30 * time.Second, Lost: 15 * time.Second, Fresh: time.Hour, Grace: time.Second,
			Node: 30 * time.Second, Reach: 30 * time.Second, Copy: 30 * time.Second, Switch: 30 * time.Second, Health: 30 * time.Second, Trial: 30 * time.Second,
			Poll: 10 * time.Millisecond, Dial: 5 * time.Second}}
	return r
}

// reserved is the address that every machine of a rig has.
func reserved(m inventory.MAC) (netip.Addr, bool) {
	n := m[5] + 10
	if m[5] == 99 {
		n = 99
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, n}), true
}

// keyFile makes the appliance's key and writes it as ssh reads it.
func (r *rig) keyFile(path string) {
	r.t.Helper()
	raw, err := newKey("appliance")
	if err != nil {
		r.t.Fatal(err)
	}
	if b, _ := pem.Decode(raw); b == nil {
		r.t.Fatal("no PEM")
	}
	if r.key, err = ssh.ParsePrivateKey(raw); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// start runs a runner on the rig; a running one is stopped first.
func (r *rig) start() {
	r.t.Helper()
	if r.stop != nil {
		r.stop()
	}
	run, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errFrozen) {
			r.t.Errorf("Run: %v", err)
		}
	}
	r.t.Cleanup(r.stop)
	select {
	case <-run.Ready():
	case <-time.After(60 * time.Second):
		r.t.Fatal("the runner does not get ready")
	}
	r.Runner = run
}

func (r *rig) machine(n int) *machine {
	r.t.Helper()
	m := startMachine(r.t, r.store, n, r.port, r.key.PublicKey())
	r.t.Cleanup(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, v := range m.violations {
			r.t.Errorf("machine %d: %s", n, v)
		}
		if m.most > 1 {
			r.t.Errorf("machine %d: %d installs at once", n, m.most)
		}
	})
	return m
}

func (r *rig) host(m *machine) inventory.Host {
	r.t.Helper()
	var h inventory.Host
	if err := r.store.View(func(tx *inventory.Tx) (err error) {
		h, err = tx.HostByMAC(m.mac)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *rig) job(m *machine) inventory.Job {
	r.t.Helper()
	var j inventory.Job
	if err := r.store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(m.mac)
		if err != nil {
			return err
		}
		j, err = tx.Job(h.JobID)
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return j
}

// act runs one act of the inventory on the machine's host.
func (r *rig) act(m *machine, fn func(tx *inventory.Tx, id inventory.HostID) error) {
	r.t.Helper()
	id := r.host(m).ID
	if err := r.store.Update(func(tx *inventory.Tx) error { return fn(tx, id) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) assign(m *machine, name, role string) {
	r.t.Helper()
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Assign(tx, id, inventory.Assignment{Name: &name, Role: &role}, "admin", false, time.Now())
		return err
	})
}

func (r *rig) retry(m *machine) {
	r.t.Helper()
	r.act(m, func(tx *inventory.Tx, id inventory.HostID) error {
		_, _, err := inventory.Retry(tx, id, "admin", time.Now())
		return err
	})
}

// until waits until the host is as wanted.
func (r *rig) until(m *machine, what string, ok func(inventory.Host) bool) inventory.Host {
	r.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		h := r.host(m)
		if ok(h) {
			return h
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("host never %s: state %s step %q blocked on %q error %q hint %q\njournal %v\nlog:\n%s", what, h.State, h.Step, h.BlockedOn, h.Error, h.Hint, m.did(), r.logText(m))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *rig) untilState(m *machine, s inventory.State) inventory.Host {
	r.t.Helper()
	return r.until(m, "got to "+string(s), func(h inventory.Host) bool { return h.State == s })
}

func (r *rig) logText(m *machine) string {
	if r.Runner == nil || r.host(m).JobID == "" {
		return ""
	}
	lines, err := r.Tail(r.host(m).ID, 1000)
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s: %s\n", l.Step, l.Text)
	}
	if err != nil {
		b.WriteString(err.Error())
	}
	return b.String()
}

// frozen is a store that loses its power after some updates: none is durable from then on.
type frozen struct {
	inventory.Store
	mu   sync.Mutex
	left int // updates that still get through
	done chan struct{}
}

var errFrozen = errors.New("the appliance is dead")

func (f *frozen) Update(fn func(*inventory.Tx) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		select {
		case <-f.done:
		default:
			close(f.done)
		}
		return errFrozen
	}
	wrote := false
	err := f.Store.Update(func(tx *inventory.Tx) error {
		err := fn(tx)
		wrote = err == nil && len(tx.Changes()) > 0
		return err
	})
	if wrote {
		f.left--
	}
	return err
}
