package web

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/clocktest"
	"github.com/staged-hive/hatchery/inventory"
)

var rowName = regexp.MustCompile(`<th scope="row"><a href="[^"]*">([^<]*)</a>`)

// names are the machines that a page shows, in its order.
func names(page string) (out []string) {
	for _, m := range rowName.FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestTableIsSearchedByTheServer(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	f := foreignFacts()
	f.UUID, f.Serial = "", "SN-10"
	b.put(b.checkIn(10, f).ID, func(h *inventory.Host) {
		h.Name, h.MACs = "twoports", append(h.MACs, mac(0xaa))
	})
	b.signIn()
	all := names(b.page("/"))
	for _, c := range []struct {
		name, query string
		want        []string
	}{
		{"nothing is all", "", all},
		{"a state", "?state=failed", []string{"node2"}},
		{"the ignored are only shown when asked for", "?state=ignored", []string{mac(7).String()}},
		{"a state that is none is left out", "?state=%3Cscript%3E", all},
		{"a name, in capitals", "?q=NODE1", []string{"node1"}},
		{"a MAC", "?q=" + mac(5).String(), []string{"node2"}},
		{"a MAC that is not shown", "?q=" + mac(0xaa).String(), []string{"twoports"}},
		{"an address", "?q=10.0.0.4", []string{"node1"}},
		{"a role", "?q=server", []string{"node2", "nas"}},
		{"the state as people see it", "?q=needs+approval", []string{mac(9).String()}},
		{"every word counts", "?q=worker+step+6", []string{"node3"}},
		{"words and state", "?q=node&state=installed", []string{"node1"}},
		{"nothing matches", "?q=%3Cimg+src%3Dx%3E", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.page("/" + c.query)
			if diff := cmp.Diff(c.want, names(p)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if whole := strings.Contains(p, `<tbody id="rows" data-whole`); whole != (len(c.want) == len(all)) {
				t.Errorf("says that it is whole: %v", whole)
			}
			if strings.Contains(p, "<img") && !strings.Contains(p, `<img src="/static`) {
				t.Error("what was typed became markup")
			}
		})
	}
	if p := b.page("/?q=node&state=failed"); !strings.Contains(p, `href="/?q=node"`) || !strings.Contains(p, `value="node"`) {
		t.Error("a chip that is on does not lead back to the same words in all states")
	}
}

func TestTableIsReadPageByPage(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.thousand(maxRows + 30)
	b.update(func(tx *inventory.Tx) error { // one that needs somebody is first, wherever it was made
		_, err := inventory.Expect(tx, inventory.Announce{MAC: mac(1), Name: "zz-last"}, time.Now())
		return err
	})
	b.signIn()
	seen := map[string]int{}
	next := "/"
	for pages := 0; next != "" && pages < 5; pages++ {
		p := b.page(next)
		for _, n := range names(p) {
			seen[n]++
		}
		next = ""
		if m := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(p); m != nil {
			next = html.UnescapeString(m[1])
		}
	}
	if len(seen) != maxRows+31 {
		t.Errorf("got %d machines over all pages, want %d", len(seen), maxRows+31)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%s is on %d pages", n, times)
		}
	}
	// The search finds what is on no page that is open.
	if got := names(b.page("/?q=node1029")); !slices.Equal(got, []string{"node1029"}) {
		t.Errorf("search: got %v", got)
	}
	if a := b.send("GET", "/?after=nonsense&q=node1", nil, nil); a.code != 303 || a.header.Get("Location") != "/?q=node1" {
		t.Errorf("a cursor that is none: got %d to %q", a.code, a.header.Get("Location"))
	}
	// A machine of another page is not added to the first, unless it belongs at its top.
	lines, _ := b.stream("/live", nil)
	until(t, lines, `<tbody id="rows"`)
	touch := func(name string, fn func(*inventory.Host)) inventory.Host {
		var id inventory.HostID
		if err := b.store.View(func(tx *inventory.Tx) error {
			h, err := tx.HostByName(name)
			id = h.ID
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return b.put(id, fn)
	}
	h := touch("node1029", func(h *inventory.Host) { h.LastSeen = time.Now() })
	got := until(t, lines, `id="h-`+string(h.ID))
	if l := got[len(got)-1]; strings.Contains(l, "data-add") {
		t.Errorf("got %s", l)
	}
	h = touch("node1028", func(h *inventory.Host) { h.Error = "It did not start." })
	until(t, lines, `<tr data-add id="h-`+string(h.ID)+`"`)
}

func TestCountsComeWithTheRows(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	b.signIn()
	lines, _ := b.stream("/live", nil)
	until(t, lines, `id="give-roles"`)
	b.checkIn(1, facts())
	var patch []string
	for _, l := range until(t, lines, "Needs a role <b>1</b>") { // what came since the last event began
		if patch = append(patch, l); strings.HasPrefix(l, "event:") {
			patch = nil
		}
	}
	if !strings.Contains(strings.Join(patch, ""), `data-state="ready"`) {
		t.Errorf("the count of the chip came without the row:\n%s", strings.Join(patch, "\n"))
	}
}

func TestStuckMachineSaysSoByItself(t *testing.T) {
	t.Parallel()
	clk := clocktest.New(t0)
	b := start(t, func(c *Config) { c.Now = clk.Now })
	b.update(func(tx *inventory.Tx) error {
		_, err := inventory.Discover(tx, inventory.Contact{MAC: mac(1), DHCP: true}, clk.Now())
		return err
	})
	lines, _ := b.stream("/live", nil)
	until(t, lines, "its firmware loads iPXE now")
	clk.Add(stuckAfter)
	until(t, lines, "did not go on")
}

func TestSilenceOfAMachineInStage0IsMarked(t *testing.T) {
	t.Parallel()
	at := t0.Add(-missedReports)
	for _, c := range []struct {
		name string
		host inventory.Host
		want string
	}{
		{"never heard", inventory.Host{State: inventory.StateExpected}, "never"},
		{"reports are on time", inventory.Host{State: inventory.StateReady, ReportedAt: at, LastSeen: at}, `<time datetime="2026-11-22T13:59:15Z" title="Sun 22 Nov 2026, 13:59:15 UTC" data-late="45">45 s ago</time>`},
		{"three are missed", inventory.Host{State: inventory.StateReady, ReportedAt: at, LastSeen: at.Add(-time.Second)}, `<time datetime="2026-11-22T13:59:14Z" title="Sun 22 Nov 2026, 13:59:14 UTC" data-late="45" class="late">46 s ago</time>`},
		{"its own system does not report", inventory.Host{State: inventory.StateInstalled, EverFlipped: true, LastSeen: at.Add(-time.Hour)}, `<time datetime="2026-11-22T12:59:15Z" title="Sun 22 Nov 2026, 12:59:15 UTC">1 h ago</time>`},
		{"it reboots into its own system", inventory.Host{State: inventory.StateInstalling, Flipped: true, ReportedAt: at, LastSeen: at.Add(-time.Hour)}, `<time datetime="2026-11-22T12:59:15Z" title="Sun 22 Nov 2026, 12:59:15 UTC">1 h ago</time>`},
	} {
		r := rowOf(&c.host, nil, t0)
		if got, want := string(r.contact()), `<td data-label="Last contact" class="contact">`+c.want+"</td>\n"; got != want {
			t.Errorf("%s: got %s, want %s", c.name, got, want)
		}
	}
}

func TestDrawnRowsAreKeptByWhatTheySay(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	h := hostOf(inventory.StateReady)
	draw := func(now time.Time, add bool) string {
		got, err := b.rowHTML(rowOf(&h, nil, now), add)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	first := draw(t0, false)
	later := draw(t0.Add(time.Minute), true)
	if n := len(b.drawn.young); n != 1 {
		t.Errorf("the same row at another time is drawn anew: %d are kept", n)
	}
	if !strings.Contains(first, "10 s ago") || !strings.Contains(later, "1 min ago") || !strings.HasPrefix(later, "<tr data-add id=") {
		t.Errorf("got %s and %s", first, later)
	}
	h.Name = "renamed"
	if !strings.Contains(draw(t0, false), ">renamed</a>") {
		t.Error("an old row is shown")
	}
	for i := range 5 * drawnRows {
		h.Name = fmt.Sprintf("n%d", i)
		draw(t0, false)
	}
	if n := len(b.drawn.young) + len(b.drawn.old); n > 2*drawnRows {
		t.Errorf("%d rows are kept, want at most %d", n, 2*drawnRows)
	}
}

func TestActsAnswerScriptsInASentence(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	h := b.checkIn(1, facts())
	b.signIn()
	plain := func(r *http.Request) { r.Header.Set("Accept", "text/plain") }
	page := "/hosts/" + mac(1).Hyphens()
	for _, c := range []struct {
		name, path string
		form       url.Values
		code       int
		want       string
	}{
		{"assign", "/assign", url.Values{"host": {string(h.ID)}, "role": {"worker"}}, 200, "1 of 1 machine got role worker.\nworker-123401: Queued: Waits for its turn."},
		{"assign nobody", "/assign", url.Values{"role": {"worker"}}, 200, "Tick at least one machine and choose a role."},
		{"cancel", page + "/cancel", url.Values{}, 200, "Done. In stage-0, waits for you. Nothing on its disks was touched."},
		{"what makes no sense", page + "/unignore", url.Values{}, 409, "it is not ignored"},
		{"nobody", "/hosts/nobody/wake", url.Values{}, 404, "is not known"},
	} {
		a := b.send("POST", c.path, c.form, plain)
		if a.code != c.code || !strings.Contains(a.body, c.want) || strings.Contains(a.body, "<") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got %d %q, want %d %q", c.name, a.code, a.body, c.code, c.want)
		}
	}
	a := b.send("POST", page+"/ignore", url.Values{"back": {"/?q=x"}}, nil) // without script: back to where it was asked
	if a.code != 303 || a.header.Get("Location") != "/?q=x" || !strings.Contains(b.page("/?q=x"), "Its netboot is met with silence.") {
		t.Errorf("got %d to %q", a.code, a.header.Get("Location"))
	}
}

func TestSinceWhenAMachineIsKnown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC) // a Sunday
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, ""},
		{now.Add(-20 * time.Minute), " since today"},
		{now.Add(-time.Hour), " since yesterday"},
		{now.Add(-4 * 24 * time.Hour), " since Wednesday"},
		{now.Add(-7 * 24 * time.Hour), " since 15 Nov 2026"},
		{now.Add(time.Hour * 48), " since 24 Nov 2026"}, // a clock that was set back
	} {
		if got := sinceText(c.at, now); got != c.want {
			t.Errorf("%s: got %q, want %q", c.at, got, c.want)
		}
	}
}

