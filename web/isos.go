package web

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// ISOs makes USB images of stage-0 that know this appliance, and hands out their bytes. Safe for concurrent use.
type ISOs interface {
	CreateISO(ctx context.Context, r ISORequest) (ISO, error)
	// ISOs are those that were made and not revoked, newest first.
	ISOs() ([]ISO, error)
	// OpenISO is an image's bytes, the same at every call. The caller closes nothing.
	OpenISO(id string) (ISO, io.ReadSeeker, error)
	// RevokeISO forgets an image: sticks made of it join no more.
	RevokeISO(id, by string, from netip.Addr) error
}

// ISORequest is what a person wants on a USB stick.
type ISORequest struct {
	Arch    string
	Static  *ISOStatic // nil = by DHCP
	Expires time.Time  // of its join token; zero = the default
	By      string
	From    netip.Addr
}

// ISOStatic is a fixed address for a LAN without DHCP.
type ISOStatic struct {
	MAC     inventory.MAC `json:"mac,omitzero"` // of the interface; zero = the first one with a cable in
	Address netip.Prefix  `json:"address"`
	Gateway netip.Addr    `json:"gateway,omitzero"`
	DNS     []netip.Addr  `json:"dns,omitempty"`
}

// ISO is a USB image as programs see it.
type ISO struct {
	ID        string     `json:"id"`
	Arch      string     `json:"arch"`
	URL       string     `json:"url" doc:"where its bytes are; the download needs a token of scope operate"`
	SHA256    string     `json:"sha256" doc:"of the bytes that are downloaded"`
	Size      int64      `json:"size"`
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	Expires   time.Time  `json:"expires" doc:"machines that boot it are let in until then"`
	Expired   bool       `json:"expired"`
	Static    *ISOStatic `json:"static,omitempty"`
}

// FileName is what the download is called.
func (i ISO) FileName() string { return "hatchery-" + i.Arch + "-" + i.ID[:min(8, len(i.ID))] + ".iso" }

// isoURL is where an image's bytes are, below the appliance's own address.
func isoURL(id string) string { return "/api/v1/isos/" + id }

// shown fills in what the web side knows of an image.
func (s *Server) shown(i ISO) ISO {
	i.URL, i.Expired = s.URL()+isoURL(i.ID), !s.cfg.Now().Before(i.Expires)
	return i
}

func (s *Server) isos() ([]ISO, error) {
	if s.cfg.ISOs == nil {
		return nil, nil
	}
	all, err := s.cfg.ISOs.ISOs()
	for n := range all {
		all[n] = s.shown(all[n])
	}
	return all, err
}

var errNoISOs = fmt.Errorf("this appliance makes no USB images: %w", ErrNotHere)

func (s *Server) createISO(ctx context.Context, r ISORequest) (ISO, error) {
	if s.cfg.ISOs == nil {
		return ISO{}, errNoISOs
	}
	r.By, r.From = caller(ctx).By, caller(ctx).From
	i, err := s.cfg.ISOs.CreateISO(ctx, r)
	if err != nil {
		return ISO{}, err
	}
	return s.shown(i), nil
}

func (s *Server) revokeISO(ctx context.Context, id string) error {
	if s.cfg.ISOs == nil {
		return errNoISOs
	}
	return s.cfg.ISOs.RevokeISO(id, caller(ctx).By, caller(ctx).From)
}

// staticText is a fixed address as a person types it; all empty means by DHCP.
type staticText struct{ Address, Gateway, DNS, MAC string }

// parse reads the text; nil when nothing was typed. Whether the gateway is reachable is for others to judge.
func (t staticText) parse() (*ISOStatic, error) {
	if strings.TrimSpace(t.Address+t.Gateway+t.DNS+t.MAC) == "" {
		return nil, nil
	}
	s, err := &ISOStatic{}, error(nil)
	if s.Address, err = netip.ParsePrefix(strings.TrimSpace(t.Address)); err != nil {
		return nil, fmt.Errorf("address %q: want one with the length of its network, as 192.168.1.50/24: %w", clip(t.Address, 60), inventory.ErrInvalid)
	}
	if g := strings.TrimSpace(t.Gateway); g != "" {
		if s.Gateway, err = netip.ParseAddr(g); err != nil {
			return nil, fmt.Errorf("gateway %q: want one address, as 192.168.1.1: %w", clip(g, 60), inventory.ErrInvalid)
		}
	}
	for _, d := range strings.FieldsFunc(t.DNS, func(r rune) bool { return r == ',' || r == ' ' }) {
		a, err := netip.ParseAddr(d)
		if err != nil {
			return nil, fmt.Errorf("DNS server %q: want addresses with commas between them: %w", clip(d, 60), inventory.ErrInvalid)
		}
		s.DNS = append(s.DNS, a)
	}
	if strings.TrimSpace(t.MAC) != "" {
		if s.MAC, err = parseMAC(t.MAC); err != nil {
			return nil, err
		}
	}
	return s, nil
}
