package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// standIns are nix and nixos-anywhere of the site, scripts that answer as much as the pipeline asks. Nix knows the roles of
// roles.json and builds every host but node2; nixos-anywhere formats nothing, sends 12 of the 29 MB of a system to the machine
// and then says what is written to the file orders, line by line, until it is ended.
func (s *site) standIns() {
	s.t.Helper()
	roles, err := json.Marshal(hive().Roles)
	s.must(err)
	bundle := filepath.Join(s.dir, "bundle")
	for _, d := range []string{"system", "script"} {
		s.must(os.MkdirAll(filepath.Join(s.dir, d), 0o755))
	}
	s.must(os.MkdirAll(bundle, 0o755))
	s.must(os.Symlink(filepath.Join(s.dir, "system"), filepath.Join(bundle, "toplevel")))
	s.must(os.Symlink(filepath.Join(s.dir, "script"), filepath.Join(bundle, "install")))
	for name, text := range map[string]string{
		"roles.json": string(roles), "orders": "", "summary.json": summary, "bundle/layout.json": `{"mounts":[{"path":"/","fs":"ext4","slot":"os"}]}`,
		"nix": strings.ReplaceAll(nixScript, "DIR", s.dir), "nixos-anywhere": strings.ReplaceAll(anywhereScript, "DIR", s.dir),
	} {
		s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755))
	}
	s.must(os.Chmod(s.dir, 0o755))
}

// summary is what nix says of the machines that the hive has.
const summary = `[{"name":"node2","role":"plain","mac":"52:54:00:12:34:05","system":"x86_64-linux","address":"","static":false,"k3s":null,
"disks":{"os":{"class":"ephemeral","id":"nvme-ACME_256_D50","serial":"D50"},"data":{"class":"persistent","id":"ata-BIG_4T_D51","serial":"D51"}}}]`

const nixScript = `#!/bin/sh
case "$*" in
*"#hatchery.roles"*) cat DIR/roles.json;;
*"#hatchery.summary.json"*) cat DIR/summary.json;;
*path-info*) echo '[{"closureSize":29000000}]';;
*'"node2"'*) cat >&2 <<'EOF'
error:
       … while evaluating the attribute 'config.system.build.hatchery'
         at /var/lib/hatchery/hive/roles/plain.nix:4:3:

       error: attribute 'services.k3z' does not exist
       at /var/lib/hatchery/hive/roles/plain.nix:4:3:
EOF
exit 1;;
*" build "*) echo "these 3 derivations will be built:" >&2; echo '[{"outputs":{"out":"DIR/bundle"}}]';;
esac
`

const anywhereScript = `#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-i) key=$2; shift;;
	--target-host) host=$2; shift;;
	esac
	shift
done
SSH="ssh -T -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -i $key $host"
from=$(($(wc -l <DIR/orders) + 1))
echo "### Uploading install SSH keys ###"
$SSH true </dev/null
echo "### Gathering machine facts ###"
echo "### Formatting hard drive with disko ###"
echo "### Uploading the system closure ###"
{ for i in $(seq 12); do head -c 1000000 /dev/zero; sleep 0.2; done; exec sleep 3600; } | $SSH "cat >/dev/null" &
for p in glibc-2.42 bash-5.3 coreutils-9.8 openssl-3.6.0 util-linux-2.41 systemd-258.2 linux-6.12.80 linux-6.12.80-modules kmod-31 dbus-1.16 \
	e2fsprogs-1.47 dosfstools-4.2 openssh-10.2p1 nix-2.31.2 git-2.52 curl-8.17 perl-5.42 python3-3.13 gnugrep-3.12 gnused-4.9 gawk-5.3 iproute2-6.17 \
	iptables-1.8.11 less-685 nano-8.7 shadow-4.18 sudo-1.9.17 tzdata-2025b zstd-1.5.7 nixos-system-26.05; do
	echo "copying path '/nix/store/$(echo $p | sha256sum | cut -c1-32)-$p' to 'ssh-ng://$host'..."
done
echo "warning: substituter is not reachable"
echo "error: one path could not be copied; it is tried again"
exec tail -n +$from -f DIR/orders
`

// order makes nixos-anywhere say lines.
func (s *site) order(lines ...string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, "orders"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	if _, err := io.WriteString(f, strings.Join(lines, "\n")+"\n"); err != nil {
		s.t.Error(err)
	}
}

// serveSSH answers as the stage-0 of whichever machine has the address that is called. Every key is let in: who may is what
// the tests of stage-0 look at.
func (s *site) serveSSH() {
	s.t.Helper()
	var ln net.Listener
	s.must(s.lan.Inside(machinesSide, func() (err error) {
		ln, err = net.Listen("tcp4", ":22")
		return err
	}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				s.serveOne(c)
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	s.t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

func (s *site) serveOne(c net.Conn) {
	defer c.Close()
	ip := netip.MustParseAddrPort(c.LocalAddr().String()).Addr()
	var m *machine
	for _, o := range s.all() {
		if o.ip == ip {
			m = o
		}
	}
	if m == nil {
		return
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	m.mu.Lock()
	cfg.AddHostKey(m.key)
	m.mu.Unlock()
	sshtest.Serve(c, cfg, func(command string, ch io.ReadWriter) (string, int) {
		m.exec(command, ch)
		return "", 0
	})
}

// exec answers the scripts of the pipeline that come before and during an install.
func (m *machine) exec(command string, ch io.ReadWriter) {
	if command != "sh -s" {
		_, _ = io.Copy(io.Discard, ch) // "true", "cat >/dev/null"
		return
	}
	in := bufio.NewReader(ch)
	first, _ := in.ReadString('\n') // a session that was cut off has none
	switch strings.TrimSpace(strings.TrimPrefix(first, "# hatchery: ")) {
	case "journal":
		m.mu.Lock()
		says := m.says
		m.mu.Unlock()
		for i, text := range append([]string{"Linux version 6.12.0 (stage-0)"}, says...) {
			fmt.Fprintf(ch, "6,%d,%d,-;%s\n", i+1, 1000*(i+1), text)
		}
		_, _ = io.Copy(io.Discard, in) // it follows until the session ends
		return
	case "boot":
		m.mu.Lock()
		defer m.mu.Unlock()
		fmt.Fprintln(ch, m.bootID())
	case "look":
		m.look(ch)
	case "facts":
		m.mu.Lock()
		defer m.mu.Unlock()
		_ = json.NewEncoder(ch).Encode(inventory.Facts{Arch: m.facts.Arch, Firmware: m.facts.Firmware, Disks: m.facts.Disks})
	}
	_, _ = io.Copy(io.Discard, in)
}

func (m *machine) look(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(w, "boot %s\nnow %d\nos ID nixos\nos VARIANT_ID installer\nmemory %d\n", m.bootID(), time.Now().Unix(), 8<<20)
	for _, d := range m.facts.Disks {
		fmt.Fprintf(w, "disk %s device /dev/%s\ndisk %s serial %s\ndisk %s child %s disk\n", d.ID, d.Name, d.ID, d.Serial, d.ID, d.Name)
	}
	fmt.Fprintln(w, "end")
}
