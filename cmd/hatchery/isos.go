package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/dnssd"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/web"
)

// isoURLs are what a USB image tries, at most as many as it has room for.
func (a *appliance) isoURLs() []string {
	urls := a.web.URLs()
	return urls[:min(len(urls), agentapi.MaxURLs)]
}

// announce tells the LAN where the web listener is, for USB images that were made when it was elsewhere.
func (a *appliance) announce(ctx context.Context) error {
	select {
	case <-a.web.Ready():
	case <-ctx.Done():
		return nil
	}
	u, err := url.Parse(a.web.URL())
	if err != nil {
		return fmt.Errorf("address of the pages: %w", err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return fmt.Errorf("port of the pages: %w", err)
	}
	pin := a.web.Pin()
	if pin == "" {
		return nil // no image can be made
	}
	host, _ := os.Hostname()
	return dnssd.Announce(ctx, dnssd.Announcement{Name: inventory.Clean("Hatchery "+host, 50), Pin: pin, Port: uint16(port),
		Interfaces: a.cfg.Interfaces, Log: a.log})
}

// isos makes USB images for the web.
type isos struct{ made *httpboot.ISOs }

func webISO(i httpboot.ISOInfo) web.ISO {
	out := web.ISO{ID: i.ID, Arch: i.Arch, SHA256: i.SHA256, Size: i.Size, CreatedAt: i.Created, CreatedBy: i.By, Expires: i.Expires}
	if i.Static != nil {
		s := web.ISOStatic(*i.Static)
		out.Static = &s
	}
	return out
}

// webError makes the errors of USB images ones that the web knows what to answer to.
func webError(err error) error {
	switch {
	case errors.Is(err, httpboot.ErrNoPin):
		return fmt.Errorf("%w: %w", err, web.ErrNotHere)
	case errors.Is(err, httpboot.ErrISOGone), errors.Is(err, stage0.ErrNoImage):
		return fmt.Errorf("%w: %w", err, inventory.ErrConflict)
	}
	return err
}

// CreateISO implements web.ISOs.
func (m isos) CreateISO(ctx context.Context, r web.ISORequest) (web.ISO, error) {
	ask := httpboot.ISORequest{Arch: r.Arch, Expires: r.Expires, By: r.By, From: r.From}
	if r.Static != nil {
		s := agentapi.Static(*r.Static)
		ask.Static = &s
	}
	i, err := m.made.Create(ctx, ask, time.Now())
	return webISO(i), webError(err)
}

// ISOs implements web.ISOs.
func (m isos) ISOs() ([]web.ISO, error) {
	all, err := m.made.List()
	out := make([]web.ISO, len(all))
	for n, i := range all {
		out[n] = webISO(i)
	}
	return out, err
}

// OpenISO implements web.ISOs.
func (m isos) OpenISO(id string) (web.ISO, io.ReadSeeker, error) {
	i, body, err := m.made.Open(id)
	return webISO(i), body, webError(err)
}

// RevokeISO implements web.ISOs.
func (m isos) RevokeISO(id, by string, from netip.Addr) error {
	return m.made.Revoke(id, by, from, time.Now())
}
