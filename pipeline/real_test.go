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

	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// realMachine is the stage-0 stand-in's own userland (OpenSSH, busybox, util-linux) in mount, pid and network namespaces of
// its own, behind a cable (veth), with loop devices for disks: what runs on it are the real scripts, mounts and processes.
// It restarts by itself when it is told to over SSH.
type realMachine struct {
	*site
	n      int
	root   string // its file system
	mac    inventory.MAC
	loops  map[string]string // "os" → /dev/loop0
	disks  map[string]string // "os" → image file
	script string

	mu    sync.Mutex
	boots int
	cmd   *exec.Cmd
	down  chan struct{} // closed when this boot has ended
	gone  bool          // no power, or the test is over: it does not start by itself
	wg    sync.WaitGroup
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

// realInstall is an install script: the persistent disk is formatted only when blank. Two at once would be seen, and it
// takes a moment between the disks, as real ones do.
const realInstall = `#!/bin/sh
set -e
[ ! -e /run/writing ] || ! kill -0 "$(cat /run/writing)" || echo "two at once" >>/var/violations
echo $$ >/run/writing
[ ! -e /run/flipped ] || echo "a write after the flip" >>/var/violations
os=/dev/disk/by-id/loop-os data=/dev/disk/by-id/loop-data
mkfs.ext4 -q -F $os
sleep 1
[ -n "$(wipefs -i -n -O TYPE "$(readlink -f $data)")" ] || mkfs.ext4 -q -F $data
mount $os /mnt
mkdir -p /mnt/data
mount $data /mnt/data
rm /run/writing
`

// realBoot starts the machine in its namespaces: its own /dev with only its disks, its own boot id, its end of the cable.
const realBoot = `set -e
root=$1 boot=$2 addr=$3
mount --make-rprivate /
mount -t tmpfs -o mode=755 dev $root/dev
for n in null zero random urandom tty; do cp -a /dev/$n $root/dev/; done
mkdir -p $root/dev/disk/by-id $root/dev/pts $root/run/sshd
mount -t devpts devpts $root/dev/pts
shift 3
for d in "$@"; do name=${d%%=*} dev=${d#*=}; cp -a $dev $root$dev; ln -s $dev $root/dev/disk/by-id/loop-$name; done
mount -t proc proc $root/proc
mount -t sysfs -o ro sys $root/sys
rm -rf $root/run/hatchery-deploy
echo $boot >$root/run/boot_id
mount --bind $root/run/boot_id $root/proc/sys/kernel/random/boot_id
ip link set lo up
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ip link set eth0 up 2>/dev/null && break; sleep 0.05; done
ip addr add $addr/30 dev eth0
exec chroot $root /usr/sbin/sshd -D -e
`

// unpacked is the stage-0 stand-in's file system, which all real machines of a run share the files of.
var unpacked = sync.OnceValues(func() (string, error) {
	initrd, err := filepath.Abs("../build/stage0/x86_64/initrd")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "stage0-root")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("sh", "-ec", "cd $1; gzip -dc $2 | cpio -idm --quiet", "sh", dir, initrd).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", initrd, err, out)
	}
	return dir, nil
})

func newReal(t *testing.T, s *site, n int) *realMachine {
	t.Helper()
	base, err := unpacked()
	if err != nil {
		t.Fatal(err)
	}
	m := &realMachine{site: s, n: n, root: filepath.Join(s.dir, "root"), mac: inventory.MAC{0x52, 0x54, 0, 0, 1, byte(n)},
		loops: map[string]string{}, disks: map[string]string{}, script: "/nix/store/script-node1"}
	m.sh("cp -al $1 $2", base, m.root)
	for d, size := range map[string]string{"os": "32M", "data": "48M"} {
		m.disks[d] = filepath.Join(s.dir, "disk-"+d)
		m.sh("truncate -s $2 $1", m.disks[d], size)
		m.loops[d] = strings.TrimSpace(m.sh("losetup -f --show $1", m.disks[d]))
		t.Cleanup(func() { m.sh("losetup -d $1", m.loops[d]) })
	}
	m.file("usr/bin/hatchery-agent", realAgent, 0o755)
	m.file("usr/bin/plant", "#!/bin/sh\nexec tar -C /mnt -xpf -\n", 0o755)
	m.file("usr/bin/reboot", "#!/bin/sh\nsync; kill -KILL 1; exec busybox reboot -f\n", 0o755)
	m.file("etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPidFile none\nUseDNS no\nMaxStartups 100\n"+
		"SetEnv PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", 0o644)
	m.file(m.script, realInstall, 0o755)
	m.file("nix/store/system-node1/init", "", 0o755)
	m.file("root/.ssh/authorized_keys", string(ssh.MarshalAuthorizedKey(s.key.PublicKey())), 0o600)
	t.Cleanup(m.off)
	return m
}

// cable is the appliance's end of the machine's cable.
func (m *realMachine) cable() string { return fmt.Sprintf("m%d", m.n) }

func (m *realMachine) ip() netip.Addr { return netip.AddrFrom4([4]byte{10, 99, byte(m.n), 2}) }

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

// file puts a file of the machine's own in place of the shared one.
func (m *realMachine) file(path, content string, mode os.FileMode) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	_ = os.Remove(path)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // sshd and the umask
		m.t.Fatal(err)
	}
}

