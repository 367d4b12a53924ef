package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Side is one of the LAN's network namespaces.
type Side string

// The sides of a LAN.
const (
	Switch    Side = "sw"  // the bridge br0 and the machines' taps; QEMU runs here
	Appliance Side = "app" // eth0 with [LAN.ApplianceAddr]
	Router    Side = "rtr" // eth0 with [LAN.RouterAddr]; silent until [LAN.StartRouter] or [LAN.StartRelay]
)

// maxClients is how many network-only machines a LAN has at most, see [LAN.Plug].
const maxClients = 16

// Client is the side of the i-th machine that is a namespace only, from 0; [LAN.Plug] makes it.
func Client(i int) Side { return Side(fmt.Sprintf("c%d", i)) }

// sides lists all that there may be.
var sides = func() []Side {
	out := []Side{Switch, Appliance, Router}
	for i := range maxClients {
		out = append(out, Client(i))
	}
	return out
}()

// Config says what a LAN is like. The zero value works.
type Config struct {
	// Net is its IPv4 network, a /24: .1 is the router, .2 the appliance. Zero means 10.83.0.0/24;
	// several LANs may use the same one, they never meet.
	Net netip.Prefix
	// Ports is how many machines can be plugged in; 0 means 4.
	Ports int
	// Behind is a second network, a /24 behind the router, with as many ports: its machines reach the
	// appliance only through the router. The zero value means none.
	Behind netip.Prefix
	// Log gets what the lab does; nil means nowhere.
	Log *slog.Logger
}

// LAN is a running virtual network. Its methods may be called from several goroutines.
type LAN struct {
	cfg  Config
	name string
	dir  string
	lock *os.File
}

// Name is the lab's short name ("hy0"); its namespaces are called NAME-sw, NAME-app, NAME-rtr.
func (l *LAN) Name() string { return l.name }

// Dir is the lab's scratch folder; [LAN.Close] removes it.
func (l *LAN) Dir() string { return l.dir }

// ApplianceAddr is the appliance's address, host number 2.
func (l *LAN) ApplianceAddr() netip.Addr { return hostAddr(l.cfg.Net, 2) }

// RouterAddr is the router's address, host number 1.
func (l *LAN) RouterAddr() netip.Addr { return hostAddr(l.cfg.Net, 1) }

// Addr is the address with host number n.
func (l *LAN) Addr(n byte) netip.Addr { return hostAddr(l.cfg.Net, n) }

// BehindAddr is the address with host number n on the network behind the router, which itself is number 1.
func (l *LAN) BehindAddr(n byte) netip.Addr { return hostAddr(l.cfg.Behind, n) }

func hostAddr(p netip.Prefix, n byte) netip.Addr {
	a := p.Masked().Addr().As4()
	a[3] = n
	return netip.AddrFrom4(a)
}

// New lays a LAN. It first removes the leftovers of runs that ended without
// [LAN.Close]. The caller closes it.
func New(cfg Config) (*LAN, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the virtual LAN needs root (network namespaces): run it as root")
	}
	if !cfg.Net.IsValid() {
		cfg.Net = netip.MustParsePrefix("10.83.0.0/24")
	}
	if !cfg.Net.Addr().Is4() || cfg.Net.Bits() != 24 {
		return nil, fmt.Errorf("lab network %s: want an IPv4 /24", cfg.Net)
	}
	if cfg.Behind.IsValid() && (!cfg.Behind.Addr().Is4() || cfg.Behind.Bits() != 24 || cfg.Behind.Overlaps(cfg.Net)) {
		return nil, fmt.Errorf("lab network %s behind %s: want another IPv4 /24", cfg.Behind, cfg.Net)
	}
	if cfg.Ports == 0 {
		cfg.Ports = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := Cleanup(); err != nil {
		return nil, err
	}
	name, lock, err := takeName()
	if err != nil {
		return nil, err
	}
	l := &LAN{cfg: cfg, name: name, dir: filepath.Join(stateDir(), name), lock: lock}
	if err := l.up(); err != nil {
		return nil, errors.Join(fmt.Errorf("virtual LAN %s: %w", name, err), l.Close())
	}
	return l, nil
}

// Close ends every process of the LAN and removes its namespaces and its folder.
func (l *LAN) Close() error {
	err := destroy(l.name)
	return errors.Join(err, l.lock.Close())
}

