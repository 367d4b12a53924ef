package web

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	// maxRows is how many machines one page shows.
	maxRows = 1000
	// maxIgnored is how many ignored machines are listed below the table.
	maxIgnored = 20
)

// tableQuery is which machines the table shows.
type tableQuery struct {
	State inventory.State // "" = all but the ignored
	Text  string          // as it was typed
	After string          // the cursor of a later page
}

// parseTableQuery reads it from a page's address; what makes no sense is left out.
func parseTableQuery(v url.Values) tableQuery {
	q := tableQuery{Text: clip(strings.TrimSpace(v.Get("q")), 100), After: v.Get("after")}
	if st := inventory.State(v.Get("state")); slices.Contains(inventory.States(), st) {
		q.State = st
	}
	return q
}

func (q tableQuery) words() []string { return strings.Fields(strings.ToLower(q.Text)) }

// values is q as an address carries it.
func (q tableQuery) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{"state": string(q.State), "q": q.Text, "after": q.After} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

// URL is the address of the page that shows it.
func (q tableQuery) URL() string {
	if v := q.values(); len(v) > 0 {
		return "/?" + v.Encode()
	}
	return "/"
}

// Of is the same search among the machines of one state; among all when it is that state already.
func (q tableQuery) Of(st inventory.State) tableQuery {
	if q.After = ""; q.State == st {
		st = ""
	}
	q.State = st
	return q
}

// rows reads the page of hosts that q means, as rows; next is the cursor of the page after it, "" = none.
func (q tableQuery) rows(tx *inventory.Tx, l *lookup, now time.Time, limit int) (rows []row, next string, err error) {
	ask := inventory.RankQuery{State: q.State, After: q.After, Limit: limit}
	if words := q.words(); len(words) > 0 {
		ask.Match = func(h inventory.Host) bool {
			r := rowOf(&h, l, now)
			return r.finds(words)
		}
	}
	hosts, next, err := tx.Ranked(ask)
	for i := range hosts {
		rows = append(rows, rowOf(&hosts[i], l, now))
	}
	sortRows(rows)
	return rows, next, err
}

// chip is one filter of the table.
type chip struct {
	State inventory.State
	Look  look
	Count int
}

// proof is the line that shows that the appliance listens.
type proof struct {
	Ifaces   string
	Mode     string
	Requests uint64
	Last     when
	MAC      string
}

type machinesPage struct {
	base
	Query tableQuery
	Rows  []row
	draw  func(row, bool) (template.HTML, error)
	boots map[inventory.HostID]inventory.Loading
	// Total is how many machines there are that are not ignored; Next is the page after this one, "" = none.
	Total   int
	Next    string
	Ignored []row
	// IgnoredCount is how many are ignored, shown or not.
	IgnoredCount int
	Chips        []chip
	Roles        []inventory.Role
	Warnings     []Warning
	Proof        proof
	ISOs         bool
	SSH          bool // some are installed
	HiveErr      string
	Err          string
	Typed        announced
}

// Draw draws a row.
func (p *machinesPage) Draw(r row) (template.HTML, error) { return p.draw(r, false) }

// Whole reports whether the page has every machine, so that a browser can search it by itself.
func (p *machinesPage) Whole() bool { return p.Query == tableQuery{} && p.Next == "" }

// Missed says how many machines the page does not show, "" when it shows all it should.
func (p *machinesPage) Missed() string {
	switch {
	case p.Next == "" && p.Query.After == "":
		return ""
	case p.Query.Text == "" && p.Query.State == "":
		return fmt.Sprintf("%d of %d machines, those that need you first.", len(p.Rows), p.Total)
	}
	return plural(len(p.Rows), "machine") + " of those that match."
}

// NextURL is the address of the next page.
func (p *machinesPage) NextURL() string {
	q := p.Query
	q.After = p.Next
	return q.URL()
}

// FirstURL is the address of the first page.
func (p *machinesPage) FirstURL() string {
	q := p.Query
	q.After = ""
	return q.URL()
}

// announced is what was typed into the form that announces a machine.
type announced struct {
	MAC, Name, Role string
	BadName         bool // else it was refused for its MAC
}

func (s *Server) machines(c echo.Context) error { return s.showMachines(c, http.StatusOK, "") }

// showMachines shows the table; problem says why what was just asked for was not done.
func (s *Server) showMachines(c echo.Context, code int, problem string) error {
	since := s.feed.now() // before the store is read: a change in between is sent again, not lost
	p := s.newMachinesPage(s.page(c, "Machines", "machines"), parseTableQuery(c.QueryParams()))
	p.Err, p.Typed = problem, announced{c.FormValue("mac"), c.FormValue("name"), c.FormValue("role"), inventory.CheckName(c.FormValue("name")) != nil}
	p.Back = p.Query.URL()
	live := p.Query.values()
	live.Set("since", s.feed.id(since))
	p.Live = "/live?" + live.Encode()
	err := s.cfg.Store.View(p.read)
	if errors.Is(err, inventory.ErrInvalid) { // a cursor of another release, or typed by hand
		return c.Redirect(http.StatusSeeOther, p.FirstURL())
	}
	if err != nil {
		return err
	}
	p.Warnings, p.Proof = s.warnings(), s.proof()
	return s.render(c, code, "machines", p)
}

func (s *Server) newMachinesPage(b base, q tableQuery) *machinesPage {
	return &machinesPage{base: b, Query: q, draw: s.rowHTML, boots: s.loading(), ISOs: s.cfg.ISOs != nil}
}

