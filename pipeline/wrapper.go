package pipeline

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// wrapper is the text of the `ssh` that stands first in nixos-anywhere's PATH. nixos-anywhere passes
// StrictHostKeyChecking=no itself, but ssh takes the first value of an option (nix-facts section 2,
// measured with ssh -G), so ours in front win: only the pinned key is accepted, whatever follows.
func wrapper(sshProgram, knownHosts, keyFile, alias string) string {
	opts := []string{
		"-F", "/dev/null",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + knownHosts,
		"-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "HostKeyAlias=" + alias,
		"-o", "CheckHostIP=no",
		"-o", "UpdateHostKeys=no",
		"-o", "VerifyHostKeyDNS=no",
		"-o", "PasswordAuthentication=no",
		"-o", "KbdInteractiveAuthentication=no",
		"-o", "BatchMode=yes",
		"-o", "ForwardAgent=no",
		"-o", "ConnectTimeout=60", // a machine at its limit is slow to answer; one that is gone is noticed by the guard
		"-o", "ServerAliveInterval=15",
		"-o", "ServerAliveCountMax=4",
		"-o", "IdentityFile=" + keyFile,
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Written by hatchery for one job: ssh with the machine's host key pinned.\nexec " + quote(sshProgram))
	for _, o := range opts {
		b.WriteString(" " + quote(o))
	}
	b.WriteString(" \"$@\"\n")
	return b.String()
}

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// writeWrapper puts the wrapper and its known_hosts into dir and returns the folder for PATH.
func writeWrapper(dir, sshProgram, keyFile, hostKey string, ip netip.Addr) (string, error) {
	bin, known := filepath.Join(dir, "bin"), filepath.Join(dir, "known_hosts")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return "", fmt.Errorf("ssh wrapper for %s: %w", ip, err)
	}
	alias := "hatchery-target"
	if strings.ContainsAny(dir+keyFile, "\"\n %") {
		return "", fmt.Errorf("ssh wrapper for %s: ssh cannot be given the path %q: use a data directory without spaces, quotes and %%", ip, dir)
	}
	if err := os.WriteFile(known, []byte(alias+" "+strings.TrimSpace(hostKey)+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("known_hosts for %s: %w", ip, err)
	}
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(wrapper(sshProgram, known, keyFile, alias)), 0o700); err != nil {
		return "", fmt.Errorf("ssh wrapper for %s: %w", ip, err)
	}
	return bin, nil
}
