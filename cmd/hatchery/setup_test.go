package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/web"
)

// loaded is what serve would run with.
func loaded(t *testing.T, file string, args ...string) (config, error) {
	t.Helper()
	given := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := defaultSettings()
	flags.bind(given)
	if err := given.Parse(args); err != nil {
		t.Fatal(err)
	}
	return serveConfig(given, file)
}

func TestChoicesOfThePageComeBeforeFileAndFlags(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	put(t, data, map[string]string{setupName: "dhcp = \"server\"\ninterfaces = [\"lan9\"]\ndhcp_range = \"10.0.0.10-10.0.0.20\"\ndhcp_dns = [\"10.0.0.1\"]\n"})
	for _, c := range []struct {
		name, file string
		args       []string
		mode, rng  string
		fixed      []string
	}{
		{"nothing else says", "", nil, "server", "10.0.0.10-10.0.0.20", nil},
		{"the file says the mode", "dhcp = \"proxy\"\n", nil, "proxy", "10.0.0.10-10.0.0.20", []string{"dhcp"}},
		{"a flag says the range", "", []string{"--dhcp-range", "10.0.0.30-10.0.0.40"}, "server", "10.0.0.30-10.0.0.40", []string{"dhcp_range"}},
		{"both", "dhcp_range = \"10.0.0.50-10.0.0.60\"\n", []string{"--dhcp", "auto"}, "auto", "10.0.0.50-10.0.0.60", []string{"dhcp", "dhcp_range"}},
	} {
		file := ""
		if c.file != "" {
			file = writeConfig(t, c.file)
		}
		cfg, err := loaded(t, file, append(c.args, "--data", data)...)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if cfg.DHCP != c.mode || cfg.DHCPRange != c.rng || !slices.Equal(cfg.fixed, c.fixed) || !slices.Equal(cfg.Interfaces, []string{"lan9"}) {
			t.Errorf("%s: got mode %s, range %s, interfaces %v, fixed %v", c.name, cfg.DHCP, cfg.DHCPRange, cfg.Interfaces, cfg.fixed)
		}
	}
	put(t, data, map[string]string{setupName: "not = [toml"})
	if _, err := loaded(t, "", "--data", data); err == nil || !strings.Contains(err.Error(), "remove the file to go on") {
		t.Errorf("a broken file: %v", err)
	}
}

