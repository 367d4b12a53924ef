package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hatchery.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverTheFile(t *testing.T) {
	t.Parallel()
	s, err := loadSettings(writeConfig(t, "dhcp = \"proxy\"\nlease_time = \"2h\"\ninterfaces = [\"eth0\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	given := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := defaultSettings()
	flags.bind(given)
	if err := given.Parse([]string{"--dhcp", "off", "--interface", "lan0", "--interface", "lan1"}); err != nil {
		t.Fatal(err)
	}
	if err := overlay(given, &s); err != nil {
		t.Fatal(err)
	}
	cfg, err := s.check()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.DHCP != "off" || cfg.leaseTime != 2*time.Hour || strings.Join(cfg.Interfaces, " ") != "lan0 lan1" {
		t.Errorf("got dhcp %s, lease %s, interfaces %v", cfg.DHCP, cfg.leaseTime, cfg.Interfaces)
	}
}

func TestUnknownKeysAreErrorsThatNameTheKey(t *testing.T) {
	t.Parallel()
	_, err := loadSettings(writeConfig(t, "dchp = \"proxy\"\n"))
	if err == nil || !strings.Contains(err.Error(), "dchp") {
		t.Errorf("got %v, want an error that names dchp", err)
	}
}

func TestBadSettingsNameTheKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, key string
		set       func(*settings)
	}{
		{"an unknown mode", "dhcp", func(s *settings) { s.DHCP = "on" }},
		{"a range backwards", "dhcp_range", func(s *settings) { s.DHCPRange = "10.0.0.9-10.0.0.1" }},
		{"a range of one word", "dhcp_range", func(s *settings) { s.DHCPRange = "10.0.0.9" }},
		{"a server without a range", "dhcp_range", func(s *settings) { s.DHCP = "server" }},
		{"a router that is a name", "dhcp_router", func(s *settings) { s.DHCPRouter = "router" }},
		{"a lease of seconds", "lease_time", func(s *settings) { s.LeaseTime = "10s" }},
		{"an address without port", "boot_addr", func(s *settings) { s.BootAddr = "1.2.3.4" }},
		{"kernel arguments for a shell", "kernel_args", func(s *settings) { s.KernelArgs = "a=$(reboot)" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := defaultSettings()
			tt.set(&s)
			if _, err := s.check(); err == nil || !strings.Contains(err.Error(), tt.key) {
				t.Errorf("got %v, want an error that names %s", err, tt.key)
			}
		})
	}
}
