package pipeline

import (
	"archive/tar"
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// machine is a small working machine behind a real SSH server: it netboots stage-0 or its own disk as the
// inventory says, and answers the scripts of this package.
type machine struct {
	t     *testing.T
	store inventory.Store
	mac   inventory.MAC
	addr  netip.AddrPort
	key   ssh.PublicKey // of the appliance, let in
	disks []inventory.Disk

	mu         sync.Mutex
	hostKey    ssh.Signer
	bootID     string
	boots      int
	mode       string // "stage-0", "disk", "off"
	planted    map[string]string
	modes      map[string]int64
	mounted    bool
	system     string // what its disk holds
	journal    []string
	installs   int // running now
	most       int // most at the same time
	exit       int // of the install script
	exitBehind int // the exit code of what comes behind it
	prints     string
	kmsg       []string // nil = it has no /dev/kmsg
	hang       chan struct{}
	violations []string
	conns      map[net.Conn]bool
	wg         sync.WaitGroup
	hook       func(script string) (out string, code int, done bool)
	noBoot     bool // it does not come up again after a restart
	keepKey    bool
	noAgent    bool
	onTrial    onTrial
	notReady   bool // what its k3s says of any node
}

func startMachine(t *testing.T, store inventory.Store, n int, port uint16, appliance ssh.PublicKey) *machine {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", 10+n, port))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, store: store, addr: netip.MustParseAddrPort(l.Addr().String()), key: appliance, mode: "off",
		mac: inventory.MAC{0x52, 0x54, 0, 0, 0, byte(n)}, conns: map[net.Conn]bool{}}
	for _, d := range []string{"os", "data"} {
		size := uint64(20e9)
		if d == "data" {
			size = 80e9
		}
		m.disks = append(m.disks, inventory.Disk{ID: fmt.Sprintf("virtio-%s%d", d, n), ByID: []string{fmt.Sprintf("virtio-%s%d", d, n)},
			Name: "vd" + d[:1], Serial: fmt.Sprintf("%s%d", d, n), SizeBytes: size, Type: "virtual", Transport: "virtio", Signatures: []string{}})
	}
	m.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { m.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.cut("off")
		m.wg.Wait()
	})
	return m
}

// powerOn boots the machine as the inventory says.
func (m *machine) powerOn() {
	m.t.Helper()
	m.boot(inventory.DiscoveryOnce)
}

func (m *machine) boot(d inventory.Discovery) {
	c := inventory.Contact{MAC: m.mac, IP: m.addr.Addr(), Arch: "x86_64", Firmware: "uefi"}
	m.mu.Lock()
	m.boots++
	nonce := fmt.Sprintf("nonce-%s-%d", m.mac, m.boots)
	boot := fmt.Sprintf("boot-%s-%d", m.mac, m.boots)
	key := m.hostKey
	m.mu.Unlock()
	if key == nil || !m.keepKey {
		key = sshtest.NewKey(m.t)
	}
	var target inventory.Target
	if err := m.store.Update(func(tx *inventory.Tx) (err error) {
		_, target, _, err = inventory.FetchScript(tx, c, d, nonce, time.Now())
		return err
	}); err != nil {
		m.violate("netboot: %v", err)
		return
	}
	if target != inventory.TargetStage0 {
		m.bootDisk(boot)
		return
	}
	m.stage0(nonce, boot, key)
}

// bootStage0 boots stage-0 whatever the inventory says now: it was asked a moment ago.
func (m *machine) bootStage0() {
	m.mu.Lock()
	m.boots++
	n := m.boots
	m.mu.Unlock()
	nonce := fmt.Sprintf("nonce-%s-%d", m.mac, n)
	if err := m.store.Update(func(tx *inventory.Tx) error {
		_, err := inventory.IssueJoinNonce(tx, inventory.Contact{MAC: m.mac, IP: m.addr.Addr()}, nonce, time.Now())
		return err
	}); err != nil {
		m.violate("netboot: %v", err)
		return
	}
	m.stage0(nonce, fmt.Sprintf("boot-%s-%d", m.mac, n), sshtest.NewKey(m.t))
}

