package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/staged-hive/hatchery/internal/lab"
)

// check is one line of `hatchery doctor --json`.
type check struct{ Name, State, Text, Hint string }

// cli runs the command line on the appliance's own box.
func (a *appliance) cli(args ...string) (string, error) {
	a.t.Helper()
	cmd := a.lan.Command(within(a.t, time.Minute), lab.Appliance, built(a.t, "hatchery"), append(args, "--data", a.data)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// doctor runs the doctor; the checks of the played firmware come by their step's name.
func (a *appliance) doctor() (map[string]check, error) {
	a.t.Helper()
	out, err := a.cli("doctor", "--json")
	var all []check
	if jerr := json.Unmarshal([]byte(out), &all); jerr != nil {
		a.t.Fatalf("doctor --json: %v: %v: %s", err, jerr, out)
	}
	played := map[string]check{}
	for _, c := range all {
		if _, step, ok := strings.Cut(c.Name, "self-test on eth0: "); ok {
			played[step] = c
		}
	}
	return played, err
}

// well demands that these steps were played, and well.
func well(t *testing.T, played map[string]check, steps ...string) {
	t.Helper()
	for _, s := range steps {
		if c := played[s]; c.State != "ok" {
			t.Errorf("step %s: got %+v", s, c)
		}
	}
	if len(played) != len(steps) {
		t.Errorf("got %d steps, want %d: %v", len(played), len(steps), played)
	}
}

// leftNoTrace demands that the doctor is no host and has no address.
func leftNoTrace(t *testing.T, a *appliance) {
	t.Helper()
	hosts, err := a.hosts()
	if err != nil || len(hosts) > 0 {
		t.Errorf("the doctor became a host: %v %v", hosts, err)
	}
	var net struct{ Pools []struct{ Live int } }
	if _, err := a.call(http.MethodGet, "/network", nil, &net); err != nil {
		t.Fatal(err)
	}
	for _, p := range net.Pools {
		if p.Live > 0 {
			t.Errorf("%d addresses are still leased", p.Live)
		}
	}
}

func TestTheDoctorPlaysAMachinesFirmware(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	a := startAppliance(t, l, serverFlags(l)...)
	all := []string{"DISCOVER", "REQUEST", "boot file by TFTP", "boot script", "kernel and initrd"}
	for range 3 { // each time it asks for the same address, and gets the same form of offer
		played, _ := a.doctor()
		well(t, played, all...)
		if want := "OFFER of " + l.Addr(100).String() + " with boot file snponly.efi."; played["DISCOVER"].Text != want {
			t.Errorf("got %q, want %q", played["DISCOVER"].Text, want)
		}
	}
	leftNoTrace(t, a)

	// Without a boot file it ends at TFTP, and says what to do.
	empty := t.TempDir()
	a.restart(append(serverFlags(l), "--ipxe", empty)...)
	played, err := a.doctor()
	if c := played["boot file by TFTP"]; c.State != "fail" || !strings.Contains(c.Hint, "--ipxe") || err == nil {
		t.Errorf("without boot files: got %+v, %v", c, err)
	}
	if _, went := played["boot script"]; went {
		t.Error("it went on after a step that failed")
	}
	leftNoTrace(t, a)
}

func TestTheDoctorPlaysBesideARouterAndFindsTheFirewall(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	if _, err := l.StartRouter(t.Context(), lab.RouterConfig{}); err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, l, "--dhcp", "proxy")
	all := []string{"DISCOVER", "port 4011", "boot file by TFTP", "boot script", "kernel and initrd"}
	played, _ := a.doctor()
	well(t, played, all...)
	leftNoTrace(t, a)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Log("no nft here: the firewall's part is left out")
		return
	}
	for _, c := range []struct{ port, step, hint string }{{"67", "DISCOVER", "UDP 67"}, {"4011", "port 4011", "UDP 4011"}} {
		nft := "add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in iifname eth0 udp dport " + c.port + " drop"
		if out, err := l.Command(t.Context(), lab.Appliance, "nft", nft).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		played, err := a.doctor()
		if got := played[c.step]; got.State != "fail" || !strings.Contains(got.Hint, c.hint) || err == nil {
			t.Errorf("with UDP %s dropped: got %+v, %v", c.port, got, err)
		}
		if out, err := l.Command(t.Context(), lab.Appliance, "nft", "delete table inet f").CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	}
}

