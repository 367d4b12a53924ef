package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// settings mirrors the configuration file; every key has a flag of the same meaning but the tables
// (relayed subnets, reservations), and a flag that was given wins over the file. Unknown keys in the file are errors.
type settings struct {
	Data          string   `toml:"data"`
	User          string   `toml:"user"`
	Interfaces    []string `toml:"interfaces"`
	DHCP          string   `toml:"dhcp"`
	DHCPForce     bool     `toml:"dhcp_force"`
	DHCPRange     string   `toml:"dhcp_range"`
	DHCPRouter    string   `toml:"dhcp_router"`
	DHCPDNS       []string `toml:"dhcp_dns"`
	DHCPDomain    string   `toml:"dhcp_domain"`
	DHCPNTP       []string `toml:"dhcp_ntp"`
	DHCPRoutes    []string `toml:"dhcp_routes"`
	LeaseTime     string   `toml:"lease_time"`
	Discovery     string   `toml:"discovery"`
	IPXE          string   `toml:"ipxe"`
	Stage0        string   `toml:"stage0"`
	Hive          string   `toml:"hive"`
	Nix           string   `toml:"nix"`
	NixArgs       []string `toml:"nix_args"`
	NixosAnywhere string   `toml:"nixos_anywhere"`
	BootAddr      string   `toml:"boot_addr"`
	WebAddr       string   `toml:"web_addr"`
	WebTLS        string   `toml:"web_tls"`
	WebNames      []string `toml:"web_names"`
	RouterAdv     string   `toml:"router_adv"`
	KernelArgs    string   `toml:"kernel_args"`
	SSHKeys       []string `toml:"ssh_keys"`
	CacheKeyFile  string   `toml:"cache_key_file"`
	CachePort     int      `toml:"cache_port"`
	LogFormat     string   `toml:"log_format"`
	LogLevel      string   `toml:"log_level"`

	DHCPRelayed  []relayedSettings     `toml:"dhcp_relayed"`
	Reservations []reservationSettings `toml:"reservations"`
}

func defaultSettings() settings {
	return settings{Data: "/var/lib/hatchery", User: "auto", DHCP: "auto", LeaseTime: "1h", Discovery: "once",
		IPXE: "/usr/lib/ipxe", BootAddr: ":8080", WebAddr: ":8443", WebTLS: "auto", RouterAdv: "auto",
		CachePort: 5000, LogFormat: "text", LogLevel: "info"}
}