func TestChoicesThatCannotBeStartedGiveWayToTheLastGoodOnes(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	read := func(name string) string { raw, _ := os.ReadFile(filepath.Join(data, name)); return string(raw) }
	if rejectChoices(data) {
		t.Error("there is nothing to reject")
	}
	put(t, data, map[string]string{setupName: "dhcp = \"server\"\n"})
	if !rejectChoices(data) || read(setupName) != "" || read(rejectedName) == "" {
		t.Error("a first choice that does not work must go")
	}
	put(t, data, map[string]string{setupName: "dhcp = \"proxy\"\n"})
	if err := proveChoices(data); err != nil {
		t.Fatal(err)
	}
	if rejectChoices(data) {
		t.Error("what worked before is not to blame for a failure now")
	}
	put(t, data, map[string]string{setupName: "dhcp = \"server\"\n"})
	// At no moment is there none: a power cut leaves the bad choice, which is rejected again, or the good one.
	steps := renamed(t, data, func() {
		if !rejectChoices(data) || read(setupName) != "dhcp = \"proxy\"\n" {
			t.Errorf("want the last good choice back, got %q", read(setupName))
		}
	})
	if diff := cmp.Diff([]string{"+" + rejectedName, "+" + setupName}, steps); diff != "" || read(rejectedName) != "dhcp = \"server\"\n" {
		t.Errorf("the bad choice is kept first, then the good one takes its place (-want +got):\n%s", diff)
	}
	// What cannot be kept is not thrown away.
	if err := errors.Join(os.Remove(filepath.Join(data, rejectedName)), os.MkdirAll(filepath.Join(data, rejectedName, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	put(t, data, map[string]string{setupName: "dhcp = \"off\"\n"})
	if rejectChoices(data) || read(setupName) != "dhcp = \"off\"\n" {
		t.Errorf("the choice is gone although it could not be kept: %q", read(setupName))
	}
}

func TestTheProposedModeFollowsFromWhatWasHeard(t *testing.T) {
	t.Parallel()
	eth := []server.Interface{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}}}
	router := server.Other{IP: netip.MustParseAddr("192.168.1.1"), Iface: "eth0"}
	for _, c := range []struct {
		name      string
		st        server.Status
		mode, rng string
		says      string
	}{
		{"a router answers", server.Status{Role: "proxy", Interfaces: eth, Servers: []server.Other{router}}, "proxy", "192.168.1.100-192.168.1.199", "192.168.1.1 answered on eth0"},
		{"another ProxyDHCP is no DHCP server", server.Status{Role: "proxy", NoServer: true, Interfaces: eth, Servers: []server.Other{{IP: router.IP, Proxy: true}}}, "server", "192.168.1.100-192.168.1.199", "No other DHCP server"},
		{"nobody answers", server.Status{Role: "proxy", NoServer: true, Interfaces: eth}, "server", "192.168.1.100-192.168.1.199", "machines here get no address yet"},
		{"it is the server", server.Status{Role: "server", Interfaces: eth}, "server", "192.168.1.100-192.168.1.199", "hands out the addresses here"},
		{"nothing was heard yet", server.Status{Role: "probing", Interfaces: eth}, "auto", "192.168.1.100-192.168.1.199", "in a minute"},
		{"a small network", server.Status{Role: "proxy", NoServer: true, Interfaces: []server.Interface{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.66/27")}}}}, "server", "10.1.2.80-10.1.2.94", ""},
		{"a large network", server.Status{Role: "proxy", NoServer: true, Interfaces: []server.Interface{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.66/16")}}}}, "server", "10.1.2.100-10.1.2.199", ""},
		{"no network", server.Status{Role: "off"}, "auto", "", "DHCP is off"},
	} {
		got, why := propose(c.st, nil)
		if got.Mode != c.mode || got.Range != c.rng || !strings.Contains(why, c.says) {
			t.Errorf("%s: got %s %s: %s", c.name, got.Mode, got.Range, why)
		}
	}
}

const (
	annsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDpnEDK/k+JHiSBdoHO4tq6hB9D01kXqqMZdcP0b7QUO ann@laptop"
	bobsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDkM+noBRHAllkH+i1qfM+5VvAg/5yHGvXF562g7Qj6 bob@desk"
)

func TestPeoplesKeysAreAddedAndRemovedWhileItRuns(t *testing.T) {
	t.Parallel()
	told := 0
	o := &operators{store: openData(t, t.TempDir()), fixed: []string{annsKey}}
	o.changed = func(context.Context) error { told++; return nil }
	names := func() (out []string) {
		for _, line := range o.authorized() {
			out = append(out, strings.Fields(line)[2])
		}
		return out
	}
	for _, bad := range []string{"", "  \n", "nonsense", "/etc/passwd", "ssh-ed25519 AAAA x", "-----BEGIN OPENSSH PRIVATE KEY-----\nx"} {
		if _, err := o.AddKeys(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	added, err := o.AddKeys(t.Context(), annsKey+"\n"+bobsKey+"\n"+bobsKey+"\n")
	if err != nil || len(added) != 1 || added[0].Comment != "bob@desk" || told != 1 {
		t.Fatalf("got %+v, %v, told %d times", added, err, told)
	}
	if diff := cmp.Diff([]string{"ann@laptop", "bob@desk"}, names()); diff != "" {
		t.Errorf("let in (-want +got): %s", diff)
	}
	if again, err := o.AddKeys(t.Context(), bobsKey); err != nil || len(again) != 0 {
		t.Errorf("a known key: %v, %v", again, err)
	}
	if _, err := o.RemoveKey(t.Context(), keyOf(annsKey, true).ID); err == nil || !strings.Contains(err.Error(), "configuration file") {
		t.Errorf("a key of the file: %v", err)
	}
	if _, err := o.RemoveKey(t.Context(), "nobody"); err == nil {
		t.Error("a key that is not there was removed")
	}
	if _, err := o.RemoveKey(t.Context(), added[0].ID); err != nil || told != 2 {
		t.Errorf("%v, told %d times", err, told)
	}
	if diff := cmp.Diff([]string{"ann@laptop"}, names()); diff != "" {
		t.Errorf("let in (-want +got): %s", diff)
	}
}

var _ web.Setup = setup{}
