package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/lab"
)

// hiveFlags let the appliance build its hive with the real nix against our stub of
// nixpkgs, and install with the stand-in of nixos-anywhere.
func hiveFlags(t *testing.T) []string {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(abs, "nix", "tests")
	out, err := exec.Command(filepath.Join(tests, "mkflakes.sh"), filepath.Join(t.TempDir(), "flakes"), built(t, "parts")).Output()
	if err != nil {
		t.Fatalf("mkflakes.sh: %v", err)
	}
	flags := []string{"--nixos-anywhere", filepath.Join(tests, "nixos-anywhere"), "--nix", filepath.Join(tests, "nix")}
	for _, a := range strings.Fields(string(out)) {
		flags = append(flags, "--nix-arg="+a)
	}
	return flags
}

// installation is a machine that gets the template's role "server": a system disk that
// every install makes anew, and a state disk that is kept.
type installation struct {
	*appliance
	m *lab.Machine
}

func newInstallation(t *testing.T, fw lab.Firmware) *installation {
	t.Helper()
	return newInstallationWith(t, lab.MachineConfig{Name: "node", Firmware: fw, MemoryMiB: 1024, Disks: []lab.Disk{
		{Serial: "OS-0001", Size: 17 << 30}, {Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30}}})
}

func newInstallationWith(t *testing.T, cfg lab.MachineConfig) *installation {
	t.Helper()
	l := newLAN(t)
	a := startAppliance(t, l, serverFlags(l, hiveFlags(t)...)...)
	m := newMachine(t, l, cfg)
	i := &installation{appliance: a, m: m}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the job's log:\n%s", tail(i.jobLog(), 80))
		}
	})
	if _, err := a.call(http.MethodPut, "/reservations/"+m.MAC(), map[string]string{"ip": l.Addr(50).String()}, nil); err != nil {
		t.Fatal(err)
	}
	return i
}

// assign gives the machine its name and role over the API.
func (i *installation) assign(t *testing.T) {
	t.Helper()
	if _, err := i.call(http.MethodPut, "/hosts/"+i.m.MAC(), map[string]string{"name": "node1", "role": "server"}, nil); err != nil {
		t.Fatal(err)
	}
}

// describe says for a complaint where a host is.
func describe(h *host, err error) string {
	if err != nil || h == nil {
		return fmt.Sprintf("host unknown: %v", err)
	}
	return fmt.Sprintf("%s is %s (%s %s%s)", h.MAC, h.State, h.Step, h.BlockedOn, h.Error)
}

func (i *installation) jobLog() string {
	req, err := http.NewRequest(http.MethodGet, i.url("/api/v1/hosts/"+i.m.MAC()+"/log"), nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+i.token())
	req.Header.Set("Accept", "text/plain")
	res, err := i.http.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body) // what came so far is worth showing
	return string(b)
}

// state waits until the host is in one of the states.
func (i *installation) state(t *testing.T, limit time.Duration, states ...string) host {
	t.Helper()
	var last host
	eventually(t, limit, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil {
			return fmt.Sprintf("host %s: %v", i.m.MAC(), err)
		}
		last = *h
		for _, s := range states {
			if h.State == s {
				return ""
			}
		}
		if h.State == "failed" {
			t.Fatalf("host %s failed: %s", i.m.MAC(), h.Error)
		}
		return describe(h, nil) + ", want " + strings.Join(states, " or ")
	})
	return last
}

