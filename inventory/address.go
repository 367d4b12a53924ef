package inventory

import (
	"fmt"
	"net/netip"
)

// Address is the fixed address of a host's installed system, as a person set it.
type Address struct {
	IP netip.Addr `json:"ip"`
	// Static: the system configures IP with Prefix, Gateway and DNS itself. Otherwise the address is a
	// reservation in the network's DHCP server, whoever runs that, and the rest is left out.
	Static  bool         `json:"static,omitempty"`
	Prefix  int          `json:"prefix,omitempty"` // bits
	Gateway netip.Addr   `json:"gateway,omitzero"`
	DNS     []netip.Addr `json:"dns,omitempty"` // at most 4
}

// Check accepts an address that a host may have; the zero value means none. ErrInvalid.
func (a Address) Check() error {
	if err := a.check(); err != "" {
		return fmt.Errorf("address %s: %s: %w", a.IP, err, ErrInvalid)
	}
	return nil
}

func (a Address) check() string {
	unicast := func(ip netip.Addr) bool {
		return ip.Zone() == "" && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	switch {
	case !a.IP.IsValid():
		if a.Static || a.Prefix != 0 || a.Gateway.IsValid() || len(a.DNS) > 0 {
			return "a prefix, gateway or DNS server needs an address"
		}
		return ""
	case !unicast(a.IP):
		return "no machine can have it"
	case !a.Static && (a.Prefix != 0 || a.Gateway.IsValid() || len(a.DNS) > 0):
		return "DHCP says prefix, gateway and DNS of a reserved address; they belong to a static one"
	case !a.Static:
		return ""
	case a.Prefix < 1 || a.Prefix > a.IP.BitLen():
		return fmt.Sprintf("a static address needs its prefix length, 1 to %d", a.IP.BitLen())
	case a.Gateway.IsValid() && (!unicast(a.Gateway) || a.Gateway == a.IP || !netip.PrefixFrom(a.IP, a.Prefix).Contains(a.Gateway)):
		return fmt.Sprintf("gateway %s is not another address in its network", a.Gateway)
	case len(a.DNS) > 4:
		return "at most 4 DNS servers"
	}
	for _, d := range a.DNS {
		if !d.IsValid() || !unicast(d) {
			return fmt.Sprintf("DNS server %s is not an address", d)
		}
	}
	return ""
}
