package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// limits reads what the kernel says of every thread of a process; the same of all, or it is an error.
func limits(t *testing.T, pid int) map[string]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads of %d: %v %v", pid, files, err)
	}
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that ended
		}
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch v = strings.Join(strings.Fields(v), " "); k {
			case "Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs":
				if old, seen := all[k]; seen && old != v {
					t.Errorf("threads differ in %s: %s and %s", k, old, v)
				}
				all[k] = v
			}
		}
	}
	return all
}

// startAs starts an appliance in a folder that other users reach; with is put before its command line, and fill (nil =
// nothing) fills its data folder before.
func startAs(t *testing.T, l *lab.LAN, own int, with []string, fill func(data string), args ...string) *appliance {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := &appliance{t: t, lan: l, addr: l.ApplianceAddr(), data: filepath.Join(dir, "data")}
	if err := os.Mkdir(a.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(a.data, own, own); err != nil {
		t.Fatal(err)
	}
	if fill != nil {
		fill(a.data)
	}
	var err error
	if a.log, err = os.Create(filepath.Join(dir, "appliance.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.cleanup)
	line := append(append([]string{}, with...), built(t, "hatchery"), "serve", "--data", a.data, "--interface", "eth0", "--ipxe", built(t, "ipxe"))
	p, err := l.StartReady(within(t, 60*time.Second), lab.Appliance, a.log, append(line, args...)[0], append(line, args...)[1:]...)
	if err != nil {
		t.Fatalf("%v\n%s", err, a.logTail(20))
	}
	a.proc = p
	if err := a.connect(); err != nil {
		t.Fatalf("%v\n%s", err, a.logTail(20))
	}
	return a
}

// TestLeastPrivilege looks at the real program as the kernel sees it once its ports are open, however it was started;
// and it must still do its work.
func TestLeastPrivilege(t *testing.T) {
	const nobody = 65534
	small := map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "CapInh": "0000000000000000",
		"CapPrm": "0000000000002400", "CapEff": "0000000000002400", "CapAmb": "0000000000000000", "NoNewPrivs": "1"}
	proxy := func(*lab.LAN) []string { return []string{"--dhcp", "proxy"} }
	for _, c := range []struct {
		name string
		own  int // whose the data folder is at first
		with []string
		args func(*lab.LAN) []string
		want map[string]string
		log  string
	}{
		{"root becomes a user", 0, nil, func(l *lab.LAN) []string { return serverFlags(l, "--user", "nobody") }, small, "capabilities=cap_net_bind_service,cap_net_raw "},
		{"started by systemd as a user with ambient capabilities", nobody,
			[]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+net_raw,+net_bind_service", "--ambient-caps", "+net_raw,+net_bind_service"},
			proxy, small, "capabilities=cap_net_bind_service,cap_net_raw "},
		{"root stays and says why", 0, nil, proxy, map[string]string{"CapEff": "00000000000424eb", "CapPrm": "00000000000424eb", "CapAmb": "0000000000000000", "NoNewPrivs": "1"}, `msg="runs as root" why=`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLAN(t)
			a := startAs(t, l, c.own, c.with, nil, c.args(l)...)
			got := limits(t, a.proc.PID())
			for k, want := range c.want {
				if got[k] != want {
					t.Errorf("%s: got %s, want %s", k, got[k], want)
				}
			}
			text := a.logTail(200)
			if !strings.Contains(text, c.log) || !strings.Contains(text, "landlock=true") || strings.Contains(text, "self-test") {
				t.Errorf("the log does not say how it stands, or the self-test found something:\n%s", text)
			}
			var warnings struct{ Items []struct{ Text string } }
			if _, err := a.call(http.MethodGet, "/warnings", nil, &warnings); err != nil || strings.Contains(fmt.Sprint(warnings.Items), "self-test") {
				t.Errorf("warnings: %v, %v", warnings.Items, err)
			}
			var doctor struct {
				Items []struct{ Name, State, Text string }
			}
			if _, err := a.call(http.MethodPost, "/doctor", nil, &doctor); err != nil {
				t.Error(err)
			}
			who := map[bool]string{true: "It runs as nobody with ", false: "It runs as root, because "}[len(c.want) == len(small)]
			if !strings.Contains(fmt.Sprint(doctor.Items), who) {
				t.Errorf("the doctor does not say %q: %+v", who, doctor.Items)
			}
			if c.with == nil && len(c.want) == len(small) {
				if err := a.firmware(t, "52:54:00:fd:0a:01"); err != nil {
					t.Error(err)
				}
			}
			if got := limits(t, a.proc.PID()); got["CapEff"] != c.want["CapEff"] {
				t.Errorf("after its work: CapEff %s", got["CapEff"])
			}
		})
	}
}

// TestAForeignFolderIsNotHandedOver starts as another user over somebody's home folder.
func TestAForeignFolderIsNotHandedOver(t *testing.T) {
	l := newLAN(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := l.Command(within(t, 20*time.Second), lab.Appliance, built(t, "hatchery"), "serve", "--data", dir, "--user", "nobody", "--interface", "eth0")
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is no data folder of Hatchery") {
		t.Errorf("got %v\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "letter.txt"))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the letter is another user's now: %v", err)
	}
}
