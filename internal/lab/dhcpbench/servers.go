package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// reservations is how many fixed addresses every server knows, none of them a client's of the loads.
const reservations = 200

// server is one DHCP server in its namespace.
type server struct {
	name   string
	net    int // 10.NET.0.0/16; the server is .0.1, the clients' end .0.2
	dir    string
	args   func(s *server) ([]string, error) // its command line, its files written
	proxy  bool                              // gives boot files only
	ns     *exec.Cmd                         // keeps the namespace
	cmd    *exec.Cmd
	client *client
}

func (s *server) addr(b, c byte) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(s.net), b, c}) }

// start makes the namespace and the veth pair, starts the server and waits for its first answer.
func (s *server) start(root string) error {
	s.dir = filepath.Join(root, strings.ReplaceAll(s.name, " ", "-"))
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	s.ns = exec.Command("sleep", "infinity")
	s.ns.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := s.ns.Start(); err != nil {
		return err
	}
	pid, cli := strconv.Itoa(s.ns.Process.Pid), fmt.Sprintf("cli%d", s.net)
	for _, line := range []string{
		"ip link add " + cli + " type veth peer name srv netns " + pid,
		fmt.Sprintf("ip addr add %s/16 dev %s", s.addr(0, 2), cli), "ip link set " + cli + " up",
		fmt.Sprintf("nsenter -t %s -n ip addr add %s/16 dev srv", pid, s.addr(0, 1)),
		"nsenter -t " + pid + " -n ip link set srv up", "nsenter -t " + pid + " -n ip link set lo up",
	} {
		f := strings.Fields(line)
		if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	args, err := s.args(s)
	if err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(s.dir, "output"))
	if err != nil {
		return err
	}
	s.cmd = exec.Command("nsenter", append([]string{"-t", pid, "-n"}, args...)...) // becomes the program itself
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+s.dir, "KEA_LOCKFILE_DIR="+s.dir)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if s.client, err = newClient(s.addr(0, 2), s.addr(0, 1)); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		l := dora
		if s.proxy {
			l = proxyOffer
		}
		if r, err := s.client.run(l, 1, 0, 0, 50*time.Millisecond); err != nil {
			return err
		} else if r.done > 0 {
			return nil
		}
		if err := s.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			break
		}
	}
	text, _ := os.ReadFile(out.Name())
	return fmt.Errorf("%s does not answer: %s", s.name, text)
}

func (s *server) stop() {
	for _, c := range []*exec.Cmd{s.cmd, s.ns} {
		if c != nil && c.Process != nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
}

// usage is what /proc says of the server.
type usage struct {
	cpu       time.Duration
	rss, anon int // kB: resident in all, and its own memory without the mapped files (program, libraries, database)
}

func (s *server) usage() (u usage, err error) {
	pid := strconv.Itoa(s.cmd.Process.Pid)
	stat, err1 := os.ReadFile("/proc/" + pid + "/stat")
	status, err2 := os.Open("/proc/" + pid + "/status")
	if err := errors.Join(err1, err2); err != nil {
		return u, err
	}
	defer func() { _ = status.Close() }()
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, n := range f[11:13] { // utime, stime in 1/100 s
		ticks, err := strconv.Atoi(n)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	for sc := bufio.NewScanner(status); sc.Scan(); {
		f := strings.Fields(sc.Text())
		switch {
		case len(f) > 1 && f[0] == "VmRSS:":
			u.rss, err = strconv.Atoi(f[1])
		case len(f) > 1 && f[0] == "RssAnon:":
			u.anon, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return u, err
		}
	}
	return u, nil
}

func reservedMAC(i int) lease.HW { return lease.HW{6, 0, 0, 0, byte(i >> 8), byte(i)} }

// hatcheryArgs is the whole appliance, as `hatchery serve` starts it; leases are put into its database first.
func hatcheryArgs(program string, leases int, more ...string) func(s *server) ([]string, error) {
	return func(s *server) ([]string, error) {
		data := filepath.Join(s.dir, "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}
		if err := fill(s, filepath.Join(data, "hatchery.db"), leases); err != nil {
			return nil, err
		}
		conf := filepath.Join(s.dir, "hatchery.toml")
		return append([]string{program, "serve", "--data", data, "--interface", "srv", "--lease-time", "24h", "--ipxe", ipxeDir}, more...), os.WriteFile(conf, nil, 0o600)
	}
}

// fill puts the reservations and so many leases into a new database.
func fill(s *server, path string, leases int) error {
	db, err := boltdb.Open(boltdb.Config{Path: path})
	if err != nil {
		return err
	}
	for i := range reservations {
		if err := db.PutReservation(lease.Reservation{HW: reservedMAC(i), IP: s.addr(2, byte(i))}); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

func keaArgs(s *server) ([]string, error) {
	var res []string
	for i := range reservations {
		res = append(res, fmt.Sprintf(`{"hw-address":"%s","ip-address":"%s"}`, reservedMAC(i), s.addr(2, byte(i))))
	}
	conf := fmt.Sprintf(`{"Dhcp4": {
 "interfaces-config": {"interfaces": ["srv"], "dhcp-socket-type": "raw"},
 "lease-database": {"type": "memfile", "persist": true, "name": "%s/leases.csv", "lfc-interval": 3600},
 "valid-lifetime": 86400, "multi-threading": {"enable-multi-threading": %v},
 "subnet4": [{"subnet": "10.%d.0.0/16", "pools": [{"pool": "%s - %s"}], "next-server": "%s", "boot-file-name": "snponly.efi",
  "option-data": [{"name": "routers", "data": "%[6]s"}, {"name": "domain-name-servers", "data": "%[6]s"}],
  "reservations": [%s]}],
 "loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": "stdout"}]}]}}`,
		s.dir, keaThreads, s.net, s.addr(16, 0), s.addr(255, 200), s.addr(0, 1), strings.Join(res, ",\n"))
	path := filepath.Join(s.dir, "kea.json")
	return []string{"kea-dhcp4", "-c", path}, os.WriteFile(path, []byte(conf), 0o644)
}

// dnsmasqArgs: no-ping, because it would wait 3 s for every first offer otherwise.
func dnsmasqArgs(s *server) ([]string, error) {
	var res strings.Builder
	for i := range reservations {
		fmt.Fprintf(&res, "%s,%s\n", reservedMAC(i), s.addr(2, byte(i)))
	}
	hosts := filepath.Join(s.dir, "hosts")
	args := []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=srv", "--bind-interfaces", "--quiet-dhcp", "--no-ping",
		"--dhcp-leasefile=" + filepath.Join(s.dir, "leases"), "--dhcp-lease-max=65000", "--pid-file=", "--dhcp-hostsfile=" + hosts, "--log-facility=" + filepath.Join(s.dir, "log")}
	if s.proxy {
		args = append(args, fmt.Sprintf("--dhcp-range=10.%d.0.0,proxy", s.net), "--pxe-service=X86-64_EFI,Boot,snponly.efi", "--pxe-service=x86PC,Boot,undionly.kpxe")
	} else {
		args = append(args, fmt.Sprintf("--dhcp-range=%s,%s,255.255.0.0,24h", s.addr(16, 0), s.addr(255, 200)), "--dhcp-boot=snponly.efi")
	}
	return args, os.WriteFile(hosts, []byte(res.String()), 0o644)
}
