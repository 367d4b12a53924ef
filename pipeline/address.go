package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// address is the fixed address of a host's installed system: what a person set, else what this appliance's own
// DHCP server has reserved for it. nil = none.
func (r *Runner) address(h *inventory.Host) *hive.Address {
	if a := h.Address; a != nil {
		return &hive.Address{IP: a.IP, Static: a.Static, Prefix: a.Prefix, Gateway: a.Gateway, DNS: slices.Clone(a.DNS)}
	}
	if r.cfg.Reserved == nil {
		return nil
	}
	for _, m := range h.MACs {
		if ip, ok := r.cfg.Reserved(m); ok {
			return &hive.Address{IP: ip}
		}
	}
	return nil
}

// fixedIP is where other hosts find the host: its fixed address, else the last one it was heard at.
func (r *Runner) fixedIP(h *inventory.Host) netip.Addr {
	if a := r.address(h); a != nil {
		return a.IP
	}
	return h.IP
}

// needsAddress is the sentence that a k3s server waits with until it has a fixed address, "" = it has one or needs none:
// the other nodes of its cluster know it by nothing else.
func (r *Runner) needsAddress(h *inventory.Host, role inventory.Role) string {
	if role.K3s == nil || role.K3s.Role != "server" || r.address(h) != nil {
		return ""
	}
	return fmt.Sprintf("Waits for a fixed address: %s is to be a server of cluster %s, whose nodes know it by its address. Reserve one for it, or give it a static one.",
		h.Label(), role.K3s.Cluster)
}

// dialSystem connects to the host's installed system, known by its planted key: at its fixed address, or where it was
// heard last. errWrongKey, errNoEntry, errSilent: of any of the addresses.
func (r *Runner) dialSystem(ctx context.Context, h *inventory.Host) (*conn, error) {
	if h.InstalledKey == "" {
		return nil, fmt.Errorf("host %s was never installed: %w", h.Label(), errSilent)
	}
	ips := []netip.Addr{r.fixedIP(h)}
	if h.IP.IsValid() && h.IP != ips[0] {
		ips = append(ips, h.IP)
	}
	var all error
	for _, ip := range ips {
		c, err := r.ssh.dial(ctx, ip, h.InstalledKey)
		if err == nil {
			return c, nil
		}
		all = errors.Join(all, err)
	}
	return nil, all
}
