package agentapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/tlspin"
	"github.com/staged-hive/hatchery/inventory"
)

// Personal is what a USB image of an appliance carries in its reserved area
// (stage0.PersonalFile): JSON, padded with newlines.
type Personal struct {
	Version int `json:"version"` // 1
	// URLs are where the appliance's web listener may be reached, tried in this order.
	URLs []string `json:"urls"`
	// Fingerprint pins the appliance's TLS certificate, as tlspin.Parse reads it: the agent speaks to no other.
	// It is of the public key ("sha256//…"), so that sticks outlive renewals; a fingerprint in hex works too.
	Fingerprint string `json:"fingerprint"`
	// AuthorizedKeys are the appliance's SSH keys, let in from the start.
	AuthorizedKeys []string `json:"authorized_keys"`
	// Token is exchanged for a nonce of each boot (PathJoin), until Expires.
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Static  *Static   `json:"static,omitempty"`
}

// Static is a fixed address for a LAN without DHCP.
type Static struct {
	// MAC is the interface it is for; zero = the first one with a cable in.
	MAC     inventory.MAC `json:"mac,omitzero"`
	Address netip.Prefix  `json:"address"` // with the length of the network
	Gateway netip.Addr    `json:"gateway,omitzero"`
	DNS     []netip.Addr  `json:"dns,omitempty"`
}

// ErrBlank says that a USB image was written as it was built, without an appliance's words in it.
var ErrBlank = errors.New("this USB image was not personalised: download it from your appliance's page, not from where it was built")

// Check accepts a static address that a machine can use.
func (s *Static) Check() error {
	a := s.Address.Addr()
	switch {
	case !s.Address.IsValid() || !a.IsGlobalUnicast() && !a.IsPrivate():
		return fmt.Errorf("static address %q: want an address with the length of its network, as 192.168.1.50/24: %w", s.Address, inventory.ErrInvalid)
	case s.Address.IsSingleIP() && s.Gateway.IsValid():
		return fmt.Errorf("static address %s: a network of one address reaches no gateway: %w", s.Address, inventory.ErrInvalid)
	case s.Gateway.IsValid() && (!s.Address.Contains(s.Gateway) || s.Gateway == a):
		return fmt.Errorf("gateway %s: not another address of %s: %w", s.Gateway, s.Address.Masked(), inventory.ErrInvalid)
	case len(s.DNS) > 3:
		return fmt.Errorf("%d DNS servers: at most 3: %w", len(s.DNS), inventory.ErrInvalid)
	}
	return nil
}

// ParsePersonal reads the reserved area's text. ErrBlank when nothing was filled in.
func ParsePersonal(text []byte) (Personal, error) {
	var p Personal
	if s := strings.Trim(string(text), "\n\x00 "); s == "" || s == "{}" {
		return p, ErrBlank
	}
	if len(text) > MaxReply {
		return p, fmt.Errorf("personalisation of %d bytes: at most %d", len(text), MaxReply)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("personalisation of the USB image: %w", err)
	}
	if p.Version != 1 || len(p.URLs) == 0 || len(p.URLs) > MaxURLs || p.Token == "" {
		return p, fmt.Errorf("personalisation of the USB image: version %d with %d URLs: want version 1, 1 to %d URLs and a token", p.Version, len(p.URLs), MaxURLs)
	}
	for i, s := range p.URLs {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return p, fmt.Errorf("personalisation of the USB image: URL %q: want https://ADDRESS:PORT", inventory.Clean(s, 100))
		}
		p.URLs[i] = strings.TrimRight(s, "/")
	}
	if _, err := tlspin.Parse(p.Fingerprint); err != nil {
		return p, fmt.Errorf("personalisation of the USB image: fingerprint: %w", err)
	}
	if p.Static != nil {
		if err := p.Static.Check(); err != nil {
			return p, err
		}
	}
	return p, nil
}
