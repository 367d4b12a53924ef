package pipeline

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

func TestSteps(t *testing.T) {
	t.Parallel()
	all := []string{"stage-0", "disk plan", "preflight", "hive", "build", "install", "mounts", "netboot", "reboot", "verify"}
	for _, c := range []struct {
		name string
		job  inventory.Job
		want []string
	}{
		{"an install", inventory.Job{Kind: inventory.JobInstall}, all},
		{"a reinstall", inventory.Job{Kind: inventory.JobReinstall}, all},
		{"a retry before the flip", inventory.Job{Kind: inventory.JobInstall, Wrote: true, Attempt: 2}, all},
		{"a retry after the flip writes nothing", inventory.Job{Kind: inventory.JobInstall, Wrote: true, Flipped: true}, []string{"reboot", "verify"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, s := range Steps(inventory.Host{Name: "node1"}, testRole("plain"), diskplan.Plan{}, c.job) {
				got = append(got, s.Name)
				if s.Writes != (s.Name == StepInstall) || s.Limit <= 0 || s.Title == "" {
					t.Errorf("step %+v", s)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, line, want string
		phase            phase
	}{
		{"a step line", "### Formatting hard drive with disko ###", "Formatting hard drive with disko", phase{Title: "formatting the disks"}},
		{"one with space around", "  ### Done! ###  ", "Done!", phase{Title: "done", Formatted: true, Done: true}},
		{"an unknown one", "### Something new ###", "Something new", phase{}},
		{"ordinary output", "copying path '/nix/store/x'", "", phase{}},
		{"a half one", "### Uploading", "", phase{}},
		{"an empty one", "###  ###", "", phase{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, ok := mark(c.line)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("mark: got %q, %t, want %q", got, ok, c.want)
			}
			if diff := cmp.Diff(c.phase, phaseOf(got)); diff != "" {
				t.Errorf("phase (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	good := func() situation {
		return situation{now: now, fresh: time.Minute, hive: inventory.Hive{Roles: testRoles(), ReadAt: now},
			job: inventory.Job{Kind: inventory.JobInstall, State: inventory.JobQueued},
			host: inventory.Host{ID: "h", Role: "plain", State: inventory.StateQueued, HostKey: "k", BootID: "b", IP: netip.MustParseAddr("10.0.0.2"),
				ReportedAt: now.Add(-time.Second), Facts: &inventory.Facts{Arch: "x86_64"}}}
	}
	for _, c := range []struct {
		name   string
		change func(*situation)
		want   verdict
	}{
		{"everything is there", func(*situation) {}, verdict{start: true}},
		{"the machine was never seen", func(s *situation) { s.host.Facts = nil }, verdict{blocked: waitPower}},
		{"the machine is off", func(s *situation) { s.host.ReportedAt = now.Add(-time.Hour) }, verdict{blocked: waitPower, machine: true}},
		{"a reinstall of a machine that runs its own system", func(s *situation) {
			s.job.Kind, s.host.EverFlipped, s.host.ReportedAt = inventory.JobReinstall, true, now.Add(-time.Hour)
		}, verdict{blocked: waitNetboot, restart: true, machine: true}},
		{"a person must approve", func(s *situation) { s.host.Attention = "Two machines." }, verdict{blocked: "Waits for a person's approval. Two machines."}},
		{"the plan is blocked", func(s *situation) { s.obstacle = "Waits for a person. Data." }, verdict{blocked: "Waits for a person. Data."}},
		{"the cluster is not there", func(s *situation) { s.cluster = "Waits for a server." }, verdict{blocked: "Waits for a server."}},
		{"the hive was not read yet", func(s *situation) { s.hive = inventory.Hive{} }, verdict{blocked: "Waits until the roles were read from the hive."}},
		{"the hive is broken", func(s *situation) { s.hive = inventory.Hive{Error: "It is."} }, verdict{blocked: "Waits for the hive, which cannot be read: It is."}},
		{"the role is not in the hive", func(s *situation) { s.host.Role = "gone" }, verdict{blocked: "Waits for role gone, which is not in the hive (it has agent, plain, server): add it there or give another role."}},
		{"the role is for another architecture", func(s *situation) { s.host.Facts.Arch = "aarch64" }, verdict{blocked: "Waits for another role: plain is for x86_64-linux, the machine is aarch64."}},
		{"the netboot was flipped", func(s *situation) { s.job.Flipped, s.host.Facts, s.hive = true, nil, inventory.Hive{} }, verdict{start: true}},
		{"an install of an installed host", func(s *situation) { s.host.EverFlipped = true }, verdict{fail: &Failure{Step: StepPlan,
			Cause: "The host is installed: only a reinstall writes to it again.", Hint: "Cancel this job; ask for a reinstall if you mean to replace the system."}}},
		{"a kind of job that is not known", func(s *situation) { s.job.Kind = "dance" }, verdict{fail: &Failure{Step: StepStage0,
			Cause: "This release does not know jobs of kind \"dance\".", Hint: "Cancel the job."}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := good()
			c.change(&s)
			if diff := cmp.Diff(c.want, gate(s), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPartInTheCluster(t *testing.T) {
	t.Parallel()
	a, b := member{id: "a", label: "node-a", ip: netip.MustParseAddr("10.0.0.1")}, member{id: "b", label: "node-b", ip: netip.MustParseAddr("10.0.0.2")}
	for _, c := range []struct {
		name, role  string
		initialiser member
		joined      []member
		want        *hive.K3s
		blocked     string
	}{
		{"the first server initialises", "server", member{}, nil, &hive.K3s{Role: "server", Cluster: "home", Init: true}, ""},
		{"a second server waits for the first", "server", a, nil, nil, "Waits for node-a, the first server of cluster home, to be installed."},
		{"a second server joins", "server", a, []member{a}, &hive.K3s{Role: "server", Cluster: "home", ServerURL: "https://10.0.0.1:6443"}, ""},
		{"the first server, reinstalled, joins the others", "server", member{id: "self"}, []member{b}, &hive.K3s{Role: "server", Cluster: "home", ServerURL: "https://10.0.0.2:6443"}, ""},
		{"a sole server, reinstalled, initialises", "server", member{id: "self"}, nil, &hive.K3s{Role: "server", Cluster: "home", Init: true}, ""},
		{"an agent waits for any server", "agent", member{}, nil, nil, "Waits for the first server of cluster home: no host has a server role of it yet."},
		{"an agent waits for the first server", "agent", a, nil, nil, "Waits for node-a, the first server of cluster home, to be installed."},
		{"an agent joins", "agent", a, []member{a}, &hive.K3s{Role: "agent", Cluster: "home", ServerURL: "https://10.0.0.1:6443"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, blocked := part(&inventory.Host{ID: "self"}, &inventory.K3s{Role: c.role, Cluster: "home"}, c.initialiser, c.joined)
			if diff := cmp.Diff(c.want, got); diff != "" || blocked != c.blocked {
				t.Errorf("part (-want +got):\n%s\nblocked %q, want %q", diff, blocked, c.blocked)
			}
		})
	}
}

// goodLook is what a machine prints that may be installed.
const goodLook = "boot b1\nnow 1700000000\nos ID nixos\nos VARIANT_ID \"installer\"\nmemory 2000000\n" +
	"disk virtio-a device /dev/vda\ndisk virtio-a serial A\ndisk virtio-a signature gpt\ndisk virtio-a signature PMBR\ndisk virtio-a part 0FC63DAF-0000-4000-8000-0000000000AB\ndisk virtio-a part 1234abcd-01\n" +
	"disk virtio-a child vda disk\ndisk virtio-a child vda1 part\nend\n"

func TestJudgeLook(t *testing.T) {
	t.Parallel()
	plan := &hive.Plan{ID: "p", Disks: map[string]hive.PlanDisk{"os": {Class: "ephemeral", ID: "virtio-a", Serial: "A", Signatures: []string{"gpt"}, PartUUIDs: []string{"0fc63daf-0000-4000-8000-0000000000ab"}}}}
	for _, c := range []struct {
		name, out, cause string
	}{
		{"all as planned", goodLook, ""},
		{"output that was cut short", strings.TrimSuffix(goodLook, "end\n"), "cut short"},
		{"another boot", strings.Replace(goodLook, "b1", "b2", 1), "restarted since it checked in"},
		{"not an installer", strings.Replace(goodLook, "installer", "server", 1), "another system than stage-0"},
		{"not NixOS", strings.Replace(goodLook, "nixos", "debian", 1), "another system than stage-0"},
		{"a missing program", "lacks nixos-install\n" + goodLook, "lacks programs that the install needs: nixos-install"},
		{"a missing program of nix in a stand-in", "lacks nixos-install\n" + strings.Replace(goodLook, "ID nixos", "ID hatchery\nos ID_LIKE nixos", 1), ""},
		{"too little memory", strings.Replace(goodLook, "2000000", "500000", 1), "488 MiB of memory"},
		{"something mounted", "mounted /mnt/boot /dev/vda1\n" + goodLook, "still mounted at /mnt/boot"},
		{"a disk that is gone", strings.ReplaceAll(goodLook, "virtio-a", "virtio-b"), "Disk virtio-a (slot os) is gone"},
		{"a disk link that leads nowhere", "disk virtio-a missing\n" + goodLook, "is gone"},
		{"another serial number", strings.Replace(goodLook, "serial A", "serial B", 1), "has serial number B, not A"},
		{"other signatures", strings.Replace(goodLook, "signature gpt", "signature dos", 1), "holds dos, not gpt"},
		{"other partitions", strings.Replace(goodLook, "0000AB", "0000AC", 1), "has other partitions"},
		{"an array that was assembled", strings.Replace(goodLook, "vda1 part\n", "vda1 part\ndisk virtio-a child md127 raid1\n", 1), "in use on the machine (md127)"},
		{"a partition that is mounted", strings.Replace(goodLook, "vda1 part\n", "vda1 part /srv\n", 1), "in use on the machine (vda1)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := parseLook(c.out)
			f := l.judge("b1", plan)
			switch {
			case c.cause == "" && f != nil:
				t.Errorf("refused: %v", f)
			case c.cause != "" && (f == nil || !strings.Contains(f.Cause, c.cause) || f.Hint == ""):
				t.Errorf("got %+v, want a cause with %q", f, c.cause)
			}
		})
	}
}

// TestJudgeLookByPort: a disk that is known by its port alone is compared by all that can be told of it.
func TestJudgeLookByPort(t *testing.T) {
	t.Parallel()
	const name = "path:pci-0000:00:05.0"
	if s := lookScript([]string{name}); !strings.Contains(s, "look 'path:pci-0000:00:05.0' '/dev/disk/by-path/pci-0000:00:05.0'\n") {
		t.Errorf("the script does not look at the port:\n%s", s)
	}
	if s := mountsScript([]string{name}); !strings.Contains(s, "'/dev/disk/by-path/pci-0000:00:05.0'") {
		t.Errorf("the script does not look at the port's mounts:\n%s", s)
	}
	d := hive.PlanDiskOf(inventory.ClassEphemeral, inventory.Disk{Path: "pci-0000:00:05.0", Model: "M", SizeBytes: 512, Signatures: []string{"gpt"}})
	if d.ID != name || d.SizeBytes != 512 || d.Model != "M" {
		t.Errorf("planned disk: got %+v, want its port, size and model", d)
	}
	good := strings.ReplaceAll(strings.Replace(strings.Replace(goodLook, "serial A", "serial \ndisk virtio-a size 512", 1), "disk virtio-a part 0FC63DAF-0000-4000-8000-0000000000AB\n", "", 1), "virtio-a", name)
	for what, c := range map[string]struct{ out, cause string }{
		"the same":        {good, ""},
		"another size":    {strings.Replace(good, "size 512", "size 1024", 1), "has 1024 bytes, not 512"},
		"a serial number": {strings.Replace(good, "serial \n", "serial NEW\n", 1), "has serial number NEW, which it did not have"},
		"other contents":  {strings.Replace(good, "signature gpt", "signature dos", 1), "holds dos, not gpt"},
	} {
		l := parseLook(c.out)
		f := l.judge("b1", &hive.Plan{ID: "p", Disks: map[string]hive.PlanDisk{"os": d}})
		if c.cause == "" && f != nil || c.cause != "" && (f == nil || !strings.Contains(f.Cause, c.cause)) {
			t.Errorf("%s: got %+v, want a cause with %q", what, f, c.cause)
		}
	}
	other := d
	for _, change := range []func(){func() { other.SizeBytes++ }, func() { other.Model = "N" }, func() { other.Serial = "S" }, func() { other.ID = "ata-x" }} {
		if other = d; !samePlanned(d, other) {
			t.Error("a disk is not the same as itself")
		}
		if change(); samePlanned(d, other) {
			t.Errorf("%+v passes for %+v", other, d)
		}
	}
}

func TestJudgeMounts(t *testing.T) {
	t.Parallel()
	plan := &hive.Plan{Disks: map[string]hive.PlanDisk{"os": {ID: "virtio-a"}, "data": {ID: "virtio-b"}}}
	want := hive.Layout{Mounts: []hive.Mount{{Path: "/", FS: "ext4", Slot: "os"}, {Path: "/data", FS: "xfs", Slot: "data"}}}
	good := "mount /mnt ext4 /dev/vda2\non /mnt /dev/vda\nmount /mnt/data xfs /dev/vdb1\non /mnt/data /dev/vdb\ndisk virtio-a /dev/vda\ndisk virtio-b /dev/vdb\nend\n"
	for _, c := range []struct{ name, out, cause string }{
		{"all as planned", good, ""},
		{"nothing mounted", "disk virtio-a /dev/vda\nend\n", "Nothing is mounted at /mnt"},
		{"cut short", strings.TrimSuffix(good, "end\n"), "cut short"},
		{"another file system", strings.Replace(good, "xfs", "ext4", 1), "/data is mounted as ext4; the layout says xfs"},
		{"from another disk of the plan", strings.Replace(good, "on /mnt/data /dev/vdb", "on /mnt/data /dev/vda", 1), "/data is not mounted from the disk of slot data"},
		{"a disk outside the plan", strings.Replace(good, "end\n", "mount /mnt/x ext4 /dev/vdc1\non /mnt/x /dev/vdc\nend\n", 1), "no disk of the plan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := judgeMounts(c.out, want, plan)
			switch {
			case c.cause == "" && f != nil:
				t.Errorf("refused: %v", f)
			case c.cause != "" && (f == nil || !strings.Contains(f.Cause, c.cause)):
				t.Errorf("got %+v, want a cause with %q", f, c.cause)
			}
		})
	}
}

// TestScriptsAreShell has the real sh and the real tools of this machine run the scripts that look.
func TestScriptsAreShell(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{"look": lookScript([]string{"virtio-none"}), "mounts": mountsScript([]string{"virtio-none"}),
		"sweep": sweepScript, "unmount": unmountScript, "reboot": rebootScript, "poweroff": powerOffScript, "release": releaseScript,
		"disk-first": diskFirstScript, "netboot-once": netbootOnceScript(inventory.MAC{2, 0, 0, 0, 0, 1}),
		"facter": facterScript, "facts": factsScript, "boot": bootScript, "system": systemScript, "clock": clockScript(time.Unix(1, 0))} {
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("script %s: %v: %s", name, err, out)
		}
		if !strings.HasPrefix(script, "# hatchery: "+name+"\n") {
			t.Errorf("script %s does not begin with its name", name)
		}
	}
	cmd := exec.Command("sh", "-s")
	cmd.Stdin = strings.NewReader(lookScript([]string{"virtio-none"}))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	l := parseLook(string(out))
	if !l.whole || l.bootID == "" || l.memory == 0 || l.os["ID"] == "" || l.skew(time.Now()) > maxSkew || !l.disks["virtio-none"].missing {
		t.Errorf("a look at this machine: %+v", l)
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	m := &masks{}
	m.add("0123456789abcdef")
	m.add("0123456789abcdef-longer")
	m.add("-----BEGIN KEY-----\nQUJDREVGR0hJSktM\nshort\n-----END KEY-----\n")
	got := m.apply("token=0123456789abcdef-longer,0123456789abcdef QUJDREVGR0hJSktM short -----BEGIN KEY-----")
	if want := "token=•••,••• ••• short -----BEGIN KEY-----"; got != want {
		t.Errorf("masked: got %q, want %q", got, want)
	}
}

func TestJobLogGoesOnBehindARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs", "j.log")
	now := func() time.Time { return time.Unix(1700000000, 0) }
	open := func() *joblog {
		l, err := openLog(path, 100, &masks{}, now)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	l.limit = 200
	l.add("disk plan", "one\ttab \x1b[31mred\x1b[0m")
	more := l.page("j", 101).More
	l.add("build", "two")
	<-more
	l.close()
	l.add("build", "never")
	if p := l.page("j", 0); p.More != nil || len(p.Lines) != 2 {
		t.Errorf("a closed log: %+v", p)
	}
	// The crash tore the last line.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("103 2026"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l = open()
	l.add("build", "three")
	l.close()
	l = open()
	defer l.close()
	var got []Line
	for _, line := range l.page("j", 0).Lines {
		line.Time = time.Time{}
		got = append(got, line)
	}
	want := []Line{{No: 101, Step: "disk plan", Text: "one tab red"}, {No: 102, Step: "build", Text: "two"}, {No: 103, Step: "build", Text: "three"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestJobLogIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "j.log")
	l, err := openLog(path, 0, &masks{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l.limit = 4096
	for range 2 * ringLines {
		l.add("build", strings.Repeat("x", 50))
	}
	if p := l.page("j", 0); len(p.Lines) > ringLines || p.Lines[len(p.Lines)-1].No != 2*ringLines {
		t.Errorf("ring of %d lines, last %d", len(p.Lines), p.Lines[len(p.Lines)-1].No)
	}
	l.close()
	for _, p := range []string{path, path + ".1"} {
		if st, err := os.Stat(p); err != nil || st.Size() > 4096+maxLine {
			t.Errorf("%s: %v, %v", p, st, err)
		}
	}
}

func TestVault(t *testing.T) {
	t.Parallel()
	v := &vault{dir: t.TempDir(), masks: &masks{}}
	key, public, err := v.hostKey("h1", "")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := v.hostKey("h1", public)
	if err != nil || again != key {
		t.Errorf("a second call made another key: %v", err)
	}
	back, _, err := v.hostKey("h2", public)
	if err != nil || back != key {
		t.Errorf("a forgotten host that came back has another key: %v", err)
	}
	_, other, err := v.hostKey("h3", "")
	if err != nil || other == public {
		t.Errorf("another host has the same key: %v", err)
	}
	server, agent, err := v.tokensFor(&hive.K3s{Role: "server", Cluster: "home"})
	if err != nil || server == "" || agent == "" || server == agent {
		t.Errorf("tokens of a server: %v", err)
	}
	if s, a, err := v.tokensFor(&hive.K3s{Role: "agent", Cluster: "home"}); err != nil || s != "" || a != agent {
		t.Errorf("an agent gets the server's token or another agent token: %v", err)
	}
	if _, err := v.token("../x", tokenServer); err == nil {
		t.Error("a cluster name that leaves the folder was accepted")
	}
	noSecretIn(t, v.dir, "nothing: only the modes")
	if got := v.masks.apply("t " + string(server)); strings.Contains(got, string(server)) {
		t.Error("a token is not masked")
	}
}

func TestWrapperIsFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin, err := writeWrapper(dir, "/usr/bin/ssh", "/k/id", "ssh-ed25519 AAAA", netip.MustParseAddr("10.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(bin, "ssh"), "-G", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "root@10.0.0.2").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"stricthostkeychecking true", "userknownhostsfile " + filepath.Join(dir, "known_hosts"), "hostkeyalias hatchery-target",
		"passwordauthentication no", "batchmode yes", "identityfile /k/id", "globalknownhostsfile /dev/null"} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("ssh -G lacks %q:\n%s", want, out)
		}
	}
	if _, err := writeWrapper(t.TempDir()+"/with space", "/usr/bin/ssh", "/k/id", "k", netip.Addr{}); err == nil {
		t.Error("a path that ssh would split was accepted")
	}
}

// TestBegun: what a cut install may have left half formatted, from the durable record alone.
func TestBegun(t *testing.T) {
	t.Parallel()
	disk := func(id string) inventory.Disk { return inventory.Disk{ID: id, Serial: "S-" + id} }
	plan := func(class string, signatures ...string) *hive.Plan {
		d := hive.PlanDiskOf(class, disk("b"))
		d.Signatures = signatures
		return &hive.Plan{Disks: map[string]hive.PlanDisk{"data": d}}
	}
	typed := plan(inventory.ClassPersistent, "ntfs")
	typed.WipePersistent = []string{"data"}
	wrote := inventory.Job{Wrote: true}
	for _, c := range []struct {
		name string
		last *hive.Plan
		job  inventory.Job
		disk inventory.Disk
		want map[string]string
	}{
		{"it was blank", plan(inventory.ClassPersistent), wrote, disk("b"), map[string]string{"data": "b"}},
		{"its wipe was typed", typed, wrote, disk("b"), map[string]string{"data": "b"}},
		{"it held data that was kept", plan(inventory.ClassPersistent, "gpt"), wrote, disk("b"), map[string]string{}},
		{"an ephemeral one is erased anyway", plan(inventory.ClassEphemeral), wrote, disk("b"), map[string]string{}},
		{"another disk is there now", plan(inventory.ClassPersistent), wrote, inventory.Disk{ID: "b", Serial: "other"}, map[string]string{}},
		{"nothing was written", plan(inventory.ClassPersistent), inventory.Job{}, disk("b"), nil},
		{"its system ran already", plan(inventory.ClassPersistent), inventory.Job{Wrote: true, Flipped: true}, disk("b"), nil},
		{"no attempt wrote", nil, wrote, disk("b"), nil},
	} {
		rec := record{Last: c.last}
		got := rec.begun(&inventory.Host{Facts: &inventory.Facts{Disks: []inventory.Disk{c.disk}}}, &c.job)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestHalfFormattedDiskIsWipedByThePlan: the script is told to, without anybody typing anything.
func TestHalfFormattedDiskIsWipedByThePlan(t *testing.T) {
	t.Parallel()
	role := testRole("plain")
	os := inventory.Disk{ID: "a", Serial: "S-a", SizeBytes: 20e9, Type: "ssd"}
	data := inventory.Disk{ID: "b", Serial: "S-b", SizeBytes: 80e9, Type: "ssd"}
	h := inventory.Host{ID: "h", Facts: &inventory.Facts{Arch: "x86_64", Disks: []inventory.Disk{os, data}}}
	j := inventory.Job{Auto: true}
	var rec record
	p, _ := makePlan(&h, role, &j, &rec)
	h, j.Wrote, rec.Last = p.Own(h), true, hivePlan(&p, &h, nil)
	data.Signatures, data.Partitions = []string{"gpt"}, []inventory.Partition{{Number: 1, Label: "disk-data-data", UUID: "0c5b9a8e-0001-4000-8000-000000000001"}}
	os.Signatures = []string{"gpt"}
	h.Facts = &inventory.Facts{Arch: "x86_64", Disks: []inventory.Disk{os, data}}
	p, c := makePlan(&h, role, &j, &rec)
	if s := obstacle(&p, c); s != "" {
		t.Errorf("obstacle: got %q, want none", s)
	}
	if got := hivePlan(&p, &h, c.WipePersistent).WipePersistent; !slices.Equal(got, []string{"data"}) {
		t.Errorf("slots that the script wipes: got %v, want data", got)
	}
	data.Partitions[0].FS = "ext4"
	p, c = makePlan(&h, role, &j, &rec)
	if got := hivePlan(&p, &h, c.WipePersistent).WipePersistent; len(got) != 0 {
		t.Errorf("with a file system on it the script wipes %v, want nothing", got)
	}
}
