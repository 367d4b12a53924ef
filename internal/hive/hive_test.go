package hive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

func TestMain(m *testing.M) {
	// as on a machine without internet and without build users
	_ = os.Setenv("NIX_CONFIG", "sandbox = false\nsubstituters =\nbuild-users-group =\n")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(flakesDir())
		os.Exit(code)
	}))
}

var flakes = struct {
	sync.Once
	args []string
	skip string
}{}

func flakesDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("hatchery-hive-test-%d", os.Getpid()))
}

// stubArgs are the nix arguments that put our stubs in the place of nixpkgs and disko. The test is
// skipped where nix does not work, unless HATCHERY_E2E=1.
func stubArgs(t *testing.T) []string {
	t.Helper()
	flakes.Do(func() {
		if out, err := exec.Command("nix", "--extra-experimental-features", "nix-command", "eval", "--expr", "1").CombinedOutput(); err != nil {
			flakes.skip = fmt.Sprintf("nix does not work here: %v: %s", err, out)
			return
		}
		out, err := exec.Command("../../nix/tests/mkflakes.sh", flakesDir()).Output()
		if err != nil {
			flakes.skip = err.Error()
			return
		}
		flakes.args = strings.Fields(string(out))
	})
	if flakes.skip != "" {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatal(flakes.skip)
		}
		t.Skip(flakes.skip)
	}
	return flakes.args
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Person", "-c", "user.email=p@example.org"}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GIT_") })
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func open(t *testing.T, cfg hive.Config) *hive.Hive {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "hive")
	}
	h, err := hive.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func hostFile(name string) hive.HostFile {
	return hive.HostFile{
		Name: name, MAC: inventory.MAC{0x52, 0x54, 0, 0xaa, 0xbb, 1}, Role: "worker", System: "x86_64-linux", Firmware: "uefi",
		Address: &hive.Address{IP: netip.MustParseAddr("10.77.0.50"), Prefix: 24, Gateway: netip.MustParseAddr("10.77.0.1"), Static: true},
		K3s:     &hive.K3s{Role: "agent", Cluster: "home", ServerURL: "https://10.77.0.2:6443"},
		Plan: &hive.Plan{ID: "p-1", Disks: map[string]hive.PlanDisk{
			"os":   {Class: "ephemeral", ID: "virtio-OS", Serial: "OS", Signatures: []string{}, PartUUIDs: []string{}},
			"data": {Class: "persistent", ID: "virtio-DATA", Serial: "DA'TA $(id)", Signatures: []string{"gpt"}, PartUUIDs: []string{}},
		}},
	}
}

func TestRolesOfTheTemplate(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{NixArgs: stubArgs(t), Now: func() time.Time { return time.Unix(1, 0) }})
	got, err := h.Roles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := git(t, h.Dir(), "rev-parse", "HEAD")
	if got.Revision != head || got.Error != "" || !got.ReadAt.Equal(time.Unix(1, 0)) {
		t.Errorf("got revision %s, error %q, read at %v", got.Revision, got.Error, got.ReadAt)
	}
	raw, err := os.ReadFile("testdata/roles.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hive.ParseRoles(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.Roles); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
	if who := git(t, h.Dir(), "log", "-1", "--format=%an <%ae>"); who != "Hatchery <hatchery@localhost>" {
		t.Errorf("committed by %s", who)
	}
}