func TestASupportBundleHoldsNoSecret(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	const inURL, inArgs = "tok-in-the-hive-url", "ghx-in-the-nix-args"
	data := filepath.Join(t.TempDir(), "data")
	plant := map[string]string{"secrets/k3s/home/token": "planted-cluster-token-1", "secrets/k3s/home/agent-token": "planted-agent-token-22",
		"ssh/hosts/0123": "-----BEGIN OPENSSH PRIVATE KEY-----\nplantedhostkeyline0000000\n-----END OPENSSH PRIVATE KEY-----\n"}
	for name, text := range plant {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A job's log and a kernel argument that tell what they should not.
	if err := os.MkdirAll(filepath.Join(data, "logs", "0123"), 0o700); err != nil {
		t.Fatal(err)
	}
	spilled := "+ k3s --token planted-cluster-token-1\nfetching https://user:spilled-password@example.org/x\nAuthorization: Bearer spilled-bearer-token\n"
	if err := os.WriteFile(filepath.Join(data, "logs", "0123", "job.log"), []byte(spilled), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startApplianceIn(t, l, data, append(serverFlags(l), "--hive", "https://user:"+inURL+"@192.0.2.1/hive.git",
		"--nix-arg=--option", "--nix-arg=access-tokens", "--nix-arg=github.com="+inArgs)...)
	var made struct{ Token string }
	if _, err := a.call(http.MethodPost, "/tokens", map[string]string{"name": "laptop", "scope": "admin"}, &made); err != nil || made.Token == "" {
		t.Fatalf("token: %v %+v", err, made)
	}
	if _, err := a.call(http.MethodPost, "/hosts", map[string]string{"mac": "52:54:00:00:00:01", "name": "web1"}, nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "support.tar.gz")
	if _, err := a.cli("support", file); err != nil {
		t.Fatal(err)
	}
	files := untar(t, file)
	for name, want := range map[string]string{"versions.txt": "kernel ", "settings.json": `"DHCPRange"`, "doctor.json": "self-test on eth0: DISCOVER", "log.txt": "serving DHCP",
		"hosts.json": "web1", "metrics.txt": "hatchery_dhcp_decisions_total", "network.json": "server", "jobs/0123/job.log": "k3s --token [secret]", "README.txt": "no passwords"} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s: want %q in\n%s", name, want, tail(files[name], 60))
		}
	}
	if files["errors.txt"] != "" {
		t.Errorf("not to be had: %s", files["errors.txt"])
	}
	firstRun := regexp.MustCompile(`code=(\S+)`).FindStringSubmatch(a.logTail(200))
	if firstRun == nil {
		t.Fatal("the log has no code of the first run")
	}
	known := []string{a.token(), made.Token, firstRun[1], inURL, inArgs, "planted-cluster-token-1", "planted-agent-token-22", "plantedhostkeyline0000000", "spilled-password", "spilled-bearer-token", "PRIVATE KEY"}
	for _, own := range []string{"ssh/id_ed25519", "tls/key.pem"} { // the appliance's own keys, line by line
		raw, err := os.ReadFile(filepath.Join(data, own))
		if err != nil {
			t.Log(err)
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && line != "" {
				known = append(known, line)
			}
		}
	}
	for name, text := range files {
		for _, s := range known {
			if strings.Contains(text, s) {
				t.Errorf("%s holds the secret %q", name, s)
			}
		}
	}
}

// untar reads a bundle; names without the common folder.
func untar(t *testing.T, file string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "hatchery-support/")] = string(text)
	}
}

// packets counts a machine's packets, read from its pcap file, by what they are.
func (a *appliance) packets(mac string) map[string]int {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "packets.pcap")
	if _, err := a.cli("hosts", "packets", mac, file); err != nil {
		a.t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	pcap, err := pcapgo.NewReader(f)
	if err != nil {
		a.t.Fatal(err)
	}
	seen := map[string]int{}
	for {
		raw, _, err := pcap.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return seen
		}
		if err != nil {
			a.t.Fatal(err)
		}
		p := gopacket.NewPacket(raw, layers.LinkTypeEthernet, gopacket.Default)
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok {
			a.t.Fatalf("no UDP: %v", p)
		}
		seen["from "+strconv.Itoa(int(udp.SrcPort))]++
		seen["to "+strconv.Itoa(int(udp.DstPort))]++
		eth := p.LinkLayer().(*layers.Ethernet)
		switch ip := p.NetworkLayer().(*layers.IPv4); {
		case udp.SrcPort == 67 && ip.SrcIP.Equal(a.lan.RouterAddr().AsSlice()):
			seen["from the router"]++
		case udp.SrcPort != 67 && udp.SrcPort != 68 && udp.DstPort != 67 && udp.DstPort != 4011 && udp.SrcPort != 4011:
			seen["TFTP "+strconv.Itoa(int(udp.Payload[1]))]++
			if eth.SrcMAC.String() != mac && eth.DstMAC.String() != mac {
				seen["of another"]++
			}
		}
		if d, ok := p.Layer(layers.LayerTypeDHCPv4).(*layers.DHCPv4); ok && d.ClientHWAddr.String() != mac {
			seen["of another"]++
		}
	}
}