// ssh runs a command as root on the machine with the appliance's key and returns its
// output and the machine's host key.
func (i *installation) ssh(t *testing.T, command string) (out, hostKey string) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(i.data, "ssh", "id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort(i.lan.Addr(50).String(), "22")
	conn, err := i.lan.Dial(t.Context(), lab.Appliance, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 15 * time.Second,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			hostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(c, chans, reqs)
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.CombinedOutput(command)
	if err != nil {
		t.Fatalf("on the machine: %s: %v: %s", command, err, b)
	}
	return strings.TrimSpace(string(b)), hostKey
}

// TestInstall takes a machine from power-on to a verified system on its own disk, and
// round a second time: the state disk and the host's identity stay.
func TestInstall(t *testing.T) {
	for _, fw := range []lab.Firmware{lab.UEFI, lab.BIOS} {
		t.Run(string(fw), func(t *testing.T) {
			t.Parallel() // a LAN each; there are two processors
			testInstall(t, fw)
		})
	}
}

func testInstall(t *testing.T, fw lab.Firmware) {
	i := newInstallation(t, fw)
	if fw == lab.UEFI { // by the page
		if _, err := i.call(http.MethodPut, "/hosts/"+i.m.MAC(), map[string]string{"name": "node1"}, nil); err != nil {
			t.Fatal(err)
		}
		i.installByPage(t, func() { powerOn(t, i.appliance, i.m) })
	} else {
		powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
		started := time.Now()
		i.assign(t)
		i.state(t, 8*time.Minute, "installed")
		t.Logf("%s: installed %.0f s after it got its role", fw, time.Since(started).Seconds())
	}
	key := checkInstalled(t, i)
	checkSecret(t, i)

	i.ssh(t, "echo kept > /var/lib/rancher/file; echo gone > /root/file; sync")
	disk := powerOn(t, i.appliance, i.m)
	eventually(t, 3*time.Minute, func() string {
		if strings.Contains(i.m.Console(), "STUB-READY node1") {
			return ""
		}
		return "a second power-on does not end on the disk"
	})
	for _, e := range disk.a.diary(i.m.MAC(), disk.powered) {
		if e.Kind == "checkin" {
			t.Errorf("an installed machine checked in from stage-0: %s", e.Text)
		}
	}

	i.askReinstall(t)
	i.state(t, time.Minute, "queued", "installing")
	i.state(t, 8*time.Minute, "installed")
	if again := checkInstalled(t, i); again != key {
		t.Errorf("host key after the reinstall %s, want the same as before, %s", again, key)
	}
	out, _ := i.ssh(t, "cat /var/lib/rancher/file; ls /root/file 2>/dev/null || echo new system")
	if out != "kept\nnew system" {
		t.Errorf("after the reinstall: %q, want the state disk's file kept and the system new", out)
	}
}

// askReinstall asks for one as the page does: with the plan that was looked at.
func (i *installation) askReinstall(t *testing.T) {
	t.Helper()
	body := map[string]any{"plan_id": i.plan(t, "").ID, "confirm": map[string]string{"os": "OS-0001"}}
	if _, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/reinstall", body, nil); err != nil {
		t.Fatal(err)
	}
}

// checkInstalled looks at the running system and returns its host key.
func checkInstalled(t *testing.T, i *installation) (hostKey string) {
	t.Helper()
	for _, want := range []string{"STUB-MOUNTED /boot", "STUB-MOUNTED /var/lib/rancher", "STUB-READY node1"} {
		if !strings.Contains(i.m.Console(), want) {
			t.Errorf("the console does not say %s", want)
		}
	}
	out, key := i.ssh(t, `hostname; stat -c '%a %U' /var/lib/hatchery/k3s-token; grep -c ' /var/lib/rancher ' /proc/mounts`)
	if out != "node1\n600 root\n1" {
		t.Errorf("on the machine: %q, want its name, a token that root alone reads, the state disk mounted", out)
	}
	return key
}

// checkSecret demands that the cluster's token is on the machine and in the appliance's
// own vault alone: not in hive, store, logs, the diary, or on the boot listener.
func checkSecret(t *testing.T, i *installation) {
	t.Helper()
	token, _ := i.ssh(t, "cat /var/lib/hatchery/k3s-token")
	if len(token) < 16 {
		t.Fatalf("token %q is no secret", token)
	}
	if found, _ := i.ssh(t, "grep -rlF '"+token+"' /nix/store /boot /etc /var/lib 2>/dev/null"); strings.TrimSpace(found) != "/var/lib/hatchery/k3s-token" {
		t.Errorf("on the machine the token is in %q", found)
	}
	for _, dir := range []string{"hive", "logs", "stage0"} {
		err := filepath.WalkDir(filepath.Join(i.data, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() { // the roots that keep builds are links into the store
				return err
			}
			b, err := os.ReadFile(path)
			if strings.Contains(string(b), token) {
				t.Errorf("the token is in %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	texts := []string{i.jobLog(), script(t, i.appliance, i.m.MAC()), i.logTail(1 << 20)}
	for _, e := range i.diary(i.m.MAC(), time.Time{}) {
		texts = append(texts, e.Text)
	}
	for _, text := range texts {
		if strings.Contains(text, token) {
			t.Errorf("the token is in: %s", tail(text, 5))
		}
	}
}
