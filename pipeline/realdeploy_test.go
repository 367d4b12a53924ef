package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// siteHive builds the system that the file `toplevel` in its folder names, when there is one.
type siteHive struct {
	*fakeHive
	dir string
}

func (h siteHive) Build(ctx context.Context, commit, name string, log io.Writer) (hive.Built, error) {
	b, err := h.fakeHive.Build(ctx, commit, name, log)
	if raw, rerr := os.ReadFile(filepath.Join(h.dir, "toplevel")); rerr == nil {
		b.Toplevel = strings.TrimSpace(string(raw))
	}
	return b, err
}

// WriteHost keeps the facts over the appliance's death, as a repository does.
func (h siteHive) WriteHost(ctx context.Context, f hive.HostFacts) (string, error) {
	raw, err := json.Marshal(f.Host)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.dir, "host.json"), raw, 0o600)
	}
	commit, werr := h.fakeHive.WriteHost(ctx, f)
	return commit, errors.Join(err, werr)
}

func (h siteHive) ReadHost(_ context.Context, _ string) (f hive.HostFile, known bool, err error) {
	raw, err := os.ReadFile(filepath.Join(h.dir, "host.json"))
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	return f, err == nil, err
}

// switcher is a system's switch-to-configuration; what it does besides comes first.
const switcher = `#!/bin/sh
echo "$1 $(dirname "$(dirname "$0")")" >>/var/switched
%s
[ "$1" = boot ] || { ip link set eth0 up; ln -sfn "$(dirname "$(dirname "$0")")" /run/current-system; }
echo "activated"
`