// read reads what the page shows: up to maxRows machines, those that need somebody first. Without words to search
// for it costs what it shows, however many machines there are.
func (p *machinesPage) read(tx *inventory.Tx) error { return p.readRows(tx, maxRows) }

// readSums is read without the machines themselves.
func (p *machinesPage) readSums(tx *inventory.Tx) error { return p.readRows(tx, 0) }

func (p *machinesPage) readRows(tx *inventory.Tx, limit int) error {
	hive, err := tx.Hive()
	if err != nil {
		return err
	}
	p.Roles, p.HiveErr = sortedRoles(hive), hive.Error
	l := &lookup{roles: hive.Roles, job: tx.Job, diary: tx.DiaryBack, boots: p.boots}
	if p.Rows, p.Next, err = p.Query.rows(tx, l, p.Now, limit); err != nil {
		return err
	}
	counts, err := tx.Counts()
	if err != nil {
		return err
	}
	for state, n := range counts {
		if state != inventory.StateIgnored {
			p.Total += n
		}
	}
	if p.IgnoredCount = counts[inventory.StateIgnored]; p.IgnoredCount > 0 {
		if p.Ignored, _, err = (tableQuery{State: inventory.StateIgnored}).rows(tx, l, p.Now, maxIgnored); err != nil {
			return err
		}
	}
	p.SSH = counts[inventory.StateInstalled] > 0
	p.Chips = chips(counts)
	return nil
}

func sortRows(rows []row) {
	slices.SortStableFunc(rows, func(a, b row) int {
		if a.urgency == b.urgency && a.urgency == 1 { // newcomers first
			return b.Last.T.Compare(a.Last.T)
		}
		return cmp.Or(cmp.Compare(a.urgency, b.urgency), cmp.Compare(first(a.Name, "~"+a.MAC), first(b.Name, "~"+b.MAC)))
	})
}

func chips(counts map[inventory.State]int) []chip {
	var out []chip
	for _, st := range []inventory.State{inventory.StateFailed, inventory.StateReady, inventory.StateBooting, inventory.StateQueued,
		inventory.StateInstalling, inventory.StateInstalled, inventory.StateSeen, inventory.StateExpected} {
		if n := counts[st]; n > 0 {
			out = append(out, chip{State: st, Look: lookOf(st), Count: n})
		}
	}
	return out
}

func (s *Server) proof() proof {
	n := s.network()
	p := proof{Mode: n.Mode, Requests: n.Requests, Last: when{n.LastRequest, s.cfg.Now()}, MAC: n.LastMAC.String()}
	var names []string
	for _, i := range n.Interfaces {
		names = append(names, i.Name)
	}
	p.Ifaces = strings.Join(names, ", ")
	return p
}

// assignMany gives the ticked machines a role, each in a transaction of its own.
func (s *Server) assignMany(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "This form could not be read. Go back and try again.")
	}
	role, hosts := form.Get("role"), form["host"]
	if role == "" || len(hosts) == 0 {
		return s.said(c, "/", "Tick at least one machine and choose a role.")
	}
	var done bulk
	for _, id := range hosts {
		h, err := s.assign(c.Request().Context(), id, inventory.Assignment{Role: &role}, IfMatchIn{})
		if err == nil {
			r, rerr := s.rowNow(&h)
			s.logFault(c, rerr)
			done.add(h.Label(), true, r.Look.Word+": "+r.Below)
			continue
		}
		s.logFault(c, err)
		label := clip(id, 40)
		if h, err := s.host(id); err == nil {
			label = h.Label()
		}
		done.add(label, false, "Not done. "+sentence(err))
	}
	return s.said(c, "/", strconv.Itoa(done.done)+" of "+plural(len(hosts), "machine")+" got role "+clip(role, 63)+"."+done.report())
}

// rowNow is a host as its row shows it now.
func (s *Server) rowNow(h *inventory.Host) (r row, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		l, err := s.newLookup(tx)
		r = rowOf(h, l, s.cfg.Now())
		return err
	})
	return r, err
}

// bulk gathers what one act did to each of several machines.
type bulk struct {
	done  int
	texts []string            // in the order they came, those of what was not done first
	names map[string][]string // by text
}

func (b *bulk) add(name string, ok bool, text string) {
	if b.names == nil {
		b.names = map[string][]string{}
	}
	if ok {
		b.done++
	}
	if _, known := b.names[text]; !known {
		if ok {
			b.texts = append(b.texts, text)
		} else {
			b.texts = slices.Insert(b.texts, 0, text)
		}
	}
	b.names[text] = append(b.names[text], name)
}

// report is a line for each thing that became of machines, with their names.
func (b *bulk) report() string {
	var out strings.Builder
	for _, t := range b.texts {
		out.WriteString("\n" + strings.Join(b.names[t], ", ") + ": " + t)
	}
	return out.String()
}

// said tells what was done: our script, which asks for it, as plain text; else on the page that the form was sent from.
func (s *Server) said(c echo.Context, to, text string) error {
	if wantsSentence(c) {
		return c.String(http.StatusOK, text)
	}
	s.flash(c, text)
	return back(c, to)
}

// wantsSentence reports whether our script asks, which shows a sentence on the page it is on.
func wantsSentence(c echo.Context) bool { return c.Request().Header.Get("Accept") == "text/plain" }
