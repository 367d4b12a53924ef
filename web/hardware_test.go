package web

import (
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

func TestHardwareReport(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, func(c *Config) { c.Hive = site })
	b.hive()
	h := b.assignNamed(b.checkIn(1, facts()), "node1")
	if a := b.api("GET", "/hosts/node1/hardware", nil, 404, nil); !strings.Contains(a.body, "No nixos-facter report of node1 yet") {
		t.Errorf("before an install: %s", a.body)
	}
	b.signIn()
	if strings.Contains(b.page("/hosts/"+string(h.ID)), "/hardware") {
		t.Error("the page of a machine without a report links to it")
	}
	b.put(h.ID, func(h *inventory.Host) { h.Name, h.State, h.EverFlipped = "web-1", inventory.StateInstalled, true })
	if a := b.api("GET", "/hosts/web-1/hardware", nil, 200, nil); !strings.Contains(a.body, `"version":1`) || !strings.Contains(a.header.Get("Content-Type"), "json") {
		t.Errorf("got %s %v", a.body, a.header)
	}
	if !strings.Contains(b.page("/hosts/"+string(h.ID)), `href="/api/v1/hosts/`+string(h.ID)+`/hardware"`) {
		t.Error("the page of an installed machine has no link to its report")
	}
	b.api("GET", "/hosts/nobody/hardware", nil, 404, nil)
	start(t, func(c *Config) { c.Hive = nil }).api("GET", "/hosts/nobody/hardware", nil, 404, nil)
}
