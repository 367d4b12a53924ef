package web

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// planID is the plan of machine n as a person sees it, "" when it has none.
func planID(b *box, n byte) (id string) {
	b.t.Helper()
	_ = b.Server.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(mac(n))
		if err != nil {
			return err
		}
		hive, err := tx.Hive()
		p := diskplan.Make(diskplan.Input{Host: h, Role: hive.Roles[h.Role]})
		id = p.ID
		return err
	})
	return id
}

func TestFormatIsHeldAgainstThePlan(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	id := planID(b, 4)
	for _, c := range []struct {
		name, plan, slot, word string
		host                   byte
		code                   int
		says                   string
	}{
		{"another plan", "0123", "data", "D41", 4, 409, "not as they were when plan 0123 was looked at"},
		{"another disk's serial", id, "data", "D40", 4, 409, "Type \\\"D41\\\""},
		{"no word", id, "data", "", 4, 409, "Type \\\"D41\\\""},
		{"the system disk", id, "os", "D40", 4, 409, "formatted by a reinstall, not alone"},
		{"a slot that the role has not", id, "tape", "D41", 4, 409, "has no slot tape"},
		{"a host that is being installed", planID(b, 3), "data", "D31", 3, 409, "while no install is due"},
		{"a host without a role", "p", "data", "D11", 1, 409, "has no role"},
		{"the right disk", id, "data", "D41", 4, 200, `"upkeep":"format"`},
		{"once more", id, "data", "D41", 4, 409, "its format job is open"},
	} {
		a := b.api("POST", "/hosts/"+mac(c.host).String()+"/format", map[string]string{"plan_id": c.plan, "slot": c.slot, "confirm": c.word}, c.code, nil)
		if !strings.Contains(a.body, c.says) {
			t.Errorf("%s: got %s, want %q", c.name, a.body, c.says)
		}
	}
	var h Host
	b.api("GET", "/hosts/"+mac(4).String(), nil, 200, &h)
	if h.State != inventory.StateInstalled || h.Stage0Until.IsZero() {
		t.Errorf("after the order: state %s, stage-0 until %s; want an installed host that gets stage-0 once", h.State, h.Stage0Until)
	}
	h = Host{} // zero times are left out
	b.api("POST", "/hosts/"+mac(4).String()+"/cancel", nil, 200, &h)
	if h.State != inventory.StateInstalled || !h.Stage0Until.IsZero() || h.Upkeep != "" {
		t.Errorf("after the cancel: %+v", h)
	}
}

func TestTheFormatDialogNamesDiskModelSerialSizeAndContents(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	page := b.send("GET", "/hosts/"+mac(4).Hyphens(), nil, nil).body
	at := strings.Index(page, `id="format-0"`)
	if at < 0 {
		t.Fatalf("no dialog:\n%s", page)
	}
	dialog := page[at : at+strings.Index(page[at:], "</dialog>")]
	for _, want := range []string{"slot data", "QEMU HARDDISK", "40 GB", "D41", "what was put there since the last install", `name="plan_id" value="` + planID(b, 4), `name="typed" value="" required`} {
		if !strings.Contains(dialog, want) {
			t.Errorf("the dialog does not say %q:\n%s", want, dialog)
		}
	}
	a := b.send("POST", "/hosts/"+mac(4).Hyphens()+"/format", form("plan_id", planID(b, 4), "slot", "data", "typed", "D40"), nil)
	if a.code != 409 || !strings.Contains(a.body, "Type &#34;D41&#34; to have the disk of slot data formatted.") {
		t.Errorf("another disk's serial: got %d\n%s", a.code, a.body)
	}
	if a = b.send("POST", "/hosts/"+mac(4).Hyphens()+"/format", form("plan_id", planID(b, 4), "slot", "data", "typed", " D41 "), nil); a.code != 303 {
		t.Errorf("the right one: got %d %s", a.code, a.body)
	}
	if page = b.send("GET", "/hosts/"+mac(4).Hyphens(), nil, nil).body; !strings.Contains(page, "Formatting") || strings.Contains(page, `id="format-0"`) {
		t.Error("while it runs the page does not say so, or offers another one")
	}
}

func TestDeployByRole(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	if page := b.send("GET", "/", nil, nil).body; !strings.Contains(page, "2 commits behind the hive") {
		t.Error("the machines page does not say who lags behind")
	}
	if page := b.send("GET", "/roles", nil, nil).body; !strings.Contains(page, "1 of them lags behind the hive.") || strings.Count(page, `action="/roles/deploy"`) != 1 {
		t.Error("the roles page does not offer to deploy the one that lags")
	}
	b.api("POST", "/roles/nosuch/deploy", nil, 422, nil)
	var list list[Host]
	b.api("POST", "/roles/server/deploy", nil, 200, &list)
	if len(list.Items) != 0 {
		t.Errorf("role server has nobody that lags: got %+v", list.Items)
	}
	b.api("POST", "/roles/worker/deploy", nil, 200, &list)
	if len(list.Items) != 1 || list.Items[0].Name != "node1" || list.Items[0].Upkeep != inventory.JobDeploy || list.Items[0].State != inventory.StateInstalled {
		t.Errorf("got %+v, want node1 alone, installed, with a deploy", list.Items)
	}
	b.api("POST", "/hosts/"+mac(4).String()+"/deploy", nil, 409, nil)
	b.api("POST", "/hosts/"+mac(4).String()+"/reinstall", nil, 409, nil)
}

func TestFixedAddresses(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	path := "/hosts/" + mac(4).String()
	var h Host
	b.api("PUT", path, `{"address":{"ip":"10.0.0.5","static":true,"prefix":24,"gateway":"10.0.0.1","dns":["9.9.9.9"]}}`, 200, &h)
	want := &Address{IP: "10.0.0.5", Static: true, Prefix: 24, Gateway: "10.0.0.1", DNS: []string{"9.9.9.9"}}
	if diff := cmp.Diff(want, h.Address); diff != "" {
		t.Errorf("address (-want +got): %s", diff)
	}
	b.api("PUT", path, `{"name":"node1"}`, 200, &h)
	if h.Address == nil {
		t.Error("a change of something else took the address away")
	}
	b.api("PUT", "/hosts/"+mac(1).String(), `{"address":{"ip":"10.0.0.5"}}`, 409, nil)
	b.api("PUT", path, `{"address":{"ip":"ten"}}`, 422, nil)
	b.api("PUT", path, `{"address":{"ip":"10.0.0.5","static":true}}`, 422, nil)
	h = Host{}
	b.api("PUT", path, `{"address":{"ip":""}}`, 200, &h)
	if h.Address != nil {
		t.Errorf("it was not taken away: %+v", h.Address)
	}
	for typed, want := range map[string]inventory.Address{"": {}, "10.0.0.7": {IP: netip.MustParseAddr("10.0.0.7")},
		" 10.0.0.7/24 ": {IP: netip.MustParseAddr("10.0.0.7"), Static: true, Prefix: 24}} {
		got, err := formAddress(form("address", typed))
		if diff := cmp.Diff(&want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("typed %q: %v (-want +got): %s", typed, err, diff)
		}
	}
}
