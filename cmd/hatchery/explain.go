package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// explain turns the two failures that every newcomer meets — no permission, a port that is
// taken — into a sentence that names the port, who holds it, and what to do.
func explain(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return err
	}
	network, port := op.Addr.Network(), portOf(op.Addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		holder := holderOf("/proc", network, port)
		if holder == "" {
			holder = "another program"
		}
		return fmt.Errorf("%s port %d is taken by %s: stop it, or give hatchery another one (%s)", strings.ToUpper(network), port, holder, remedy(network, port))
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("no permission to listen on %s port %d: run hatchery as root, or give it CAP_NET_BIND_SERVICE and CAP_NET_RAW", strings.ToUpper(network), port)
	}
	return err
}

func remedy(network string, port int) string {
	switch {
	case network == "udp" && (port == 67 || port == 4011):
		return "--dhcp off, when that program is the DHCP server that sends machines here"
	case network == "udp":
		return "TFTP has no other port: machines' firmware asks there"
	}
	return "--boot-addr or --web-addr"
}

func portOf(a net.Addr) int {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.Port
	case *net.UDPAddr:
		return a.Port
	}
	return 0
}

// holderOf names the program that listens on the port, as far as proc (a mounted /proc) tells; "" = not told.
func holderOf(proc, network string, port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{network, network + "6"} {
		f, err := os.Open(filepath.Join(proc, "net", table))
		if err != nil {
			continue
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			fields := strings.Fields(sc.Text())
			if len(fields) < 10 || network == "tcp" && fields[3] != "0A" { // 0A: TCP_LISTEN
				continue
			}
			_, hexPort, _ := strings.Cut(fields[1], ":")
			if p, err := strconv.ParseUint(hexPort, 16, 16); err == nil && int(p) == port {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
		f.Close()
	}
	fds, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			dir := filepath.Dir(filepath.Dir(fd))
			name, _ := os.ReadFile(filepath.Join(dir, "comm"))
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
		}
	}
	return ""
}
