package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/web"
)

// setupName is the file of the data folder that holds what was chosen on the page; the configuration file and flags win over it.
const setupName = "setup.toml"

const (
	// provenName is a copy of the choices that the appliance has started with, rejectedName those that it could not.
	provenName   = "setup.proven.toml"
	rejectedName = "setup.rejected.toml"
)

// proveChoices keeps the choices of the page as ones that work.
func proveChoices(data string) error {
	raw, err := os.ReadFile(filepath.Join(data, setupName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(data, provenName), raw, 0o600)
}

// rejectChoices puts the last choices that worked, or none, in the place of the present ones, which it keeps beside them; false
// when those are the present ones, or when it cannot. A power cut leaves the old choices or the new, never none in their place.
func rejectChoices(data string) bool {
	path := filepath.Join(data, setupName)
	now, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	good, err := os.ReadFile(filepath.Join(data, provenName))
	never := errors.Is(err, fs.ErrNotExist)
	if err != nil && !never || !never && bytes.Equal(now, good) {
		return false
	}
	if err := durable.WriteFile(filepath.Join(data, rejectedName), now, 0o600); err != nil {
		return false
	}
	if never {
		err = os.Remove(path)
	} else {
		err = durable.WriteFile(path, good, 0o600)
	}
	return err == nil && durable.SyncDir(data) == nil
}

// setupKeys are the keys that may be chosen on the page, with their flags.
var setupKeys = map[string]string{"dhcp": "dhcp", "interfaces": "interface", "dhcp_range": "dhcp-range", "dhcp_router": "dhcp-router", "dhcp_dns": "dhcp-dns"}

// choices mirrors DATA/setup.toml.
type choices struct {
	DHCP       string   `toml:"dhcp"`
	Interfaces []string `toml:"interfaces,omitempty"`
	DHCPRange  string   `toml:"dhcp_range,omitempty"`
	DHCPRouter string   `toml:"dhcp_router,omitempty"`
	DHCPDNS    []string `toml:"dhcp_dns,omitempty"`
}

// readChoices reads what was chosen on the page; false when nothing was.
func readChoices(data string) (c choices, there bool, err error) {
	path := filepath.Join(data, setupName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err == nil {
		err = toml.Unmarshal(raw, &c)
	}
	if err != nil {
		return c, false, fmt.Errorf("what was chosen on the page, %s: %w; remove the file to go on without it", path, err)
	}
	return c, true, nil
}

// fixedKeys are the keys of setupKeys that the configuration file or a flag sets, sorted.
func fixedKeys(given *pflag.FlagSet, file string) (fixed []string, err error) {
	inFile := map[string]any{}
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := toml.Unmarshal(raw, &inFile); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", file, err)
		}
	}
	for key, flag := range setupKeys {
		if _, set := inFile[key]; set || given.Changed(flag) {
			fixed = append(fixed, key)
		}
	}
	slices.Sort(fixed)
	return fixed, nil
}

// chosen sets in s what was chosen on the page and nobody fixed.
func chosen(s *settings, fixed []string) error {
	c, there, err := readChoices(s.Data)
	if err != nil || !there {
		return err
	}
	s.choose(c, fixed)
	return nil
}

func (s *settings) choose(c choices, fixed []string) {
	free := func(key string) bool { return !slices.Contains(fixed, key) }
	if free("dhcp") && c.DHCP != "" {
		s.DHCP = c.DHCP
	}
	if free("interfaces") {
		s.Interfaces = c.Interfaces
	}
	if free("dhcp_range") {
		s.DHCPRange = c.DHCPRange
	}
	if free("dhcp_router") {
		s.DHCPRouter = c.DHCPRouter
	}
	if free("dhcp_dns") {
		s.DHCPDNS = c.DHCPDNS
	}
}

// setup is what people set on the page.
type setup struct{ a *appliance }

func choiceOf(s *settings) web.DHCPChoice {
	return web.DHCPChoice{Mode: s.DHCP, Interfaces: slices.Clone(s.Interfaces), Range: s.DHCPRange, Router: s.DHCPRouter, DNS: slices.Clone(s.DHCPDNS)}
}

// Setup implements web.Setup.
func (p setup) Setup() web.SetupStatus {
	now := p.a.cfg.settings
	st := web.SetupStatus{Now: choiceOf(&now), Fixed: append([]string{}, p.a.cfg.fixed...), Interfaces: servable()}
	next := now
	if c, there, err := readChoices(now.Data); err == nil && there {
		next.choose(c, p.a.cfg.fixed)
	}
	st.Next = choiceOf(&next)
	st.Pending = !same(st.Now, st.Next)
	st.Proposed, st.Why = propose(p.a.dhcp.Status(), st.Interfaces)
	return st
}

// same compares two choices; no list and an empty one are the same.
func same(a, b web.DHCPChoice) bool {
	return a.Mode == b.Mode && a.Range == b.Range && a.Router == b.Router && slices.Equal(a.Interfaces, b.Interfaces) && slices.Equal(a.DNS, b.DNS)
}

