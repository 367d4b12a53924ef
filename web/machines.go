package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// maxRows is how many machines one page shows.
const maxRows = 1000

// row is one machine in the table.
type row struct {
	ID, Ref     string // Ref is what its page is called by: the MAC with hyphens, else the id
	Name, MAC   string
	Hardware    string // "4 cores · 8 GiB"
	Disks       string
	Role        string
	State       inventory.State
	Look        look
	Below       string
	Step, Steps int // progress, 0 of 0 = none
	Last        when
	Online      bool
	Lags        bool // behind the hive
	Pick        bool // may be given a role with others
	urgency     int
}

func refOf(h *inventory.Host) string {
	if h.MAC.IsZero() {
		return string(h.ID)
	}
	return h.MAC.Hyphens()
}

// rowOf is a host as a row.
func rowOf(h *inventory.Host, l *lookup, now time.Time) row {
	r := row{ID: string(h.ID), Ref: refOf(h), Name: h.Name, MAC: h.MAC.String(), Role: h.Role, State: h.State, Look: lookOf(h.State),
		Below: below(h, now), Last: when{h.LastSeen, now}, Online: h.Online(now), urgency: h.Rank()}
	if h.Attention != "" {
		r.Look = look{Word: "Needs approval", Glyph: "!", Class: "warn"}
	} else if l.needsPerson(h) {
		r.Look, r.urgency = look{Word: "Needs you", Glyph: "!", Class: "warn"}, 0
	}
	if h.State == inventory.StateInstalling || h.Upkeep != "" {
		r.Step, r.Steps = h.StepNo, h.StepOf
	}
	if h.NoRule() == "" && l != nil {
		if names := inventory.Matching(h, l.roles); len(names) > 1 {
			r.Below = "The rules of roles " + strings.Join(names, ", ") + " all mean it, so none acts: give it a role, or make them narrower."
		}
	}
	r.Lags = h.Lags()
	switch {
	case h.Attention != "":
	case h.Upkeep == inventory.JobDeploy:
		r.Look = look{Word: "Deploying", Glyph: "◐", Class: "busy"}
	case h.Upkeep == inventory.JobFormat:
		r.Look = look{Word: "Formatting", Glyph: "◐", Class: "busy"}
	case h.State == inventory.StateInstalled && h.Error != "":
		r.Look = look{Word: "Installed", Glyph: "!", Class: "warn"}
	case h.State == inventory.StateInstalled && !h.InstalledAt.IsZero():
		r.Below = strings.TrimSuffix("Since "+h.InstalledAt.Format("2 Jan 2006")+", "+lagText(h), ", ")
	}
	r.Pick = h.State != inventory.StateInstalling && h.State != inventory.StateIgnored && !h.EverFlipped
	r.Hardware, r.Disks = hardware(h)
	return r
}

// lookup is what a row needs beside its host; nil = nothing is known.
type lookup struct {
	roles map[string]inventory.Role
	job   func(inventory.JobID) (inventory.Job, error)
}

func newLookup(tx *inventory.Tx) (*lookup, error) {
	hive, err := tx.Hive()
	return &lookup{roles: hive.Roles, job: tx.Job}, err
}

// needsPerson reports whether the job of a queued host waits for somebody to look at its disks.
func (l *lookup) needsPerson(h *inventory.Host) bool {
	if l == nil || h.State != inventory.StateQueued || h.BlockedOn == "" || h.Facts == nil {
		return false
	}
	role, known := l.roles[h.Role]
	j, err := l.job(h.JobID)
	if !known || err != nil {
		return false
	}
	p := diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: j.WipePersistent, Auto: j.Auto})
	return p.Confirmed(confirmed(&j)) != nil
}

// confirmed is what a person agreed to for a job.
func confirmed(j *inventory.Job) inventory.Confirmation {
	return inventory.Confirmation{PlanID: j.PlanID, Confirm: j.Confirm, WipePersistent: j.WipePersistent}
}

