package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// receiveBuffer is what a socket holds while its reader waits: a tenth of a second of 20,000 packets a second, for a slow sync.
const receiveBuffer = 2 << 20

// listen opens a port on one interface. Not server4 of the codec's library: that one sets
// SO_REUSEPORT, with which a second DHCP server on this machine goes unnoticed.
func listen(ctx context.Context, iface string, port uint16) (*ipv4.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), iface))
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil { // it takes CAP_NET_ADMIN
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // at most net.core.rmem_max
			}
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	c, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(int(port))))
	if err != nil {
		return nil, explainListen(iface, port, err)
	}
	p := ipv4.NewPacketConn(c)
	if err := p.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true); err != nil {
		return nil, errors.Join(fmt.Errorf("port %d on %s: %w", port, iface, err), c.Close())
	}
	return p, nil
}

func explainListen(iface string, port uint16, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		who := "another program"
		if n := holder("/proc", port); n != "" {
			who = n
		}
		return fmt.Errorf("UDP port %d on %s is taken by %s: stop it, or start without DHCP (--dhcp off): %w", port, iface, who, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("UDP port %d on %s needs root, or the capability CAP_NET_BIND_SERVICE: %w", port, iface, err)
	}
	return fmt.Errorf("UDP port %d on %s: %w", port, iface, err)
}

// holder names the program that has a UDP port, as "dnsmasq (pid 7)", from the /proc tree at
// root; "" when that does not tell.
func holder(root string, port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{"net/udp", "net/udp6"} {
		b, err := os.ReadFile(filepath.Join(root, table))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) < 10 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob(filepath.Join(root, "[0-9]*", "fd", "*"))
	for _, fd := range fds {
		l, err := os.Readlink(fd)
		if err != nil || !inodes[l] {
			continue
		}
		pid := strings.Split(strings.TrimPrefix(fd, root+"/"), "/")[0]
		comm, err := os.ReadFile(filepath.Join(root, pid, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid)
	}
	return ""
}

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(u.IP.To4())
	return netip.AddrPortFrom(ip, uint16(u.Port))
}
