package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/inventory"
)

// relayedSettings is one [[dhcp_relayed]] of the configuration file: a subnet whose clients come through a relay.
type relayedSettings struct {
	Subnet string   `toml:"subnet"`
	Range  string   `toml:"range"`
	Router string   `toml:"router"`
	DNS    []string `toml:"dns"`
}

// reservationSettings is one [[reservations]] of the configuration file.
type reservationSettings struct {
	MAC      string `toml:"mac"`
	IP       string `toml:"ip"`
	Hostname string `toml:"hostname"`
}

// checkDHCP turns what concerns addresses into real types; each error names its key.
func (c *config) checkDHCP() error {
	var err error
	if c.DHCPRange != "" {
		r, rerr := lease.ParseRange(c.DHCPRange)
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("dhcp_range: %w", rerr))
		}
		c.dhcpRange = r
	}
	if c.DHCP == "server" && c.DHCPRange == "" && len(c.DHCPRelayed) == 0 {
		err = errors.Join(err, errors.New("dhcp = \"server\" needs dhcp_range = \"FIRST-LAST\" (--dhcp-range)"))
	}
	if c.DHCPRouter != "" {
		c.router, err = addr("dhcp_router", c.DHCPRouter, err)
	}
	c.dns, err = addrs("dhcp_dns", c.DHCPDNS, err)
	c.ntp, err = addrs("dhcp_ntp", c.DHCPNTP, err)
	for _, text := range c.DHCPRoutes {
		r, rerr := parseRoute(text)
		err = errors.Join(err, rerr)
		c.routes = append(c.routes, r)
	}
	for _, r := range c.DHCPRelayed {
		seg, rerr := r.check()
		err = errors.Join(err, rerr)
		c.relayed = append(c.relayed, seg)
	}
	for _, r := range c.Reservations {
		res, rerr := r.check()
		if slices.ContainsFunc(c.reserved, func(o lease.Reservation) bool { return o.IP == res.IP || o.HW == res.HW }) {
			rerr = errors.Join(rerr, fmt.Errorf("reservations: %s or %s is there twice", r.MAC, r.IP))
		}
		err = errors.Join(err, rerr)
		c.reserved = append(c.reserved, res)
	}
	return err
}

func addrs(key string, list []string, err error) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		var a netip.Addr
		a, err = addr(key, s, err)
		out = append(out, a)
	}
	return out, err
}

// parseRoute reads "10.9.0.0/16 via 192.168.1.5".
func parseRoute(text string) (dhcp.Route, error) {
	to, via, ok := strings.Cut(text, " via ")
	p, perr := netip.ParsePrefix(strings.TrimSpace(to))
	a, aerr := netip.ParseAddr(strings.TrimSpace(via))
	if !ok || perr != nil || aerr != nil || !p.Addr().Is4() || !a.Is4() || p != p.Masked() || p.Bits() == 0 {
		return dhcp.Route{}, fmt.Errorf("dhcp_routes: %q: want \"NETWORK/BITS via ADDRESS\", as \"10.9.0.0/16 via 192.168.1.5\"; the default route is dhcp_router", text)
	}
	return dhcp.Route{To: p, Via: a}, nil
}

func (r relayedSettings) check() (server.Relayed, error) {
	p, err := netip.ParsePrefix(r.Subnet)
	if err != nil || !p.Addr().Is4() {
		return server.Relayed{}, fmt.Errorf("dhcp_relayed: subnet = %q: want one as 10.20.0.0/24", r.Subnet)
	}
	seg := server.Relayed{Prefix: p.Masked()}
	if seg.Range, err = lease.ParseRange(r.Range); err != nil {
		return seg, fmt.Errorf("dhcp_relayed %s: %w", p, err)
	}
	if _, err = lease.NewPool(lease.Config{Prefix: seg.Prefix, Range: seg.Range}); err != nil {
		return seg, fmt.Errorf("dhcp_relayed: %w", err)
	}
	if r.Router != "" {
		if seg.Router, err = addr("dhcp_relayed: router", r.Router, nil); err == nil && !seg.Prefix.Contains(seg.Router) {
			err = fmt.Errorf("dhcp_relayed: the router %s is not in the subnet %s", seg.Router, seg.Prefix)
		}
	}
	seg.DNS, err = addrs("dhcp_relayed: dns", r.DNS, err)
	return seg, err
}

func (r reservationSettings) check() (lease.Reservation, error) {
	mac, err := inventory.ParseMAC(r.MAC)
	if err != nil {
		return lease.Reservation{}, fmt.Errorf("reservations: %w", err)
	}
	res := lease.Reservation{HW: lease.HW(mac), Name: r.Hostname}
	if res.IP, err = addr("reservations: ip", r.IP, nil); err != nil {
		return res, err
	}
	if err := inventory.CheckName(r.Hostname); err != nil {
		return res, fmt.Errorf("reservations: hostname of %s: %w", r.MAC, err)
	}
	return res, nil
}
