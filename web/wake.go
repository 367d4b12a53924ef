package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/staged-hive/hatchery/inventory"
)

// MagicPacket is the 102 bytes that wake a machine: six times 0xff, sixteen times its MAC
// (AMD publication 20213, "Magic Packet Technology").
func MagicPacket(mac inventory.MAC) []byte {
	return append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac[:], 16)...)
}

// BroadcastWake sends the magic packet to port 9 of the broadcast address of every IPv4 network of this box.
func BroadcastWake(ctx context.Context, mac inventory.MAC) error {
	targets, err := broadcastAddrs()
	if err != nil {
		return fmt.Errorf("wake %s: %w", mac, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", ":0")
	if err != nil {
		return fmt.Errorf("wake %s: %w", mac, err)
	}
	defer conn.Close()
	sent, errs := 0, []error(nil)
	for _, ip := range targets {
		if _, err := conn.WriteTo(MagicPacket(mac), &net.UDPAddr{IP: ip, Port: 9}); err != nil {
			errs = append(errs, err)
			continue
		}
		sent++
	}
	if sent == 0 {
		return fmt.Errorf("wake %s: no network took the packet: %w", mac, errors.Join(errs...))
	}
	return nil
}

func broadcastAddrs() ([]net.IP, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []net.IP
	for _, ifc := range ifaces {
		if ifc.Flags&net.FlagUp == 0 || ifc.Flags&net.FlagBroadcast == 0 {
			continue
		}
		addrs, err := ifc.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.To4() == nil {
				continue
			}
			ip, mask := n.IP.To4(), n.Mask[len(n.Mask)-4:]
			b := make(net.IP, 4)
			for i := range b {
				b[i] = ip[i] | ^mask[i]
			}
			out = append(out, b)
		}
	}
	return out, nil
}
