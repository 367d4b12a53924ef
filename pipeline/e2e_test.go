package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/inventory"
)

// realMachine is the stage-0 stand-in's own userland (OpenSSH, busybox, util-linux) in a mount and pid namespace,
// with loop devices for disks: what runs on it are the real scripts, mounts and processes.
type realMachine struct {
	*rig
	root   string // its file system
	addr   string
	mac    inventory.MAC
	loops  map[string]string // "os" → /dev/loop0
	boots  int
	script string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the machine is off
}

// realAgent prints the facts of the loop disks as hatchery-agent does of real ones, which leaves loops out.
const realAgent = `#!/bin/sh
disk() {
	dev=$(readlink -f "/dev/disk/by-id/loop-$1")
	sig=$(wipefs -i -n -O TYPE "$dev" | sed 's/.*/"&"/')
	printf '{"id":"loop-%s","serial":"%s","name":"%s","type":"ssd","size_bytes":%s,"signatures":[%s],"partitions":null}' "$1" "$1" "${dev#/dev/}" "$(blockdev --getsize64 "$dev")" "$sig"
}
echo "{\"arch\":\"x86_64\",\"firmware\":\"uefi\",\"cpu\":{},\"nics\":null,\"memory_bytes\":2147483648,\"disks\":[$(disk os),$(disk data)]}"
`

// realInstall is an install script: the persistent disk is formatted only when blank.
const realInstall = `#!/bin/sh
set -e
os=/dev/disk/by-id/loop-os data=/dev/disk/by-id/loop-data
mkfs.ext4 -q -F $os
[ -n "$(wipefs -i -n -O TYPE "$(readlink -f $data)")" ] || mkfs.ext4 -q -F $data
mount $os /mnt
mkdir -p /mnt/data
mount $data /mnt/data
`

// realBoot starts the machine in its namespaces: its own /dev with only its disks, its own boot id.
const realBoot = `set -e
root=$1 boot=$2 addr=$3 port=$4
mount --make-rprivate /
mount -t tmpfs -o mode=755 dev $root/dev
for n in null zero random urandom tty; do cp -a /dev/$n $root/dev/; done
mkdir -p $root/dev/disk/by-id $root/dev/pts $root/run/sshd
mount -t devpts devpts $root/dev/pts
shift 4
for d in "$@"; do name=${d%%=*} dev=${d#*=}; cp -a $dev $root$dev; ln -s $dev $root/dev/disk/by-id/loop-$name; done
mount -t proc proc $root/proc
mount --rbind /sys $root/sys
echo $boot >$root/run/boot_id
mount --bind $root/run/boot_id $root/proc/sys/kernel/random/boot_id
exec chroot $root /usr/sbin/sshd -D -e -p $port -o ListenAddress=$addr
`

func startReal(t *testing.T, r *rig) *realMachine {
	t.Helper()
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs root, namespaces, loop devices and the stage-0 stand-in: set HATCHERY_E2E=1 to run it")
	}
	m := &realMachine{rig: r, root: filepath.Join(t.TempDir(), "root"), addr: "127.0.0.99", mac: inventory.MAC{0x52, 0x54, 0, 0, 0, 99},
		loops: map[string]string{}, script: "/nix/store/script-node1"}
	initrd, err := filepath.Abs("../build/stage0/x86_64/initrd")
	if err != nil {
		t.Fatal(err)
	}
	m.sh("mkdir -p $1 && cd $1 && zcat $2 | cpio -idm --quiet", m.root, initrd)
	for d, size := range map[string]string{"os": "64M", "data": "96M"} {
		img := filepath.Join(t.TempDir(), d)
		m.sh("truncate -s $2 $1", img, size)
		m.loops[d] = strings.TrimSpace(m.sh("losetup -f --show $1", img))
		t.Cleanup(func() { m.sh("losetup -d $1", m.loops[d]) })
	}
	m.file("usr/bin/hatchery-agent", realAgent, 0o755)
	m.file("usr/bin/plant", "#!/bin/sh\nexec tar -C /mnt -xpf -\n", 0o755)
	m.file(m.script, realInstall, 0o755)
	m.file("nix/store/system-node1/init", "", 0o755)
	m.file("root/.ssh/authorized_keys", string(ssh.MarshalAuthorizedKey(r.key.PublicKey())), 0o600)
	t.Cleanup(m.off)
	return m
}

func (m *realMachine) ip() netip.Addr { return netip.MustParseAddr(m.addr) }

func (m *realMachine) sh(script string, args ...string) string {
	m.t.Helper()
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		m.t.Errorf("%s %v: %v: %s", script, args, err, errs.String())
	}
	return string(out)
}

func (m *realMachine) file(path, content string, mode os.FileMode) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // sshd and the umask
		m.t.Fatal(err)
	}
}