// powerOn boots the machine as the inventory says.
func (m *realMachine) powerOn() {
	m.t.Helper()
	m.mu.Lock()
	m.gone = false
	m.boots++
	boots := m.boots
	m.mu.Unlock()
	nonce, boot := fmt.Sprintf("nonce-%d-%d", m.n, boots), fmt.Sprintf("boot-%d-%d", m.n, boots)
	a, err := m.do(order{Do: "fetch", Nonce: nonce, At: inventory.Contact{MAC: m.mac, IP: m.ip(), Arch: "x86_64", Firmware: "uefi"}})
	if err != nil {
		m.t.Errorf("netboot: %v", err)
		return
	}
	key, err := newKey("stage-0")
	if err == nil && a.Target == inventory.TargetDisk {
		key, err = m.diskKey()
	}
	if err != nil {
		m.t.Errorf("boot: %v", err)
		return
	}
	m.file("etc/ssh/ssh_host_ed25519_key", string(key), 0o600)
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		m.t.Error(err)
		return
	}
	if !m.run(boot) {
		return
	}
	if a.Target == inventory.TargetStage0 {
		m.checkIn(nonce, boot, sshtest.PublicLine(signer))
	}
}

// mountDisk waits until the kernel has let go of the disk of a machine that was switched off.
const mountDisk = `mkdir -p $2; for i in $(seq 100); do mount $1 $2 2>/dev/null && exit; sleep 0.05; done; mount $1 $2`

// diskKey makes ready what the machine's own disk boots, and gives the host key that was planted on it.
func (m *realMachine) diskKey() ([]byte, error) {
	at := filepath.Join(m.dir, "os.mnt")
	m.sh(mountDisk, m.loops["os"], at)
	key, err := os.ReadFile(filepath.Join(at, "etc/ssh/ssh_host_ed25519_key"))
	m.sh("for i in $(seq 100); do umount $1 2>/dev/null && break; sleep 0.05; done; ln -sfn /nix/store/system-node1 $2/run/current-system; touch $2/run/flipped", at, m.root)
	return key, err
}

// run starts the namespaces and plugs the cable in. When the machine's first process ends by itself, it restarts.
func (m *realMachine) run(boot string) bool {
	args := []string{"--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", realBoot, "sh", m.root, boot, m.ip().String()}
	for n, dev := range m.loops {
		args = append(args, n+"="+dev)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return false
	}
	cmd := exec.Command("unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = m.errs
	if err := cmd.Start(); err != nil {
		m.t.Error(err)
		return false
	}
	// unshare itself is in the machine's network namespace. The cable of the boot before goes with that boot's namespace.
	m.sh(`self=$(readlink /proc/self/ns/net)
while [ "$(readlink /proc/$2/ns/net)" = $self ]; do sleep 0.01; done
until ip link add $1 type veth peer name eth0 netns $2 2>/dev/null; do [ -e /proc/$2/ns/net ] || exit 0; sleep 0.01; done
ip addr add $3/30 dev $1; ip link set $1 up`,
		m.cable(), fmt.Sprint(cmd.Process.Pid), netip.AddrFrom4([4]byte{10, 99, byte(m.n), 1}).String())
	down := make(chan struct{})
	m.cmd, m.down = cmd, down
	m.wg.Go(func() {
		_ = cmd.Wait()
		m.sh(`for i in $(seq 500); do ls -l /proc/[0-9]*/root 2>/dev/null | grep -q " $1\$" || exit 0; sleep 0.05; done; exit 1`, m.root)
		close(down)
		m.mu.Lock()
		restart := !m.gone
		m.mu.Unlock()
		if restart {
			m.powerOn()
		}
	})
	return true
}

// off takes the machine's power away.
func (m *realMachine) off() {
	m.mu.Lock()
	m.gone = true
	cmd := m.cmd
	m.mu.Unlock()
	if cmd != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	m.wg.Wait()
}

// unplug pulls the machine's cable for a while: packets vanish, nothing is told.
func (m *realMachine) unplug(d time.Duration) {
	m.mu.Lock()
	pid := m.cmd.Process.Pid
	m.mu.Unlock()
	plug := func(state string) { // fails where the machine restarts at this moment: it comes up with a new cable
		_ = exec.Command("nsenter", "-t", fmt.Sprint(pid), "-n", "ip", "link", "set", "eth0", state).Run()
	}
	plug("down")
	time.Sleep(d) // the cut itself, nothing is waited for
	plug("up")
}

func (m *realMachine) checkIn(nonce, boot, key string) {
	out, err := m.ask(key, factsScript)
	if err != nil {
		m.t.Logf("no check-in of %s: %v", boot, err) // it was cut off
		return
	}
	facts := inventory.Facts{}
	if err := json.Unmarshal([]byte(out), &facts); err != nil {
		m.t.Errorf("facts: %v: %s", err, out)
		return
	}
	if _, err := m.do(order{Do: "checkin", Report: inventory.Report{NonceHash: nonce, HostKey: key, BootID: boot, Facts: facts, From: m.ip()}}); err != nil {
		m.t.Errorf("check-in: %v", err)
	}
}

// ask runs a script on the machine once it answers; it gives up when the machine goes off.
func (m *realMachine) ask(key, script string) (string, error) {
	m.mu.Lock()
	down := m.down
	m.mu.Unlock()
	d := &dialer{signer: m.key, port: 22, timeout: 5 * time.Second}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := d.dial(m.t.Context(), m.ip(), key)
		if err == nil {
			var out string
			out, err = c.run(m.t.Context(), script)
			c.close()
			if err == nil {
				return out, nil
			}
		}
		select {
		case <-down:
			return "", err
		default:
		}
		if time.Now().After(deadline) {
			return "", err
		}
	}
}