// TestAStationThatWasPassedIsNotWaitedFor: what comes before one that was heard of is over, whether it was heard of or not.
func TestAStationThatWasPassedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	at := func(kind string, s int) inventory.Entry {
		return inventory.Entry{Kind: kind, Time: t0.Add(time.Duration(s) * time.Second)}
	}
	h := inventory.Host{State: inventory.StateBooting}
	for _, m := range bootPath(&h, []inventory.Entry{at("dhcp.offer", 0), at("http.script", 2)}) {
		if want := m.Word == "iPXE"; m.Past != want {
			t.Errorf("%s: passed %v, want %v", m.Word, m.Past, want)
		}
	}
}

// TestTheRowSaysWhereABootEnded: a machine that was seen and did not go on says how far it came.
func TestTheRowSaysWhereABootEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		diary []inventory.Entry // newest first
		ago   time.Duration
		want  string
	}{
		{"an address", []inventory.Entry{{Kind: "admin"}, {Kind: "dhcp.request"}}, stuckAfter, "loaded no boot file"},
		{"iPXE", []inventory.Entry{{Kind: "tftp.file"}, {Kind: "dhcp.request"}}, stuckAfter, "Loaded iPXE and went no further"},
		{"its own disk", []inventory.Entry{{Kind: "http.script", Text: "iPXE fetched its script: its own disk."}, {Kind: "tftp.file"}}, stuckAfter, "Was sent to its own disk."},
		{"nothing is known", nil, stuckAfter, "did not go on"},
		{"it may still go on", []inventory.Entry{{Kind: "dhcp.request"}}, stuckAfter - time.Second, "loads iPXE now"},
	} {
		h := hostOf(inventory.StateSeen)
		h.LastSeen = t0.Add(-c.ago)
		l := &lookup{diary: func(inventory.HostID, uint64, int) ([]inventory.Entry, error) { return c.diary, nil }}
		if r := rowOf(&h, l, t0); !strings.Contains(r.Below, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, r.Below, c.want)
		}
	}
}

// TestIgnoredByWhom: the page says who had a machine ignored and when; of one that an earlier release ignored it says nothing.
func TestIgnoredByWhom(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	h, old := hostOf(inventory.StateIgnored), hostOf(inventory.StateIgnored)
	old.IgnoredBy, old.IgnoredAt = "", time.Time{}
	for _, c := range []struct {
		name      string
		host      *inventory.Host
		list, row string
	}{
		{"recorded", &h, `ignored by token alex, <time datetime="2026-11-19T14:00:00Z"`, "silence. Ignored by token alex, <time"},
		{"not recorded", &old, `<span class="muted">last heard <time`, "silence.</"},
	} {
		r := rowOf(c.host, nil, t0)
		p := &machinesPage{base: base{Now: t0}, Ignored: []row{r}, IgnoredCount: 1}
		list, err := b.fragment("machines", "ignored", p)
		line, err2 := b.rowHTML(r, false)
		head, err3 := b.fragment("machine", "m-head", &machinePage{base: p.base, Row: r, Host: hostJSON(c.host, t0)})
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(list), c.list) || !strings.Contains(string(line), c.row) || !strings.Contains(string(head), c.row) {
			t.Errorf("%s:\n%s\n%s\n%s", c.name, list, line, head)
		}
	}
}