func TestSummaryOfTheTemplate(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{NixArgs: stubArgs(t)})
	if _, hosts, err := h.Summary(t.Context()); err != nil || len(hosts) != 0 {
		t.Fatalf("of a new hive: %v, %v", hosts, err)
	}
	if _, err := h.WriteHost(t.Context(), hive.HostFacts{Host: hostFile("node1"), Facter: json.RawMessage(`{"version":1}`)}); err != nil {
		t.Fatal(err)
	}
	second := hostFile("node2")
	second.Address, second.K3s, second.Plan = nil, nil, nil
	commit, err := h.WriteHost(t.Context(), hive.HostFacts{Host: second})
	if err != nil {
		t.Fatal(err)
	}
	at, got, err := h.Summary(t.Context())
	if err != nil || at != commit {
		t.Fatalf("at %s, want %s: %v", at, commit, err)
	}
	want := []hive.SummaryHost{
		{Name: "node1", Role: "worker", MAC: "52:54:00:aa:bb:01", System: "x86_64-linux", Address: "10.77.0.50", Static: true,
			Disks: map[string]hive.SummaryDisk{"os": {Class: "ephemeral", ID: "virtio-OS", Serial: "OS"}, "data": {Class: "persistent", ID: "virtio-DATA", Serial: "DA'TA $(id)"}},
			K3s:   &hive.K3s{Role: "agent", Cluster: "home", ServerURL: "https://10.77.0.2:6443"}},
		{Name: "node2", Role: "worker", MAC: "52:54:00:aa:bb:01", System: "x86_64-linux", Disks: map[string]hive.SummaryDisk{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	flake, err := os.ReadFile(filepath.Join(h.Dir(), "flake.nix"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, cause, next string }{
		{"a flake without it", "inherit (fleet) roles summary;", "inherit (fleet) roles;", "the flake has no hatchery.summary", "inherit (fleet) roles summary"},
		{"a summary of another shape", "inherit (fleet) roles summary;", "inherit (fleet) roles; summary.json = 7;", "is not what nix/lib/summary.nix gives", "mkFleet"},
		{"a fault in the code", "inherit (fleet) roles summary;", `inherit (fleet) roles; summary.json = throw "no such thing";`, "no such thing", "Correct the hive"},
	} {
		if err := os.WriteFile(filepath.Join(h.Dir(), "flake.nix"), bytes.Replace(flake, []byte(c.old), []byte(c.new), 1), 0o644); err != nil {
			t.Fatal(err)
		}
		git(t, h.Dir(), "commit", "-qam", c.name)
		var f *hive.Failure
		if _, _, err := h.Summary(t.Context()); !errors.As(err, &f) || !strings.Contains(f.Cause, c.cause) || !strings.Contains(f.Next, c.next) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBuildOfAHost(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{NixArgs: stubArgs(t)})
	if _, err := h.WriteAppliance(t.Context(), hive.ApplianceFile{SSHKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ appliance"}}); err != nil {
		t.Fatal(err)
	}
	commit, err := h.WriteHost(t.Context(), hive.HostFacts{Host: hostFile("node1"), Facter: json.RawMessage(`{"version":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	// what a person edits meanwhile changes nothing
	if err := os.WriteFile(filepath.Join(h.Dir(), "flake.nix"), []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b, err := h.Build(t.Context(), commit, "node1", &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if b.Bytes < 100 {
		t.Errorf("the system takes %d bytes", b.Bytes)
	}
	if !strings.Contains(b.Toplevel, "nixos-system-node1") || !strings.Contains(b.Script, "hatchery-install-node1") {
		t.Errorf("got %+v", b)
	}
	want := hive.Layout{Mounts: []hive.Mount{{Path: "/", FS: "ext4", Slot: "os"}, {Path: "/boot", FS: "vfat", Slot: "os"}, {Path: "/data", FS: "ext4", Slot: "data"}}, KeyFiles: []string{}}
	if d := cmp.Diff(want, b.Layout); d != "" {
		t.Errorf("layout (-want +got):\n%s", d)
	}
	script, err := os.ReadFile(b.Script)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"plan p-1", `'DA'\''TA $(id)'`, "/dev/disk/by-id/virtio-OS"} {
		if !strings.Contains(string(script), want) {
			t.Errorf("the script lacks %q", want)
		}
	}
	if out, err := exec.Command("bash", "-n", b.Script).CombinedOutput(); err != nil {
		t.Errorf("bash -n: %v: %s", err, out)
	}
	format, err := h.BuildFormat(t.Context(), commit, "node1", "data", nil)
	if err != nil {
		t.Fatal(err)
	}
	script, err = os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(script), "virtio-OS") || !strings.Contains(string(script), "virtio-DATA") {
		t.Errorf("the format script of slot data names other disks, or not its own")
	}
}

func TestEveryPlanIsItsOwnScript(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{NixArgs: stubArgs(t)})
	var scripts, systems []string
	for _, id := range []string{"p-1", "p-2"} {
		f := hostFile("node1")
		f.Plan.ID = id
		commit, err := h.WriteHost(t.Context(), hive.HostFacts{Host: f})
		if err != nil {
			t.Fatal(err)
		}
		b, err := h.Build(t.Context(), commit, "node1", nil)
		if err != nil {
			t.Fatal(err)
		}
		scripts, systems = append(scripts, b.Script), append(systems, b.Toplevel)
	}
	if scripts[0] == scripts[1] {
		t.Errorf("both plans gave %s", scripts[0])
	}
	if systems[0] != systems[1] {
		t.Errorf("the plan's id changed the system: %v", systems)
	}
}

func TestBuildFailures(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		edit  func(f *hive.HostFile)
		files map[string]string
		kind  hive.Kind
		cause string
	}{
		{name: "a role that the hive does not have", edit: func(f *hive.HostFile) { f.Role = "nosuch" }, kind: hive.KindEval, cause: "nosuch"},
		{name: "a layout with a slot that the plan leaves empty", kind: hive.KindEval, cause: "`extra`",
			files: map[string]string{"roles/plain.nix": `{ imports = [ ./os-disk.nix ]; partitioning.persistent.disk.extra = { device = "/dev/disk/by-id/x"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/x"; }; }; }`},
			edit: func(f *hive.HostFile) {
				f.Role, f.K3s = "plain", nil
				delete(f.Plan.Disks, "data")
			}},
		{name: "a syntax error", files: map[string]string{"common.nix": "{ ... }: {"}, kind: hive.KindEval, cause: "syntax error"},
		{name: "a builder that fails", kind: hive.KindBuild, cause: "failed with exit code 3: the reason",
			files: map[string]string{"common.nix": `{ lib, pkgs, ... }: { system.build.toplevel = lib.mkForce (pkgs.run "broken" { } "echo the reason; exit 3"); }`}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, hive.Config{NixArgs: stubArgs(t)})
			for n, text := range tc.files {
				if err := os.WriteFile(filepath.Join(h.Dir(), n), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				git(t, h.Dir(), "commit", "-qam", "edit")
			}
			f := hostFile("node1")
			if tc.edit != nil {
				tc.edit(&f)
			}
			commit, err := h.WriteHost(t.Context(), hive.HostFacts{Host: f})
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.Build(t.Context(), commit, "node1", nil)
			var fail *hive.Failure
			if !errors.As(err, &fail) {
				t.Fatalf("got %v, want a Failure", err)
			}
			if fail.Kind != tc.kind || !strings.Contains(fail.Cause, tc.cause) || fail.Next == "" || !strings.Contains(fail.Error(), "node1") {
				t.Errorf("got kind %s, cause %q, next %q; want %s, %q\n%s", fail.Kind, fail.Cause, fail.Next, tc.kind, tc.cause, fail.Output)
			}
		})
	}
}

func TestBuildRefusesWhatIsNoNameOrCommit(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{Nix: []string{"/bin/false"}})
	head, err := h.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", `a".config`, "a;b", "-x", "A", "$(id)", strings.Repeat("a", 64)} {
		if _, err := h.Build(t.Context(), head, name, nil); !errors.Is(err, hive.ErrInvalid) {
			t.Errorf("name %q: got %v", name, err)
		}
	}
	for _, c := range []string{"", "HEAD", "main", head[:39], head + "&dir=x"} {
		if _, err := h.Build(t.Context(), c, "node1", nil); !errors.Is(err, hive.ErrInvalid) {
			t.Errorf("commit %q: got %v", c, err)
		}
	}
}

func TestBuildStopsTheWholeGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fake := filepath.Join(dir, "nix")
	child := filepath.Join(dir, "child")
	// a nix that started a builder which does not listen
	text := "#!/bin/sh\nsh -c 'trap \"\" TERM; echo $$ >" + child + "; while :; do sleep 1; done' &\necho begun >&2\nwait\n"
	if err := os.WriteFile(fake, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"timeout", "cancelled"} {
		t.Run(how, func(t *testing.T) {
			_ = os.Remove(child)
			limit := 3 * time.Second
			if how == "cancelled" {
				limit = time.Minute
			}
			h := open(t, hive.Config{Nix: []string{fake}, BuildTimeout: limit})
			head, err := h.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if how == "cancelled" {
				go func() {
					for !exists(child) && ctx.Err() == nil {
						time.Sleep(10 * time.Millisecond)
					}
					cancel()
				}()
			}
			_, err = h.Build(ctx, head, "node1", nil)
			var fail *hive.Failure
			if how == "timeout" && (!errors.As(err, &fail) || fail.Kind != hive.KindTimeout) {
				t.Errorf("got %v, want a timeout", err)
			}
			if how == "cancelled" && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			raw, err := os.ReadFile(child)
			if err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Sscan(string(raw), &pid); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); alive(pid); {
				if time.Now().After(end) {
					t.Fatalf("process %d of the group still runs", pid)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
}

func exists(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Size() > 0
}

func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(raw), ") Z ")
}
