package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func TestTheHivesSummaryIsOnTheRolesPage(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	b.signIn()
	if p := b.page("/roles"); !strings.Contains(p, "Evaluate it now") || strings.Contains(p, "begins cluster") {
		t.Error("before anybody asked, the page says so and does not evaluate")
	}
	p := b.page("/roles?summary=1")
	for _, want := range []string{`<a href="/hosts/node1">node1</a>`, "192.168.1.20", "set by the machine itself", "data: persistent on", "ata-QEMU_HARDDISK_D41",
		"begins cluster home", "agent in cluster home at https://192.168.1.20:6443", "by DHCP", "4b825dc642cb"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if p := b.page("/roles"); !strings.Contains(p, "begins cluster home") {
		t.Error("what was evaluated is gone on the next look")
	}
	const changed = "the hive has changed since"
	if p := b.page("/roles"); strings.Contains(p, changed) {
		t.Error("a summary that is newer than the roles is called old")
	}
	b.update(func(tx *inventory.Tx) error {
		h, err := tx.Hive()
		if err != nil {
			return err
		}
		h.Revision, h.ReadAt = "ffff", time.Now().Add(time.Minute)
		return tx.PutHive(h)
	})
	if p := b.page("/roles"); !strings.Contains(p, changed) {
		t.Error("roles of a newer revision: the page does not say so")
	}
	var got Fleet
	if b.api("GET", "/roles/summary", nil, 200, &got); len(got.Hosts) != 2 || got.Hosts[0].K3s == nil || got.Error != "" {
		t.Errorf("the API says %+v", got)
	}
	site.mu.Lock()
	site.fleet = Fleet{Revision: "r2", Error: "Reading the configuration summary of the hive: attribute 'x' missing. Correct the hive's code.", Trace: "at hosts/<b>:1"}
	site.mu.Unlock()
	p = b.page("/roles?summary=1")
	for _, want := range []string{"The summary could not be evaluated.", "attribute &#39;x&#39; missing", "at hosts/&lt;b&gt;:1", "Evaluate it again"} {
		if !strings.Contains(p, want) {
			t.Errorf("a hive with a fault: the page does not say %q", want)
		}
	}
	none := start(t, nil)
	none.api("GET", "/roles/summary", nil, http.StatusNotImplemented, nil)
	none.signIn()
	if p := none.page("/roles?summary=1"); strings.Contains(p, "Configuration summary") {
		t.Error("without a hive there is a summary")
	}
}
