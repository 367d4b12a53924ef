package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// says is how an entry is told apart in these tests.
func says(items []inventory.Entry) (out []string) {
	for _, e := range items {
		text, _, _ := strings.Cut(e.Text, ".")
		out = append(out, text)
	}
	return out
}

func TestActivityIsFilteredByMachinePersonAndKind(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	b.checkIn(1, facts())
	other := facts()
	other.UUID, other.Serial = "", "SN-2"
	b.checkIn(2, other)
	b.api(http.MethodPut, "/hosts/"+mac(1).String(), map[string]string{"name": "node1"}, 200, nil)
	b.api(http.MethodPut, "/hosts/"+mac(2).String(), map[string]string{"name": "node2"}, 200, nil)
	b.api(http.MethodPut, "/reservations/"+mac(1).String(), map[string]string{"ip": "192.168.1.20"}, 200, nil)
	ci := b.makeToken("ci", ScopeOperate, nil)
	b.send("POST", "/api/v1/hosts/node1/wake", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+ci.Secret) })
	b.update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: time.Now(), Kind: "dhcp.rival", Level: "warn", Text: "Another DHCP server appeared."})
	})
	for _, c := range []struct {
		name string
		q    url.Values
		want []string
	}{
		{"one machine", url.Values{"host": {"node1"}}, []string{"node1: A wake-up packet was sent for token ci", `node1: Named "node1"`}},
		{"one machine, by its MAC", url.Values{"host": {mac(2).String()}}, []string{`node2: Named "node2"`}},
		{"one person", url.Values{"by": {"TOKEN ci"}}, []string{"node1: A wake-up packet was sent for token ci"}},
		{"access", url.Values{"kind": {"access"}}, []string{`API token "ci" of scope operate was made, without an end`}},
		{"network", url.Values{"kind": {"network"}}, []string{"Another DHCP server appeared", "Address 192"}},
		{"trouble", url.Values{"kind": {"trouble"}}, []string{"Another DHCP server appeared"}},
		{"machines by somebody", url.Values{"kind": {"machine"}, "by": {"admin"}}, []string{`node2: Named "node2"`, `node1: Named "node1"`}},
		{"nobody", url.Values{"host": {"nobody"}}, nil},
	} {
		var l struct{ Items []inventory.Entry }
		b.api(http.MethodGet, "/activity?"+c.q.Encode(), nil, 200, &l)
		if diff := cmp.Diff(c.want, says(l.Items)); diff != "" {
			t.Errorf("%s (-want +got): %s", c.name, diff)
		}
	}
	b.api(http.MethodGet, "/activity?kind=nonsense", nil, 422, nil)
	b.api(http.MethodDelete, "/hosts/node2", nil, 204, nil)
	var l struct{ Items []inventory.Entry }
	if b.api(http.MethodGet, "/activity?host=node2", nil, 200, &l); len(l.Items) != 2 {
		t.Errorf("of a forgotten machine: got %v", says(l.Items))
	}
}

func TestActivityPageIsPagedAndKeepsItsFilter(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	h := b.checkIn(1, facts())
	b.update(func(tx *inventory.Tx) error {
		for i := range activityEntries + 7 {
			if err := tx.Note(inventory.Entry{Time: time.Now(), Kind: "admin", By: "admin", About: h.ID, Text: fmt.Sprintf("x: entry %d.", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	for range activityJobs + 2 {
		h = b.assignRole(h, "node1", "worker")
		b.update(func(tx *inventory.Tx) (err error) { h, err = inventory.Cancel(tx, h.ID, time.Now()); return err })
	}
	b.signIn()
	p := b.page("/activity?kind=machine&by=admin")
	if n := strings.Count(p, "x: entry"); n != activityEntries {
		t.Errorf("got %d entries on a page, want %d", n, activityEntries)
	}
	older := regexpHref(t, p, "Older entries")
	if !strings.Contains(older, "kind=machine") || !strings.Contains(older, "by=admin") {
		t.Errorf("the filter is lost in %s", older)
	}
	if next := b.page(older); strings.Count(next, "x: entry") != 7 || strings.Contains(next, "Older entries") {
		t.Errorf("the second page has %d entries", strings.Count(next, "x: entry"))
	}
	if next := b.page(regexpHref(t, p, "Older jobs")); strings.Count(next, `data-label="Job"`) != 2 || strings.Contains(next, "Older jobs") {
		t.Errorf("the second page has %d jobs", strings.Count(next, `data-label="Job"`))
	}
	if p := b.page("/activity?host=nobody"); !strings.Contains(p, "No job fits") || !strings.Contains(p, "Nothing fits") {
		t.Error("a filter that nothing fits does not say so")
	}
}

// regexpHref is the address behind a link's words.
func regexpHref(t *testing.T, page, words string) string {
	t.Helper()
	before, _, ok := strings.Cut(page, `">`+words+`</a>`)
	if !ok {
		t.Fatalf("no link %q", words)
	}
	return strings.ReplaceAll(before[strings.LastIndex(before, `"`)+1:], "&amp;", "&")
}

func TestEveryPageEndsWithTheLastTasks(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	for _, path := range []string{"/", "/roles", "/media", "/network", "/activity", "/settings", "/hosts/node3"} {
		p := b.page(path)
		_, tasks, _ := strings.Cut(p, `id="tasks"`)
		for _, want := range []string{"Install of node3", "step 6 of 11", "Install of node2", "The system could not be built"} {
			if !strings.Contains(tasks, want) {
				t.Errorf("%s: the strip does not say %q", path, want)
			}
		}
		if !strings.Contains(p, `data-live="/live?`) {
			t.Errorf("%s has no stream, so the pill says nothing", path)
		}
	}
	if p := b.send("GET", "/login", nil, func(r *http.Request) { r.Header.Set("Cookie", "") }).body; strings.Contains(p, `id="tasks"`) {
		t.Error("a stranger sees the tasks")
	}
}