// newSystem makes a system in this machine's own Nix store, and lets the next deploy build it.
func (m *realMachine) newSystem(version, does string) string {
	m.t.Helper()
	dir := filepath.Join(m.t.TempDir(), "system-node1-"+version)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "switch-to-configuration"), fmt.Appendf(nil, switcher, does), 0o755); err != nil {
		m.t.Fatal(err)
	}
	path := strings.TrimSpace(m.sh("nix-store --add $1", dir))
	m.t.Cleanup(func() { m.sh("nix-store --delete $1 >/dev/null 2>&1 || true", path) })
	if err := os.WriteFile(filepath.Join(m.dir, "toplevel"), []byte(path+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// giveNix puts this machine's nix, with its libraries, on the real machine.
func (m *realMachine) giveNix() {
	m.t.Helper()
	m.sh(`bin=$(readlink -f $(command -v nix))
cp --remove-destination $bin $1/usr/bin/nix
for l in nix-store nix-env nix-daemon; do ln -sfn nix $1/usr/bin/$l; done
ldd $bin | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r l; do
	[ -e $1/$l ] || { mkdir -p $1/$(dirname $l); cp -L $l $1/$l; }
done
mkdir -p $1/etc/nix $1/nix/var/nix/profiles $1/root
printf 'build-users-group =\nsandbox = false\n' >$1/etc/nix/nix.conf
ln -sfn /nix/store/system-node1 $1/nix/var/nix/profiles/system`, m.root)
	m.file("nix/store/system-node1/bin/switch-to-configuration", fmt.Sprintf(switcher, ""), 0o755)
}

// giveSystemd puts what a deploy asks of systemd on the machine: a stand-in, in whose words web.service fails in a system
// called sick, and old.service always.
func (m *realMachine) giveSystemd() {
	m.file("usr/bin/systemd-run", `#!/bin/sh
echo "$*" >>/var/systemd-run
while [ "${1#--}" != "$1" ]; do shift; done
setsid "$@" >/dev/null 2>&1 </dev/null &
`, 0o755)
	m.file("usr/bin/systemctl", `#!/bin/sh
case $1 in
is-system-running) echo degraded; exit 1;;
list-units)
	echo "old.service loaded failed failed an old sorrow"
	case $(readlink -f /run/current-system) in *sick) echo "web.service loaded failed failed the web";; esac;;
*) exit 1;;
esac
`, 0o755)
	m.sh("mkdir -p $1/run/systemd/system", m.root)
}

// runs is what the machine runs, and what it would boot.
func (m *realMachine) runs(key string) (now, boots string) {
	m.t.Helper()
	out, err := m.ask(key, "readlink -f /run/current-system; readlink -f "+profile+"\n")
	if err != nil {
		m.t.Fatal(err)
	}
	now, boots, _ = strings.Cut(strings.TrimSpace(out), "\n")
	return now, boots
}

// TestRealDeploy deploys to a machine of real programs with a real nix on both sides, by nix copy over the pinned ssh:
// well; with an activation that fails; with one that cuts the machine off, which goes back by itself; through the death
// of the appliance; and through a power cut, after which the earlier system runs. Then one disk of it is formatted.
func TestRealDeploy(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	if _, err := exec.LookPath("nix-store"); err != nil {
		t.Skip("needs nix")
	}
	t.Cleanup(func() {
		if dir, err := unpacked(); err == nil {
			os.RemoveAll(dir)
		}
	})
	s := newSite(t, "")
	m := newReal(t, s, 1)
	m.giveNix()
	m.powerOn()
	s.must(order{Do: "assign", MAC: m.mac, Name: "node1", Role: "plain"})
	key := s.until(m.mac, "was installed", func(a answer) bool { return a.Host.State == inventory.StateInstalled }).Host.InstalledKey
	ended := func(a answer) bool { return a.Host.Upkeep == "" }
	check := func(what string, a answer, says, now, boots string) {
		t.Helper()
		if a.Host.State != inventory.StateInstalled || !strings.Contains(a.Host.Error, says) || says == "" && a.Host.Error != "" {
			t.Errorf("%s: state %s, error %q; want installed, and an error with %q\n%s", what, a.Host.State, a.Host.Error, says, s.log(m.mac))
		}
		if gotNow, gotBoots := m.runs(key); gotNow != now || gotBoots != boots {
			t.Errorf("%s: runs %s, boots %s; want %s and %s\n%s", what, gotNow, gotBoots, now, boots, s.log(m.mac))
		}
	}

	good := m.newSystem("good", "")
	s.must(order{Do: "deploy", MAC: m.mac})
	check("a deploy", s.until(m.mac, "was deployed", ended), "", good, good)
	if out, err := m.ask(key, "nix-store -q --hash "+good+"\n"); err != nil || !strings.HasPrefix(out, "sha256:") {
		t.Errorf("the system is not valid in the machine's store: %q %v", out, err)
	}

	m.newSystem("broken", `[ "$1" = test ] && { echo "warning: the following units failed: web.service"; echo detail; exit 4; }`)
	s.must(order{Do: "deploy", MAC: m.mac})
	check("an activation that fails", s.until(m.mac, "was through", ended),
		"ended with 4: Warning: the following units failed: web.service. The machine runs its earlier system again.", good, good)

	m.newSystem("deaf", `ln -sfn "$(dirname "$(dirname "$0")")" /run/current-system; ip link set eth0 down; exit 0`)
	s.must(order{Do: "deploy", MAC: m.mac})
	check("a system that cuts the machine off", s.until(m.mac, "was through", ended), "The machine runs its earlier system again.", good, good)

	m.giveSystemd()
	m.newSystem("sick", "")
	s.must(order{Do: "deploy", MAC: m.mac})
	check("a system in which a unit fails", s.until(m.mac, "was through", ended), "web.service failed that ran before. The machine runs its earlier system again.", good, good)
	if ran := m.sh("cat $1/var/systemd-run", m.root); ran != "--quiet --collect --unit=hatchery-deploy /bin/sh /run/hatchery-deploy/run\n" {
		t.Errorf("where there is systemd the trial was run by: %q", ran)
	}

	slow := m.newSystem("slow", `[ "$1" = test ] && sleep 3`)
	s.must(order{Do: "deploy", MAC: m.mac})
	s.until(m.mac, "switched", func(a answer) bool { return a.Host.Step == StepSwitch })
	s.kill(syscall.SIGKILL)
	s.start("")
	check("a deploy through the death of the appliance", s.until(m.mac, "was deployed", ended), "", slow, slow)
	if n := strings.Count(m.sh("cat $1/var/switched", m.root), "test "+slow); n != 1 {
		t.Errorf("it was switched %d times", n)
	}

	cut := m.newSystem("cut", `[ "$1" = test ] && sleep 60`)
	s.must(order{Do: "deploy", MAC: m.mac})
	s.until(m.mac, "was in the activation", func(a answer) bool {
		raw, err := os.ReadFile(filepath.Join(m.root, "var/switched"))
		return a.Host.Step == StepSwitch && err == nil && strings.Contains(string(raw), "test "+cut)
	})
	m.off()
	m.powerOn() // its disk boots what it was installed with, in this test
	check("a power cut during the trial", s.until(m.mac, "was through", ended), "The machine was restarted in the middle of the trial.", "/nix/store/system-node1", slow)

	formatReal(t, m, key)
}

// formatReal has the data disk formatted; the system disk stays as it is.
func formatReal(t *testing.T, m *realMachine, key string) {
	s := m.site
	m.file("nix/store/format-node1-data", "#!/bin/sh\nset -e\n[ -e /dev/disk/by-id/loop-os ]\nwipefs -qa /dev/disk/by-id/loop-data\nmkfs.ext4 -q -F -L fresh /dev/disk/by-id/loop-data\n", 0o755)
	os.Remove(filepath.Join(s.dir, "toplevel"))
	before := m.sh("blkid -s UUID -o value $1", m.loops["os"])
	for name, o := range map[string]order{"the system disk": {Name: "os", Role: "os"}, "another disk's serial": {Name: "data", Role: "os"}} {
		o.Do, o.MAC = "format", m.mac
		if _, err := s.do(o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	s.must(order{Do: "format", MAC: m.mac, Name: "data", Role: "data"})
	a := s.until(m.mac, "was formatted", func(a answer) bool { return a.Host.Upkeep == "" })
	if a.Host.State != inventory.StateInstalled || a.Host.Error != "" || a.Job.State != inventory.JobDone {
		t.Fatalf("after the format: state %s, job %s, error %q\n%s", a.Host.State, a.Job.State, a.Host.Error, s.log(m.mac))
	}
	if label := strings.TrimSpace(m.sh("blkid -s LABEL -o value $1", m.loops["data"])); label != "fresh" {
		t.Errorf("the data disk has label %q, want the new file system's", label)
	}
	if after := m.sh("blkid -s UUID -o value $1", m.loops["os"]); after != before {
		t.Errorf("the system disk was touched: %s → %s", before, after)
	}
	if now, _ := m.runs(key); now == "" {
		t.Error("the machine does not run its own system again")
	}
}