// hardware says in two short lines what a machine is.
func hardware(h *inventory.Host) (machine, disks string) {
	f := h.Facts
	if f == nil {
		return strings.TrimSpace(h.Arch + " " + h.Firmware), ""
	}
	parts := []string{}
	if n := max(f.CPU.Cores, f.CPU.Threads); n > 0 {
		if f.CPU.Cores > 0 {
			n = f.CPU.Cores
		}
		parts = append(parts, plural(n, "core"))
	}
	if f.MemoryBytes > 0 {
		parts = append(parts, memoryText(f.MemoryBytes))
	}
	var ds []string
	for _, d := range f.Disks {
		if !d.Boot {
			ds = append(ds, diskText(d.SizeBytes))
		}
	}
	if len(ds) == 0 {
		return strings.Join(parts, " · "), "no disks"
	}
	if len(ds) > 4 {
		ds = append(ds[:3], fmt.Sprintf("%d more", len(ds)-3))
	}
	return strings.Join(parts, " · "), "disks " + strings.Join(ds, ", ")
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
	Rows    []row
	Ignored []row
	// IgnoredCount is how many are ignored, shown or not.
	IgnoredCount int
	Chips        []chip
	Roles        []inventory.Role
	Warnings     []Warning
	Proof        proof
	More         int  // machines that did not fit
	SSH          bool // some are installed
	HiveErr      string
	Err          string
	Typed        announced
}

// announced is what was typed into the form that announces a machine.
type announced struct{ MAC, Name, Role string }

func (s *Server) machines(c echo.Context) error { return s.showMachines(c, http.StatusOK, "") }

// showMachines shows the table; problem says why what was just asked for was not done.
func (s *Server) showMachines(c echo.Context, code int, problem string) error {
	since := s.feed.now() // before the store is read: a change in between is sent again, not lost
	p := machinesPage{base: s.page(c, "Machines", "machines"), Err: problem, Typed: announced{c.FormValue("mac"), c.FormValue("name"), c.FormValue("role")}}
	p.Back = "/"
	p.Live = "/live?since=" + s.feed.id(since)
	err := s.cfg.Store.View(func(tx *inventory.Tx) error { return p.read(tx) })
	if err != nil {
		return err
	}
	p.Warnings, p.Proof = s.warnings(), s.proof()
	return s.render(c, code, "machines", p)
}

// read reads what the page shows: up to maxRows machines, those that need somebody first. It costs what it
// shows, however many machines there are.
func (p *machinesPage) read(tx *inventory.Tx) error { return p.readRows(tx, maxRows) }

// readSums is read without the machines themselves.
func (p *machinesPage) readSums(tx *inventory.Tx) error { return p.readRows(tx, 0) }

func (p *machinesPage) readRows(tx *inventory.Tx, limit int) error {
	hive, err := tx.Hive()
	if err != nil {
		return err
	}
	p.Roles, p.HiveErr = sortedRoles(hive), hive.Error
	l := &lookup{roles: hive.Roles, job: tx.Job}
	hosts, ignored, err := tx.Ranked(limit)
	if err != nil {
		return err
	}
	counts, err := tx.Counts()
	if err != nil {
		return err
	}
	for _, h := range hosts {
		p.Rows = append(p.Rows, rowOf(&h, l, p.Now))
	}
	for _, h := range ignored {
		p.Ignored = append(p.Ignored, rowOf(&h, l, p.Now))
	}
	for state, n := range counts {
		if state != inventory.StateIgnored {
			p.More += n
		}
	}
	p.More -= len(p.Rows)
	p.IgnoredCount, p.SSH = counts[inventory.StateIgnored], counts[inventory.StateInstalled] > 0
	sortRows(p.Rows)
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
		s.flash(c, "Tick at least one machine and choose a role.")
		return back(c, "/")
	}
	done, failed := 0, ""
	for _, id := range hosts {
		if _, err := s.assign(c.Request().Context(), id, inventory.Assignment{Role: &role}, IfMatchIn{}); err != nil {
			failed += " " + sentence(err)
			continue
		}
		done++
	}
	s.flash(c, strings.TrimSpace(strconv.Itoa(done)+" of "+plural(len(hosts), "machine")+" got role "+clip(role, 63)+"."+failed))
	return back(c, "/")
}
