package hive_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

func write(t *testing.T, h *hive.Hive, f hive.HostFile) string {
	t.Helper()
	c, err := h.WriteHost(t.Context(), hive.HostFacts{Host: f})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWriteHostCommitsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{})
	first := write(t, h, hostFile("node1"))
	if again := write(t, h, hostFile("node1")); again != first {
		t.Errorf("the same facts made another commit: %s, %s", first, again)
	}
	// a person is in the middle of something
	if err := os.WriteFile(filepath.Join(h.Dir(), "common.nix"), []byte("{ }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, h.Dir(), "add", "common.nix")
	f := hostFile("node1")
	f.Role = "plain"
	second := write(t, h, f)
	if files := git(t, h.Dir(), "show", "--name-only", "--format=%s", second); files != "hosts: host node1\n\nhosts/node1/host.json" {
		t.Errorf("the commit holds:\n%s", files)
	}
	if st := git(t, h.Dir(), "status", "--porcelain"); st != "M  common.nix" {
		t.Errorf("the person's work is %q", st)
	}
	raw, err := os.ReadFile(filepath.Join(h.Dir(), "hosts/node1/host.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got hive.HostFile
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	f.Schema, f.Plan.WipePersistent = hive.SchemaVersion, []string{}
	if d := cmp.Diff(f, got, cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); d != "" {
		t.Errorf("host.json (-want +got):\n%s", d)
	}
}

func TestRemoveHost(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{})
	kept := write(t, h, hostFile("node1"))
	for _, name := range []string{"node1", "node1", "never-there"} {
		c, err := h.RemoveHost(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		kept = c
	}
	if files := git(t, h.Dir(), "ls-tree", "-r", "--name-only", kept, "hosts"); files != "hosts/README.md" {
		t.Errorf("left: %s", files)
	}
	if _, err := os.Stat(filepath.Join(h.Dir(), "hosts/node1")); err == nil {
		t.Error("the folder is still there")
	}
}

func TestOpenRefusesAFolderWithOtherThings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := hive.Open(t.Context(), hive.Config{Dir: dir}); !errors.Is(err, hive.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// remote is a bare repository that began as a template hive.
// TestANewHiveIsWholeOrNotThere ends git before the first commit, as a power cut does: the next start makes the hive.
func TestANewHiveIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "hive")
	dies := filepath.Join(t.TempDir(), "git")
	if err := os.WriteFile(dies, []byte("#!/bin/sh\ncase \"$*\" in *\" commit \"*) exit 1;; esac\nexec git \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := hive.Open(t.Context(), hive.Config{Dir: dir, Git: dies}); err == nil {
		t.Fatal("the hive was made without a commit")
	}
	if err := os.MkdirAll(filepath.Join(dir+".new", ".git"), 0o755); err != nil { // what a cut leaves
		t.Fatal(err)
	}
	open(t, hive.Config{Dir: dir})
	for _, f := range []string{"flake.nix", ".git/refs/heads/main"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half of a hive is still there: %v", err)
	}
}

func remote(t *testing.T) string {
	t.Helper()
	seed := open(t, hive.Config{})
	bare := filepath.Join(t.TempDir(), "remote.git")
	git(t, t.TempDir(), "clone", "-q", "--bare", seed.Dir(), bare)
	return bare
}

func TestRemoteIsFollowedAndPushedTo(t *testing.T) {
	t.Parallel()
	bare := remote(t)
	h := open(t, hive.Config{Source: bare})
	c := write(t, h, hostFile("node1"))
	if got := git(t, bare, "rev-parse", "main"); got != c {
		t.Errorf("remote has %s, want %s", got, c)
	}
	// a person pushes something else, from elsewhere
	person := filepath.Join(t.TempDir(), "person")
	git(t, t.TempDir(), "clone", "-q", bare, person)
	if err := os.WriteFile(filepath.Join(person, "note.txt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, person, "add", ".")
	git(t, person, "commit", "-qm", "note")
	git(t, person, "push", "-q")
	c = write(t, h, hostFile("node2"))
	if got := git(t, bare, "rev-parse", "main"); got != c || h.SyncError() != nil {
		t.Errorf("remote has %s, want %s; %v", got, c, h.SyncError())
	}
	if files := git(t, bare, "ls-tree", "-r", "--name-only", "main"); !strings.Contains(files, "note.txt") || !strings.Contains(files, "hosts/node2/host.json") {
		t.Errorf("remote holds:\n%s", files)
	}
}

func TestConflictIsShownAndNothingIsForced(t *testing.T) {
	t.Parallel()
	bare := remote(t)
	h := open(t, hive.Config{Source: bare})
	write(t, h, hostFile("node1"))
	person := filepath.Join(t.TempDir(), "person")
	git(t, t.TempDir(), "clone", "-q", bare, person)
	path := filepath.Join(person, "hosts/node1/host.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), `"worker"`, `"plain"`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, person, "commit", "-qam", "other role")

	// we commit while the remote cannot be reached, then the person pushes
	moved := bare + ".away"
	if err := os.Rename(bare, moved); err != nil {
		t.Fatal(err)
	}
	f := hostFile("node1")
	f.Role = "server"
	ours := write(t, h, f)
	if h.SyncError() == nil {
		t.Error("an unreachable remote was not told")
	}
	if err := os.Rename(moved, bare); err != nil {
		t.Fatal(err)
	}
	git(t, person, "push", "-q")
	theirs := git(t, bare, "rev-parse", "main")

	got := write(t, h, f)
	var fail *hive.Failure
	if !errors.As(h.SyncError(), &fail) || fail.Kind != hive.KindConflict || !strings.Contains(fail.Cause, "hosts/node1/host.json") {
		t.Errorf("got %v, want a conflict that names the file", h.SyncError())
	}
	if got != ours {
		t.Errorf("our commit is %s, was %s", got, ours)
	}
	if now := git(t, bare, "rev-parse", "main"); now != theirs {
		t.Errorf("the remote was changed to %s", now)
	}
	if st := git(t, h.Dir(), "status", "--porcelain"); st != "" {
		t.Errorf("the work tree was left as %q", st)
	}
}

func TestHostFileCheck(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		edit func(f *hive.HostFile)
		ok   bool
	}{
		{"as it should be", func(*hive.HostFile) {}, true},
		{"without plan, address and cluster", func(f *hive.HostFile) { f.Plan, f.Address, f.K3s = nil, nil, nil }, true},
		{"a name with a path", func(f *hive.HostFile) { f.Name = "../x" }, false},
		{"no name", func(f *hive.HostFile) { f.Name = "" }, false},
		{"no role", func(f *hive.HostFile) { f.Role = "" }, false},
		{"a system of another kind", func(f *hive.HostFile) { f.System = "riscv64-linux" }, false},
		{"unknown firmware", func(f *hive.HostFile) { f.Firmware = "" }, false},
		{"a static address without prefix", func(f *hive.HostFile) { f.Address.Prefix = 0 }, false},
		{"an agent that initialises", func(f *hive.HostFile) { f.K3s.Init = true }, false},
		{"a joining server without URL", func(f *hive.HostFile) { f.K3s = &hive.K3s{Role: "server", Cluster: "home"} }, false},
		{"a URL that is more than one", func(f *hive.HostFile) { f.K3s.ServerURL = "https://x/$(id)" }, false},
		{"a disk id with a slash", func(f *hive.HostFile) {
			f.Plan.Disks["os"] = hive.PlanDisk{Class: "ephemeral", ID: "../../sda"}
		}, false},
		{"one disk in two slots", func(f *hive.HostFile) {
			f.Plan.Disks["os"] = hive.PlanDisk{Class: "ephemeral", ID: "virtio-DATA"}
		}, false},
		{"a slot that is a Nix expression", func(f *hive.HostFile) {
			f.Plan.Disks["${x}"] = hive.PlanDisk{Class: "ephemeral", ID: "virtio-X"}
		}, false},
		{"an unknown class", func(f *hive.HostFile) { f.Plan.Disks["os"] = hive.PlanDisk{Class: "other", ID: "virtio-X"} }, false},
		{"a serial with a control character", func(f *hive.HostFile) {
			f.Plan.Disks["os"] = hive.PlanDisk{Class: "ephemeral", ID: "virtio-X", Serial: "a\nb"}
		}, false},
		{"a wipe of an ephemeral slot", func(f *hive.HostFile) { f.Plan.WipePersistent = []string{"os"} }, false},
		{"a wipe of a persistent slot", func(f *hive.HostFile) { f.Plan.WipePersistent = []string{"data"} }, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := hostFile("node1")
			tc.edit(&f)
			if err := f.Check(); (err == nil) != tc.ok || err != nil && !errors.Is(err, hive.ErrInvalid) {
				t.Errorf("got %v, want ok %v", err, tc.ok)
			}
		})
	}
}

func TestParseRoles(t *testing.T) {
	t.Parallel()
	const os = `"disks":{"os":{"class":"ephemeral","select":{}}}`
	cases := []struct{ name, raw, want string }{
		{"a whole role", `{"a":{"description":"d","system":"x86_64-linux",` + os + `,"k3s":{"role":"server","cluster":"home"},"autoInstall":{"match":{"vendor":"QEMU*"}}}}`, ""},
		{"no roles at all", `{}`, ""},
		{"a field that nobody knows", `{"a":{"system":"x86_64-linux",` + os + `,"disk":1}}`, `unknown field "disk"`},
		{"a role without a system disk", `{"a":{"system":"x86_64-linux","disks":{"d":{"class":"persistent","select":{}}}}}`, "no ephemeral slot"},
		{"an unknown class", `{"a":{"system":"x86_64-linux","disks":{"os":{"class":"ephemral","select":{}}}}}`, `class "ephemral"`},
		{"an unknown order", `{"a":{"system":"x86_64-linux","disks":{"os":{"class":"ephemeral","select":{"order":"big"}}}}}`, `order "big"`},
		{"a name that is no role's", `{"a b":{"system":"x86_64-linux",` + os + `}}`, "name is not possible"},
		{"a boot order of another kind", `{"a":{"system":"x86_64-linux",` + os + `,"bootOrder":"usb"}}`, "want disk"},
		{"kernel arguments with a quote", `{"a":{"system":"x86_64-linux",` + os + `,"kernelArgs":"x=\"y\""}}`, "kernel arguments"},
		{"a rule that matches nothing", `{"a":{"system":"x86_64-linux",` + os + `,"autoInstall":{"match":{}}}}`, "autoInstall.match is empty"},
		{"a rule with a misspelt field", `{"a":{"system":"x86_64-linux",` + os + `,"autoInstall":{"match":{"vendor":"Dell*","minDisk":2}}}}`, `unknown field "minDisk"`},
		{"a rule with both bounds", `{"a":{"system":"x86_64-linux",` + os + `,"autoInstall":{"match":{"minMemoryBytes":1,"maxMemoryBytes":2,"maxDisks":3,"maxDiskBytes":4}}}}`, ""},
		{"a rule with nothing between its bounds", `{"a":{"system":"x86_64-linux",` + os + `,"autoInstall":{"match":{"minDisks":3,"maxDisks":2}}}}`, "nothing is between"},
		{"something behind the value", `{} {}`, "something follows"},
		{"a list", `[]`, "cannot unmarshal"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := hive.ParseRoles([]byte(tc.raw))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRolesPinsTheInputsOnce(t *testing.T) {
	t.Parallel()
	fake := filepath.Join(t.TempDir(), "nix")
	text := `#!/bin/sh
case "$*" in
*"flake lock"*) for dir; do :; done; echo '{"nodes":{"root":{"inputs":{"hatchery":"hatchery"}}}}' >"$dir/flake.lock"; echo lock >>"$0.log" ;;
*) echo '{}' ;;
esac
`
	if err := os.WriteFile(fake, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	h := open(t, hive.Config{Nix: []string{fake}})
	var revisions []string
	for range 2 {
		r, err := h.Roles(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, r.Revision)
	}
	if revisions[0] != revisions[1] {
		t.Errorf("pinned twice: %v", revisions)
	}
	if s := git(t, h.Dir(), "log", "-1", "--format=%s"); s != "flake: pin the inputs" {
		t.Errorf("the last commit is %q", s)
	}
	raw, err := os.ReadFile(fake + ".log")
	if err != nil || string(raw) != "lock\n" {
		t.Errorf("nix flake lock ran %q, %v", raw, err)
	}
}

func TestPlanDiskOf(t *testing.T) {
	t.Parallel()
	got := hive.PlanDiskOf("persistent", inventory.Disk{
		ID: "virtio-A", Serial: "A", WWN: "w", Signatures: []string{"gpt", "PMBR", "ext4", "gpt"},
		Partitions: []inventory.Partition{{UUID: "0FC63DAF-8483-4772-8E79-3D69D8477DE4"}, {UUID: "deadbeef-01"}, {}},
	})
	want := hive.PlanDisk{Class: "persistent", ID: "virtio-A", Serial: "A", WWN: "w",
		Signatures: []string{"ext4", "gpt"}, PartUUIDs: []string{"0fc63daf-8483-4772-8e79-3d69d8477de4"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("plan disk (-want +got):\n%s", d)
	}
	blank := hive.PlanDiskOf("ephemeral", inventory.Disk{ID: "virtio-B"})
	if blank.Signatures == nil || blank.PartUUIDs == nil {
		t.Error("a blank disk's lists must be [] in JSON, not null")
	}
}