// SetDHCP implements web.Setup.
func (p setup) SetDHCP(w web.DHCPChoice) error {
	c := choices{DHCP: w.Mode, Interfaces: w.Interfaces, DHCPRange: w.Range, DHCPRouter: w.Router, DHCPDNS: w.DNS}
	for _, name := range c.Interfaces {
		if !slices.ContainsFunc(servable(), func(i web.NetInterface) bool { return i.Name == name }) {
			return fmt.Errorf("this box has no interface %q with an IPv4 address: %w", inventory.Clean(name, 40), inventory.ErrInvalid)
		}
	}
	next := p.a.cfg.settings
	next.choose(c, p.a.cfg.fixed)
	if got, want := choiceOf(&next), w; !same(got, want) && len(p.a.cfg.fixed) > 0 {
		// A form sends no fields that are fixed; what it could not say is left as the file says it.
		c = choices{DHCP: got.Mode, Interfaces: got.Interfaces, DHCPRange: got.Range, DHCPRouter: got.Router, DHCPDNS: got.DNS}
	}
	if _, err := next.check(); err != nil {
		return fmt.Errorf("%s: %w", plainKeys(err.Error()), inventory.ErrInvalid)
	}
	if err := inRange(next); err != nil {
		return err
	}
	raw, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	text := "# Chosen on the page. What the configuration file or a flag of hatchery serve sets wins over this.\n" + string(raw)
	return durable.WriteFile(filepath.Join(p.a.cfg.Data, setupName), []byte(text), 0o600)
}

// inRange refuses a range that no served interface is in: nobody would get an address of it.
func inRange(s settings) error {
	cfg, err := s.check()
	if err != nil || !cfg.dhcpRange.First.IsValid() {
		return nil //nolint:nilerr // checked by the caller
	}
	var nets []string
	for _, i := range servable() {
		if len(s.Interfaces) > 0 && !slices.Contains(s.Interfaces, i.Name) {
			continue
		}
		for _, p := range i.Addrs {
			if p.Contains(cfg.dhcpRange.First) && p.Contains(cfg.dhcpRange.Last) {
				return nil
			}
			nets = append(nets, p.Masked().String()+" on "+i.Name)
		}
	}
	return fmt.Errorf("the addresses %s are in no network of this box (%s): %w", s.DHCPRange, strings.Join(nets, ", "), inventory.ErrInvalid)
}

// plainKeys says the page's words for the file's keys.
func plainKeys(text string) string {
	return strings.NewReplacer(`dhcp = "server" needs dhcp_range = "FIRST-LAST" (--dhcp-range)`, "a DHCP server needs the first and last address to hand out",
		"dhcp_range: ", "addresses to hand out: ", "dhcp_router: ", "router: ", "dhcp_dns: ", "DNS servers: ").Replace(text)
}

// Restart implements web.Setup.
func (p setup) Restart() error { return p.a.restartAfter(func() error { return nil }) }

// restartAfter ends this run of the appliance, does what is to be done without it, and begins another. ErrConflict when one is under way.
func (a *appliance) restartAfter(do func() error) error {
	select {
	case a.restart <- do:
		return nil
	default:
		return fmt.Errorf("a restart is under way already: %w", inventory.ErrConflict)
	}
}

// servable are the interfaces that machines may be behind: up, no loopback, with an IPv4 address.
func servable() []web.NetInterface {
	out := []web.NetInterface{}
	all, err := net.Interfaces()
	if err != nil {
		return out
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || len(i.HardwareAddr) != 6 {
			continue
		}
		w := web.NetInterface{Name: i.Name, MAC: inventory.MAC(i.HardwareAddr)}
		addrs, err := i.Addrs()
		for _, a := range addrs {
			if p, perr := netip.ParsePrefix(a.String()); perr == nil && p.Addr().Is4() {
				w.Addrs = append(w.Addrs, p)
			}
		}
		if err == nil && len(w.Addrs) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// propose says what DHCP mode fits what was heard on the wire, with the reason in a sentence or two.
func propose(st server.Status, all []web.NetInterface) (web.DHCPChoice, string) {
	c := web.DHCPChoice{Mode: "proxy", Range: freeRange(st, all)}
	for _, o := range st.Servers {
		if o.Proxy {
			continue
		}
		return c, fmt.Sprintf("The DHCP server %s answered on %s, so your network hands out addresses already. Hatchery fits in beside it.", o.IP, o.Iface)
	}
	if st.NoServer {
		c.Mode = "server"
		return c, "No other DHCP server answered although Hatchery asked, so machines here get no address yet. Hatchery can hand them out."
	}
	if st.Role == "server" {
		c.Mode = "server"
		return c, "Hatchery hands out the addresses here, and no other DHCP server was heard."
	}
	if st.Role == "off" {
		c.Mode = "auto"
		return c, "DHCP is off here, so nothing was listened for."
	}
	c.Mode = "auto"
	return c, "Nothing was heard yet: Hatchery asks the network for other DHCP servers in its first seconds. Open this page again in a minute to see what answered."
}

// freeRange proposes addresses of the first served network: .100 to .199 of a /24 or larger, the upper half of a smaller one.
func freeRange(st server.Status, all []web.NetInterface) string {
	var p netip.Prefix
	for _, i := range st.Interfaces {
		for _, a := range i.Addrs {
			if a.Addr().Is4() && !p.IsValid() {
				p = a
			}
		}
	}
	for _, i := range all {
		if len(i.Addrs) > 0 && !p.IsValid() {
			p = i.Addrs[0]
		}
	}
	if !p.IsValid() || p.Bits() > 28 || p.Bits() < 8 {
		return ""
	}
	b := p.Masked().Addr().As4()
	first, last := byte(100), byte(199)
	if p.Bits() > 24 {
		size := byte(1 << (32 - p.Bits()))
		first, last = b[3]+size/2, b[3]+size-2
	} else {
		own := p.Addr().As4()
		b[1], b[2] = own[1], own[2]
	}
	at := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{b[0], b[1], b[2], n}) }
	return at(first).String() + "-" + at(last).String()
}