// bind declares the flags of `hatchery serve` with s as their defaults.
func (s *settings) bind(f *pflag.FlagSet) {
	f.StringVar(&s.Data, "data", s.Data, "folder that holds all state")
	f.StringVar(&s.User, "user", s.User, "whom the process becomes when root starts it: a user's name, root, or auto (hatchery, where that user and a nix-daemon exist)")
	f.StringSliceVar(&s.Interfaces, "interface", s.Interfaces, "interface to serve; repeatable; none = every one with a private IPv4 address")
	f.StringVar(&s.DHCP, "dhcp", s.DHCP, "auto, proxy, server or off")
	f.BoolVar(&s.DHCPForce, "dhcp-force", s.DHCPForce, "be a DHCP server although another one answers")
	f.StringVar(&s.DHCPRange, "dhcp-range", s.DHCPRange, "addresses to lease, as FIRST-LAST")
	f.StringVar(&s.DHCPRouter, "dhcp-router", s.DHCPRouter, "router to hand out")
	f.StringSliceVar(&s.DHCPDNS, "dhcp-dns", s.DHCPDNS, "DNS servers to hand out")
	f.StringVar(&s.DHCPDomain, "dhcp-domain", s.DHCPDomain, "domain name to hand out")
	f.StringSliceVar(&s.DHCPNTP, "dhcp-ntp", s.DHCPNTP, "time servers to hand out")
	f.StringArrayVar(&s.DHCPRoutes, "dhcp-route", s.DHCPRoutes, "static route to hand out, as \"10.9.0.0/16 via 192.168.1.5\"; repeatable")
	f.StringVar(&s.LeaseTime, "lease-time", s.LeaseTime, "how long a lease lasts")
	f.StringVar(&s.Discovery, "discovery", s.Discovery, "who gets stage-0 unasked: once, always or off")
	f.StringVar(&s.IPXE, "ipxe", s.IPXE, "folder with the iPXE boot files")
	f.StringVar(&s.Stage0, "stage0", s.Stage0, "folder with stage-0 images (default DATA/stage0)")
	f.StringVar(&s.Hive, "hive", s.Hive, "folder or git URL the hive is cloned from (default: the built-in template)")
	f.StringVar(&s.Nix, "nix", s.Nix, "nix command (default: nix from PATH)")
	f.StringSliceVar(&s.NixArgs, "nix-arg", s.NixArgs, "further argument for every nix eval and build; repeatable")
	f.StringVar(&s.NixosAnywhere, "nixos-anywhere", s.NixosAnywhere, "nixos-anywhere command (default: from PATH, else nix run of the pinned flake)")
	f.StringVar(&s.BootAddr, "boot-addr", s.BootAddr, "address of the boot listener (plain HTTP)")
	f.StringVar(&s.WebAddr, "web-addr", s.WebAddr, "address of the page and API")
	f.StringVar(&s.WebTLS, "web-tls", s.WebTLS, "auto (own certificate), off, or CERT,KEY")
	f.StringSliceVar(&s.WebNames, "web-name", s.WebNames, "further host name the page is reached by; repeatable")
	f.StringVar(&s.RouterAdv, "router-adv", s.RouterAdv, "auto: end iPXE's wait for IPv6 where no router advertises; off: never")
	f.StringVar(&s.KernelArgs, "kernel-args", s.KernelArgs, "words added to stage-0's kernel command line")
	f.StringVar(&s.CacheKeyFile, "cache-key-file", s.CacheKeyFile, "file with the public key of this machine's Nix binary cache, which hosts then use")
	f.IntVar(&s.CachePort, "cache-port", s.CachePort, "TCP port of that binary cache")
	f.StringArrayVar(&s.SSHKeys, "ssh-key", s.SSHKeys, "public SSH key of an operator, or a file of them, let in as root on stage-0 and on every host; repeatable")
	f.StringVar(&s.LogFormat, "log-format", s.LogFormat, "text or json")
	f.StringVar(&s.LogLevel, "log-level", s.LogLevel, "debug, info, warn or error")
}

// loadSettings reads the file ("" = none) over the defaults. Unknown keys are errors that name the key and line.
func loadSettings(path string) (settings, error) {
	s := defaultSettings()
	if path == "" {
		return s, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("configuration: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return s, fmt.Errorf("configuration %s has keys that are not known:\n%s", path, strict.String())
		}
		return s, fmt.Errorf("configuration %s: %w", path, err)
	}
	return s, nil
}

// config is settings checked and turned into real types.
type config struct {
	settings
	fixed     []string // keys of setupKeys that the file or a flag sets
	complaint string   // why what was chosen on the page could not be started with, "" = it was not so
	discovery inventory.Discovery
	dhcpRange lease.Range
	router    netip.Addr
	dns       []netip.Addr
	ntp       []netip.Addr
	routes    []dhcp.Route
	relayed   []server.Relayed
	reserved  []lease.Reservation
	leaseTime time.Duration
	bootAddr  netip.AddrPort
	webCert   string
	webKey    string
	sshKeys   []string
}