// stage0 runs stage-0, whose agent checks in.
func (m *machine) stage0(nonce, boot string, key ssh.Signer) {
	m.mu.Lock()
	m.mode, m.hostKey, m.bootID, m.mounted = "stage-0", key, boot, false
	facts := inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "QEMU", Product: "pc", MemoryBytes: 2 << 30, Disks: slices.Clone(m.disks),
		NICs: []inventory.NIC{{Name: "eth0", MAC: m.mac}}}
	m.mu.Unlock()
	if err := m.store.Update(func(tx *inventory.Tx) error {
		_, err := inventory.CheckIn(tx, inventory.Report{NonceHash: nonce, HostKey: sshtest.PublicLine(key),
			BootID: boot, Facts: facts, From: m.addr.Addr()}, time.Now())
		return err
	}); err != nil {
		m.violate("check-in: %v", err)
	}
}

func (m *machine) bootDisk(boot string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.system == "" {
		m.mode = "off"
		return
	}
	key, err := ssh.ParsePrivateKey([]byte(m.planted["etc/ssh/ssh_host_ed25519_key"]))
	if err != nil {
		m.violations = append(m.violations, "planted key: "+err.Error())
		return
	}
	m.mode, m.hostKey, m.bootID, m.onTrial = "disk", key, boot, onTrial{}
}

// cut takes the machine's power (or network) away: every connection breaks.
func (m *machine) cut(mode string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode = mode
	for c := range m.conns {
		c.Close()
	}
	if m.hang != nil {
		close(m.hang)
		m.hang = nil
	}
}

func (m *machine) violate(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.violations = append(m.violations, fmt.Sprintf(format, args...))
}

func (m *machine) did() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.journal)
}