// powerOn boots the machine as the inventory says, and again whenever it restarts itself.
func (m *realMachine) powerOn() {
	m.t.Helper()
	m.boots++
	nonce, boot := fmt.Sprintf("real-nonce-%d", m.boots), fmt.Sprintf("real-boot-%d", m.boots)
	var target inventory.Target
	if err := m.store.Update(func(tx *inventory.Tx) (err error) {
		_, target, _, err = inventory.FetchScript(tx, inventory.Contact{MAC: m.mac, IP: m.ip(), Arch: "x86_64", Firmware: "uefi"}, inventory.DiscoveryOnce, nonce, time.Now())
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	key, err := newKey("stage-0")
	if err != nil {
		m.t.Fatal(err)
	}
	if target == inventory.TargetDisk {
		at := m.t.TempDir()
		m.sh("mount $1 $2", m.loops["os"], at)
		key, err = os.ReadFile(filepath.Join(at, "etc/ssh/ssh_host_ed25519_key"))
		m.sh("umount $1", at)
		if err != nil {
			m.t.Fatal(err)
		}
		m.sh("ln -sfn /nix/store/system-node1 $1/run/current-system", m.root)
	}
	m.file("etc/ssh/ssh_host_ed25519_key", string(key), 0o600)
	m.run(boot)
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	if target == inventory.TargetStage0 {
		m.checkIn(nonce, boot, public)
	}
}

// run starts the namespaces; the machine is off when sshd, their first process, ends.
func (m *realMachine) run(boot string) {
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-c", realBoot, "sh", m.root, boot, m.addr, fmt.Sprint(m.port)}
	for n, dev := range m.loops {
		args = append(args, n+"="+dev)
	}
	cmd := exec.Command("unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	m.mu.Lock()
	m.cmd, m.done = cmd, done
	m.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

func (m *realMachine) off() {
	m.mu.Lock()
	cmd, done := m.cmd, m.done
	m.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-done
}

func (m *realMachine) checkIn(nonce, boot, key string) {
	m.t.Helper()
	facts := inventory.Facts{}
	out := m.ask(key, factsScript)
	if err := json.Unmarshal([]byte(out), &facts); err != nil {
		m.t.Fatalf("facts: %v: %s", err, out)
	}
	if err := m.store.Update(func(tx *inventory.Tx) error {
		_, err := inventory.CheckIn(tx, inventory.Report{NonceHash: nonce, HostKey: key, BootID: boot, Facts: facts, From: m.ip()}, time.Now())
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
}

// ask runs a script on the machine once it answers.
func (m *realMachine) ask(key, script string) string {
	m.t.Helper()
	d := &dialer{signer: m.key, port: m.port, timeout: 5 * time.Second}
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := d.dial(m.t.Context(), m.ip(), key)
		if err == nil {
			defer c.close()
			out, err := c.run(m.t.Context(), script)
			if err != nil {
				m.t.Fatal(err)
			}
			return out
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the machine does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestRealMachine(t *testing.T) {
	r := newRig(t)
	m := startReal(t, r)
	r.start()
	m.powerOn()
	host := &machine{mac: m.mac}

	// A cancel in the install ends what runs on the machine, for real.
	m.file(m.script, realInstall+"sleep 4242\n", 0o755)
	r.assign(host, "node1", "server")
	r.until(host, "formatted", func(h inventory.Host) bool {
		return strings.Contains(h.Step, "formatting") && strings.Contains(m.ask(h.HostKey, "grep /mnt/data /proc/mounts; exit 0\n"), "/mnt/data")
	})
	h := r.host(host)
	r.act(host, func(tx *inventory.Tx, id inventory.HostID) error {
		_, err := inventory.Cancel(tx, id, time.Now())
		return err
	})
	h = r.untilState(host, inventory.StateReady)
	if got := m.ask(h.HostKey, "grep /mnt /proc/mounts; ps | grep -F 'sleep 4242' | grep -v grep; exit 0\n"); got != "" {
		t.Errorf("left on the machine after the cancel:\n%s", got)
	}

	// The next try installs in the same boot, and keeps what the first one put on the persistent disk.
	m.file(m.script, realInstall, 0o755)
	before := m.sh("blkid -s UUID -o value $1", m.loops["data"])
	r.assign(host, "node1", "server")
	r.until(host, "told to restart", func(h inventory.Host) bool { return h.Flipped || h.State == inventory.StateFailed })
	select { // the real order, carried out by the machine's own init
	case <-m.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("the machine does not restart:\n%s", r.logText(host))
	}
	m.powerOn()
	h = r.untilState(host, inventory.StateInstalled)
	if after := m.sh("blkid -s UUID -o value $1", m.loops["data"]); after != before {
		t.Errorf("the persistent disk was formatted again: %s → %s", before, after)
	}
	at := t.TempDir()
	m.sh("mount -o ro $1 $2", m.loops["os"], at)
	got := m.sh("cd $1 && stat -c '%a %n' etc/ssh/ssh_host_ed25519_key var/lib/hatchery/k3s-token && wc -c <var/lib/hatchery/k3s-token", at)
	m.sh("umount $1", at)
	if want := "600 etc/ssh/ssh_host_ed25519_key\n600 var/lib/hatchery/k3s-token\n64\n"; got != want {
		t.Errorf("planted: got %q, want %q", got, want)
	}
}