func (l *LAN) up() error {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	sw, app, rtr := l.ns(Switch), l.ns(Appliance), l.ns(Router)
	for _, ns := range []string{sw, app, rtr} {
		if err := commands(
			"ip netns add "+ns,
			"ip -n "+ns+" link set lo up",
			"ip netns exec "+ns+" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
		); err != nil {
			return err
		}
	}
	err := commands(
		"ip -n "+sw+" link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
		"ip -n "+sw+" link set br0 up",
		"ip -n "+sw+" link add papp type veth peer name eth0 netns "+app,
		"ip -n "+sw+" link add prtr type veth peer name eth0 netns "+rtr,
		"ip -n "+sw+" link set papp master br0 up",
		"ip -n "+sw+" link set prtr master br0 up",
		"ip -n "+app+" link set eth0 up",
		"ip -n "+rtr+" link set eth0 up",
		fmt.Sprintf("ip -n %s addr add %s/24 brd + dev eth0", app, l.ApplianceAddr()),
		fmt.Sprintf("ip -n %s addr add %s/24 brd + dev eth0", rtr, l.RouterAddr()),
		fmt.Sprintf("ip -n %s route add default via %s", app, l.RouterAddr()),
		// Real cards fill in checksums; veth leaves them to a peer that, here, is a bare firmware.
		"ip netns exec "+app+" ethtool -K eth0 tx off rx off tso off gso off gro off",
		"ip netns exec "+rtr+" ethtool -K eth0 tx off rx off tso off gso off gro off",
	)
	if err != nil {
		return err
	}
	for i := range l.cfg.Ports {
		if err := plug(sw, fmt.Sprintf("tap%d", i), "br0"); err != nil {
			return err
		}
	}
	if !l.cfg.Behind.IsValid() {
		return nil
	}
	return l.upBehind()
}

// behindNet6 is the IPv6 network behind the router: one that advertises itself saves old iPXE ROMs their wait.
const behindNet6 = "fd84::"

// upBehind makes the second network: br1 with ports rtap0 and so on, and the router between the two.
func (l *LAN) upBehind() error {
	sw, rtr := l.ns(Switch), l.ns(Router)
	if err := commands(
		"ip -n "+sw+" link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
		"ip -n "+sw+" link set br1 up",
		"ip -n "+sw+" link add prtr1 type veth peer name eth1 netns "+rtr,
		"ip -n "+sw+" link set prtr1 master br1 up",
		"ip -n "+rtr+" link set eth1 up",
		fmt.Sprintf("ip -n %s addr add %s/24 brd + dev eth1", rtr, l.BehindAddr(1)),
		fmt.Sprintf("ip -n %s addr add %s1/64 dev eth1 nodad", rtr, behindNet6),
		"ip netns exec "+rtr+" sysctl -qw net.ipv4.ip_forward=1",
		"ip netns exec "+rtr+" ethtool -K eth1 tx off rx off tso off gso off gro off",
	); err != nil {
		return err
	}
	for i := range l.cfg.Ports {
		if err := plug(sw, fmt.Sprintf("rtap%d", i), "br1"); err != nil {
			return err
		}
	}
	return nil
}

// plug makes a port for a machine on a bridge.
func plug(sw, port, bridge string) error {
	return commands(
		fmt.Sprintf("ip -n %s tuntap add %s mode tap", sw, port),
		fmt.Sprintf("ip -n %s link set %s master %s up", sw, port, bridge),
	)
}

// Cable plugs a machine's port in or pulls it out.
func (l *LAN) Cable(port int, in bool) error {
	state := "down"
	if in {
		state = "up"
	}
	return commands(fmt.Sprintf("ip -n %s link set tap%d %s", l.ns(Switch), port, state))
}

func (l *LAN) ns(s Side) string { return l.name + "-" + string(s) }

// Command prepares a program to run on a side of the LAN.
func (l *LAN) Command(ctx context.Context, side Side, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.ns(side), name}, args...)...)
}

// commands runs one command line after the other; words are split at blanks.
func commands(lines ...string) error {
	for _, line := range lines {
		w := strings.Fields(line)
		var out bytes.Buffer
		cmd := exec.Command(w[0], w[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(out.String()))
		}
	}
	return nil
}