func (s settings) check() (config, error) {
	c := config{settings: s}
	var err error
	oneOf := func(key, v string, allowed ...string) {
		if !slices.Contains(allowed, v) {
			err = errors.Join(err, fmt.Errorf("%s = %q: want one of %s", key, v, strings.Join(allowed, ", ")))
		}
	}
	oneOf("dhcp", s.DHCP, "auto", "proxy", "server", "off")
	oneOf("discovery", s.Discovery, "once", "always", "off")
	oneOf("router_adv", s.RouterAdv, "auto", "off")
	oneOf("log_format", s.LogFormat, "text", "json")
	oneOf("log_level", s.LogLevel, "debug", "info", "warn", "error")
	c.discovery = inventory.Discovery(s.Discovery)
	if c.Data, err = absolute(s.Data, err); c.Stage0 == "" {
		c.Stage0 = filepath.Join(c.Data, "stage0")
	}
	err = errors.Join(err, c.checkDHCP())
	d, derr := time.ParseDuration(s.LeaseTime)
	if derr != nil || d < 2*time.Second || d > 365*24*time.Hour {
		err = errors.Join(err, fmt.Errorf("lease_time = %q: want a duration from 2s to 8760h", s.LeaseTime))
	}
	c.leaseTime = d
	c.bootAddr, err = listenAddr("boot_addr", s.BootAddr, err)
	_, err = listenAddr("web_addr", s.WebAddr, err)
	if s.WebTLS != "auto" && s.WebTLS != "off" {
		cert, key, ok := strings.Cut(s.WebTLS, ",")
		if !ok {
			err = errors.Join(err, fmt.Errorf("web_tls = %q: want auto, off or CERT,KEY", s.WebTLS))
		}
		c.webCert, c.webKey = cert, key
	}
	if s.CachePort < 1 || s.CachePort > 65535 {
		err = errors.Join(err, fmt.Errorf("cache_port = %d: want 1 to 65535", s.CachePort))
	}
	keys, kerr := sshKeys(s.SSHKeys)
	c.sshKeys, err = keys, errors.Join(err, kerr)
	if kerr := inventory.CheckKernelArgs(s.KernelArgs); kerr != nil {
		err = errors.Join(err, fmt.Errorf("kernel_args: %w", kerr))
	}
	return c, err
}

// sshKeys reads the operators' keys: each entry is a key as in authorized_keys, or the absolute path of a file of them.
func sshKeys(entries []string) (keys []string, err error) {
	for _, e := range entries {
		text := e
		if filepath.IsAbs(e) {
			raw, rerr := os.ReadFile(e)
			if rerr != nil {
				return nil, fmt.Errorf("ssh_keys: %w", rerr)
			}
			text = string(raw)
		}
		for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
			key, comment, _, next, perr := ssh.ParseAuthorizedKey(rest)
			if perr != nil {
				return nil, fmt.Errorf("ssh_keys: %.40q… is neither a public key in authorized_keys form nor the absolute path of a file of them", strings.TrimSpace(string(rest)))
			}
			line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			if word, _, _ := strings.Cut(comment, " "); word != "" { // says whose it is
				line += " " + inventory.Clean(word, 64)
			}
			keys, rest = append(keys, line), next
		}
	}
	if cerr := (&hive.ApplianceFile{SSHKeys: keys}).Check(); cerr != nil {
		return nil, fmt.Errorf("ssh_keys: %w", cerr)
	}
	return keys, err
}

func absolute(path string, err error) (string, error) {
	abs, aerr := filepath.Abs(path)
	return abs, errors.Join(err, aerr)
}

func addr(key, s string, err error) (netip.Addr, error) {
	a, perr := netip.ParseAddr(strings.TrimSpace(s))
	if perr != nil || !a.Is4() {
		return a, errors.Join(err, fmt.Errorf("%s: %q is not an IPv4 address", key, s))
	}
	return a, err
}

// listenAddr reads HOST:PORT where HOST is an address or empty.
func listenAddr(key, s string, err error) (netip.AddrPort, error) {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	a, perr := netip.ParseAddrPort(s)
	if perr != nil {
		return a, errors.Join(err, fmt.Errorf("%s = %q: want :PORT or ADDRESS:PORT", key, s))
	}
	return a, err
}
