package web

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// field is the tag of the form field with that id.
func field(t *testing.T, page, id string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<input id="`+id+`"`)
	if !ok {
		t.Fatalf("no field %s", id)
	}
	tag, _, _ := strings.Cut(rest, ">")
	return tag
}

func TestARefusedActKeepsWhatWasTypedAndNamesTheField(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	mini, node1 := "/hosts/"+mac(2).Hyphens(), "/hosts/"+mac(4).Hyphens()
	for _, c := range []struct {
		name, path string
		form       url.Values
		id, value  string
		open       string // the fold that is open again
		code       int
	}{
		{"a wrong serial", mini + "/install", url.Values{"plan_id": {planID(b, 2)}, "confirm-os": {"WRONG"}, "confirm-data": {"S2"}}, "confirm-1", "WRONG", "install", 409},
		{"a wrong name to reinstall", node1 + "/reinstall", url.Values{"plan_id": {planID(b, 4)}, "typed": {"node9"}}, "typed", "node9", "reinstall", 422},
		{"a wrong name to forget", node1 + "/forget", url.Values{"typed": {"x"}}, "forget-typed", "x", "forget", 422},
		{"a wrong serial to format", node1 + "/format", url.Values{"plan_id": {planID(b, 4)}, "slot": {"data"}, "typed": {"D99"}}, "format-0-typed", "D99", "format-0", 409},
		{"a bad host name", mini + "/assign", url.Values{"name": {"Not A Name"}, "role": {"worker"}}, "name", "Not A Name", "", 422},
		{"a bad address", mini + "/assign", url.Values{"name": {"mini"}, "role": {"worker"}, "address": {"10.0.0.300"}}, "address", "10.0.0.300", "more-role", 422},
	} {
		a := b.send("POST", c.path, c.form, nil)
		if a.code != c.code {
			t.Fatalf("%s: got %d, want %d", c.name, a.code, c.code)
		}
		tag := field(t, a.body, c.id)
		if !strings.Contains(tag, `aria-invalid="true"`) || !strings.Contains(tag, `value="`+c.value+`"`) {
			t.Errorf("%s: the field is %s", c.name, tag)
		}
		if !strings.Contains(a.body, `role="alert" tabindex="-1" id="summary"`) {
			t.Errorf("%s: there is no summary to take the focus", c.name)
		}
		if _, fold, _ := strings.Cut(a.body, ` id="`+c.open+`"`); c.open != "" && !strings.Contains(fold[:strings.Index(fold, ">")], " open") {
			t.Errorf("%s: its dialog is closed", c.name)
		}
		if n := strings.Count(a.body, `id="summary"`); n != 1 {
			t.Errorf("%s: %d summaries", c.name, n)
		}
	}
	if p := b.page(node1); strings.Contains(p, "aria-invalid") || strings.Contains(p, "node9") {
		t.Error("the page opened anew still shows what was refused")
	}
}

func TestWithoutScriptAConfirmationIsDrawnOpenAtItsAddress(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.seed(newFakeSite())
	b.signIn()
	for _, c := range []struct{ path, open string }{
		{"/hosts/node1", ""},
		{"/hosts/node1?confirm=reinstall", "reinstall"},
		{"/hosts/node1?confirm=format-0", "format-0"},
		{"/hosts/node1?confirm=forget", "forget"},
		{"/hosts/node1?confirm=install", ""}, // it is installed: there is nothing to confirm
		{"/hosts/node1?confirm=%22%3E", ""},
		{"/hosts/" + mac(2).Hyphens() + "?confirm=install", "install"},
		{"/settings?confirm=restore", "restore"},
		{"/settings?confirm=certificate", "certificate"},
		{"/settings?confirm=own-certificate", ""}, // it is in use: there is nothing to go back to
		{"/settings", ""},
	} {
		var open []string
		page := b.page(c.path)
		if !strings.Contains(page, `<nav aria-label="Pages">`) {
			t.Errorf("%s: the menu is gone", c.path)
		}
		for _, d := range regexp.MustCompile(`<dialog class="ask" id="([^"]*)"[^>]*>`).FindAllStringSubmatch(page, -1) {
			if strings.HasSuffix(d[0], " open>") {
				open = append(open, d[1])
			}
		}
		if got := strings.Join(open, ","); got != c.open {
			t.Errorf("%s: open are %q, want %q", c.path, got, c.open)
		}
	}
}

func TestAConfirmationExpiresWhenTheDisksChangeUnderIt(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	old := planID(b, 4)
	b.put(b.must(mac(4)).ID, func(h *inventory.Host) {
		h.Facts.Disks = append(h.Facts.Disks, inventory.Disk{ID: "ata-NEW_S9", Name: "sdz", Serial: "S9", Model: "NEW", SizeBytes: 17e9, Type: "ssd", Transport: "sata"})
		h.OwnedDisks["ata-NEW_S9"], h.Bound["os"] = inventory.ClassEphemeral, "ata-NEW_S9"
	})
	if planID(b, 4) == old {
		t.Fatal("the plan is the same with another disk: the test shows nothing")
	}
	a := b.send("POST", "/hosts/node1/reinstall", url.Values{"plan_id": {old}, "typed": {"node1"}}, nil)
	if a.code != http.StatusConflict || !strings.Contains(a.body, "changed since this page was drawn, and nothing was done") {
		t.Errorf("got %d", a.code)
	}
	if h := b.must(mac(4)); h.State != inventory.StateInstalled {
		t.Errorf("the host is %s", h.State)
	}
	if a := b.send("POST", "/hosts/node1/reinstall", url.Values{"plan_id": {planID(b, 4)}, "typed": {"node1"}}, nil); a.code != http.StatusSeeOther {
		t.Errorf("the plan of now: got %d %s", a.code, a.body)
	}
}

// must is the host of a MAC.
func (b *box) must(m inventory.MAC) inventory.Host {
	b.t.Helper()
	h, err := b.host(m.String())
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}