func (m *machine) serve(c net.Conn) {
	defer c.Close()
	m.mu.Lock()
	key, mode := m.hostKey, m.mode
	m.conns[c] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
	}()
	if mode == "off" || key == nil {
		return
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if m.key == nil || string(k.Marshal()) != string(m.key.Marshal()) {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	cfg.AddHostKey(key)
	sshtest.Serve(c, cfg, m.exec)
}

func (m *machine) exec(command string, ch io.ReadWriter) (string, int) {
	stdin := io.Reader(ch)
	if command == "plant" {
		return "", cmp.Or(m.plant(stdin), m.exitBehind)
	}
	if command == "cat >/dev/null" {
		_, err := io.Copy(io.Discard, stdin)
		return fmt.Sprint(err), 0
	}
	if path, ok := strings.CutPrefix(command, "store "); ok {
		return "", m.storeSystem(path)
	}
	if command != "sh -s" {
		return m.installScript(command)
	}
	in := bufio.NewReader(stdin)
	first, _ := in.ReadString('\n') // a session that was cut off has none
	if first == "# hatchery: journal\n" {
		return m.followKmsg(in, ch)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return "", 1
	}
	script := first + string(raw)
	name := strings.TrimPrefix(strings.SplitN(script, "\n", 2)[0], "# hatchery: ")
	m.mu.Lock()
	defer m.mu.Unlock()
	if name != "boot" && name != "facts" && name != "" { // "": a session that was cut off
		m.journal = append(m.journal, m.mode+" "+name)
	}
	if m.hook != nil {
		if out, code, done := m.hook(name); done {
			return out, code
		}
	}
	if out, code, ok := m.deploy(name, script); ok {
		return out, code
	}
	switch name {
	case "node":
		node, _, _ := strings.Cut(strings.SplitN(script, "get node '", 2)[1], "'")
		if m.notReady {
			return node + " NotReady <none> 1m v1.33\n", 0
		}
		return node + " Ready,SchedulingDisabled <none> 1m v1.33\n", 0
	case "boot":
		return m.bootID + "\n", 0
	case "look":
		return m.lookOutput(), 0
	case "facts":
		if m.noAgent {
			return "", 0
		}
		raw, err := json.Marshal(inventory.Facts{Arch: "x86_64", Firmware: "uefi", Disks: m.disks})
		if err != nil {
			return err.Error(), 1
		}
		return string(raw), 0
	case "mounts":
		return m.mountsOutput(), 0
	case "sweep", "unmount":
		m.mounted = false
	case "system":
		if m.onTrial.running != "" {
			return m.onTrial.running + "\n", 0
		}
		return m.system + "\n", 0
	case "reboot":
		m.wg.Go(m.restart)
	}
	return "", 0
}

// followKmsg prints the kernel's messages, old ones first, until the session ends, as `cat /dev/kmsg` does.
func (m *machine) followKmsg(in *bufio.Reader, ch io.Writer) (string, int) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, in)
	}()
	for n := 0; ; {
		m.mu.Lock()
		lines := m.kmsg
		m.mu.Unlock()
		if lines == nil {
			return "", 0
		}
		for ; n < len(lines); n++ {
			fmt.Fprintln(ch, lines[n])
		}
		select {
		case <-over:
			return "", 0
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (m *machine) restart() {
	m.cut("off")
	if !m.noBoot {
		m.boot(inventory.DiscoveryOnce)
	}
}

func (m *machine) lookOutput() string {
	var b strings.Builder
	fmt.Fprintf(&b, "boot %s\nnow %d\nos ID nixos\nos VARIANT_ID installer\nmemory %d\n", m.bootID, time.Now().Unix(), 2<<20)
	if m.mounted {
		b.WriteString("mounted /mnt /dev/vda1\n")
	}
	for _, d := range m.disks {
		fmt.Fprintf(&b, "disk %s device /dev/%s\ndisk %s serial %s\ndisk %s child %s disk\n", d.ID, d.Name, d.ID, d.Serial, d.ID, d.Name)
		for _, s := range d.Signatures {
			fmt.Fprintf(&b, "disk %s signature %s\n", d.ID, s)
		}
		for _, p := range d.Partitions {
			fmt.Fprintf(&b, "disk %s part %s\n", d.ID, p.UUID)
		}
	}
	return b.String() + "end\n"
}

func (m *machine) mountsOutput() string {
	if !m.mounted {
		return "end\n"
	}
	return fmt.Sprintf("mount /mnt ext4 /dev/vdo1\non /mnt /dev/vdo\nmount /mnt/data ext4 /dev/vdd1\non /mnt/data /dev/vdd\ndisk %s /dev/vdo\ndisk %s /dev/vdd\nend\n",
		m.disks[0].ID, m.disks[1].ID)
}

// installScript is the plan's script: `ssh root@h SCRIPT`.
func (m *machine) installScript(command string) (string, int) {
	if strings.HasPrefix(command, "/nix/store/format-") {
		return m.formatScript(command)
	}
	if m.checkWrite(); !strings.HasPrefix(command, "/nix/store/script") {
		m.violate("unknown command %q", command)
		return "", 127
	}
	m.mu.Lock()
	m.journal = append(m.journal, m.mode+" install")
	m.installs++
	m.most = max(m.most, m.installs)
	exit, hang := m.exit, m.hang
	if exit == 0 {
		for i := range m.disks {
			d := &m.disks[i]
			d.Signatures, d.Partitions = []string{"gpt"}, []inventory.Partition{{Number: 1, UUID: fmt.Sprintf("part-%d-%d", i, m.boots), FS: "ext4"}}
		}
		m.mounted = true
	}
	m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.installs--
	if exit == 0 {
		m.system = "/nix/store/system-" + strings.TrimPrefix(command, "/nix/store/script-")
	}
	return m.prints, exit
}

// checkWrite holds the invariants of the first write: recorded as ours before, never after the flip.
func (m *machine) checkWrite() {
	err := m.store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(m.mac)
		if err != nil {
			return err
		}
		j, err := tx.Job(h.JobID)
		if err != nil {
			return err
		}
		if !j.Wrote || !h.Wrote || j.Flipped || h.Flipped || h.State != inventory.StateInstalling {
			m.violate("a write while host %+v job %+v", h.State, j)
		}
		for _, d := range m.disks {
			if h.OwnedDisks[d.ID] == "" {
				m.violate("a write to %s, which is not recorded as ours", d.ID)
			}
		}
		return nil
	})
	if err != nil {
		m.violate("check of a write: %v", err)
	}
}

func (m *machine) plant(r io.Reader) int {
	files, modes := map[string]string{}, map[string]int64{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 1
		}
		raw, err := io.ReadAll(tr)
		if err != nil {
			return 1
		}
		name := strings.TrimPrefix(h.Name, "./")
		modes[name] = h.Mode
		if h.Typeflag == tar.TypeReg {
			files[name] = string(raw)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.planted, m.modes = files, modes
	m.journal = append(m.journal, m.mode+" plant")
	return 0
}
