package web

import (
	"fmt"
	"html/template"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// row is one machine in the table. It is comparable: what the table draws of it is kept by its value.
type row struct {
	ID, Ref     string // Ref is what its page is called by: the MAC with hyphens, else the id
	Name, MAC   string
	IP          string
	More        string // further MACs, which are not shown but found
	Hardware    string // "4 cores · 8 GiB"
	Disks       string
	Role        string
	State       inventory.State
	Look        look
	Below       string
	Step, Steps int       // progress, 0 of 0 = none
	Began       time.Time // of the job under way; zero = none runs, or it is not known
	IgnoredBy   string    // "" = it is not, or nobody knows any more
	IgnoredAt   time.Time
	Last        when
	Online      bool
	Reports     bool // stage-0 runs on it and reports, so silence means something
	Lags        bool // behind the hive
	Pick        bool // may be given a role with others
	Upkeep      inventory.JobKind
	Ask         bool // somebody must look at it before it goes on
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
		Below: below(h, now), Last: when{h.LastSeen, now}, Online: h.Online(now), Upkeep: h.Upkeep, IgnoredBy: h.IgnoredBy, IgnoredAt: h.IgnoredAt,
		urgency: h.Rank()}
	if h.IP.IsValid() {
		r.IP = h.IP.String()
	}
	for _, m := range h.MACs {
		if m != h.MAC {
			r.More = strings.TrimSpace(r.More + " " + m.String())
		}
	}
	r.Below = first(l.wentNoFurther(h, now), r.Below)
	r.Reports = !h.Flipped && !h.ReportedAt.IsZero() && (h.State == inventory.StateReady || h.State == inventory.StateQueued || h.State == inventory.StateInstalling)
	if h.Attention != "" {
		r.Look, r.Ask = look{Word: "Needs approval", Glyph: "!", Class: "warn"}, true
	} else if why := l.needsPerson(h); why != "" {
		r.Look, r.urgency, r.Ask = look{Word: "Needs you", Glyph: "!", Class: "warn"}, 0, true
		r.Below = why
	}
	if h.State == inventory.StateInstalling || h.Upkeep != "" {
		r.Step, r.Steps, r.Began = h.StepNo, h.StepOf, l.began(h)
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
		r.Below = "Since " + h.InstalledAt.Format("2 Jan 2006")
		if h.InstalledCommit != "" {
			r.Below += fmt.Sprintf(", revision %.7s", h.InstalledCommit)
		}
		r.Below = strings.TrimSuffix(r.Below+", "+lagText(h), ", ")
	}
	if at, ok := l.loading(h.ID); ok && !r.Ask {
		r.Below = bootsNow(h, r.Below, at, now)
	}
	r.Pick = h.State != inventory.StateInstalling && h.State != inventory.StateIgnored && !h.EverFlipped
	r.Hardware, r.Disks = hardware(h)
	return r
}

// bootsNow is the line of a host that loads stage-0: how far it is, after what there is to say beside that.
func bootsNow(h *inventory.Host, line string, at inventory.Loading, now time.Time) string {
	if h.State == inventory.StateBooting && h.Upkeep == "" && h.Looping(now) == "" {
		return at.String()
	}
	if line != "" {
		line = strings.TrimSuffix(line, ".") + ". "
	}
	return line + "It boots: " + at.String() + "."
}

// Title is what people call the machine.
func (r row) Title() string { return first(r.Name, r.MAC, r.ID) }

// Need reports whether it is one of those at the top: it needs somebody, or is new.
func (r row) Need() bool { return r.urgency <= 1 }

// worth is what a screen reader should say of a machine: that it needs somebody, or is done; else "".
func (r *row) worth() string {
	switch r.Look.Class {
	case "warn", "fail", "ok":
		return r.Title() + ": " + r.Look.Word
	}
	return ""
}

// finds reports whether every one of the words, in lower case, is in what the table shows of the machine.
func (r *row) finds(words []string) bool {
	text := strings.ToLower(strings.Join([]string{r.Name, r.MAC, r.More, r.IP, r.Role, string(r.State), r.Look.Word, r.Below, r.IgnoredBy, r.Hardware, r.Disks}, " "))
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// rowAct is what a row offers: a link, or an act that is done at once.
type rowAct struct {
	Text string
	To   string // address of a link
	Act  string // of POST /hosts/REF/ACT
	Give bool   // the link opens the choice of a role where there is script
}

// Acts are what the row offers, the likeliest first; the rest is on the machine's page.
func (r row) Acts() []rowAct {
	page := "/hosts/" + r.Ref
	log, stop := rowAct{Text: "Log", To: page + "#log"}, rowAct{Text: "Stop", Act: "cancel"}
	wake := rowAct{Text: "Wake", Act: "wake"}
	switch {
	case r.State == inventory.StateIgnored:
		return []rowAct{{Text: "Un-ignore", Act: "unignore"}}
	case r.Ask && r.State == inventory.StateQueued:
		return []rowAct{{Text: "See its disks…", To: page + "#m-plan"}, {Text: "Cancel", Act: "cancel"}}
	case r.Ask:
		return []rowAct{{Text: "See why…", To: page}}
	case r.Upkeep != "":
		return []rowAct{log, stop}
	}
	switch r.State {
	case inventory.StateExpected:
		acts := []rowAct{{Text: "Edit", To: page + "#m-role"}}
		if r.MAC != "" {
			acts = append(acts, wake)
		}
		return append(acts, rowAct{Text: "Forget…", To: page + "?confirm=forget#forget"})
	case inventory.StateSeen:
		return []rowAct{{Text: "How to netboot", To: "#netboot"}, {Text: "Ignore", Act: "ignore"}}
	case inventory.StateReady:
		return []rowAct{{Text: "Assign role", To: page + "#m-role", Give: true}}
	case inventory.StateQueued:
		return []rowAct{{Text: "Cancel", Act: "cancel"}}
	case inventory.StateInstalling:
		return []rowAct{log, stop}
	case inventory.StateInstalled:
		if r.Lags {
			return []rowAct{{Text: "Deploy", Act: "deploy"}, {Text: "Reinstall…", To: page + "?confirm=reinstall#reinstall"}, wake}
		}
		return []rowAct{{Text: "Reinstall…", To: page + "?confirm=reinstall#reinstall"}, wake}
	case inventory.StateFailed:
		return []rowAct{{Text: "Retry", Act: "retry"}, log}
	}
	return nil
}

// lookup is what a row needs beside its host; nil = nothing is known.
type lookup struct {
	roles map[string]inventory.Role
	job   func(inventory.JobID) (inventory.Job, error)
	boots map[inventory.HostID]inventory.Loading
	diary func(id inventory.HostID, before uint64, limit int) ([]inventory.Entry, error)
}

func (s *Server) newLookup(tx *inventory.Tx) (*lookup, error) {
	hive, err := tx.Hive()
	return &lookup{roles: hive.Roles, job: tx.Job, diary: tx.DiaryBack, boots: s.loading()}, err
}

// loading is how far a host is that loads stage-0.
func (l *lookup) loading(id inventory.HostID) (v inventory.Loading, ok bool) {
	if l != nil {
		v, ok = l.boots[id]
	}
	return v, ok
}

// wentNoFurther says where the boot of a host ended that was seen and did not go on, "" when it is not known.
func (l *lookup) wentNoFurther(h *inventory.Host, now time.Time) string {
	if l == nil || l.diary == nil || h.State != inventory.StateSeen || now.Sub(h.LastSeen) < stuckAfter || h.Attention != "" || h.Looping(now) != "" {
		return ""
	}
	last, err := l.diary(h.ID, 0, 4)
	if err != nil {
		return ""
	}
	for i := range last {
		switch station(&last[i]) {
		case stationAddress:
			return "Asked for an address and loaded no boot file: perhaps it started its own disk. See how to netboot."
		case stationIPXE:
			return "Loaded iPXE and went no further: it may have no driver for the network card. Its screen tells."
		case stationScript:
			if strings.Contains(last[i].Text, "own disk") {
				return "Was sent to its own disk."
			}
		}
	}
	return ""
}

// began is when the job that works on a host began; zero when none does.
func (l *lookup) began(h *inventory.Host) (t time.Time) {
	if l == nil || h.JobID == "" {
		return t
	}
	if j, err := l.job(h.JobID); err == nil && j.State == inventory.JobRunning {
		t = j.StartedAt
	}
	return t
}

// needsPerson says why the job of a queued host waits for somebody to look at its disks, "" when it does not. What to do
// about it is on the machine's page.
func (l *lookup) needsPerson(h *inventory.Host) string {
	if l == nil || h.State != inventory.StateQueued || h.BlockedOn == "" || h.Facts == nil {
		return ""
	}
	role, known := l.roles[h.Role]
	j, err := l.job(h.JobID)
	if !known || err != nil {
		return ""
	}
	p := diskplan.Make(diskplan.Input{Host: *h, Role: role, WipePersistent: j.WipePersistent, Auto: j.Auto})
	switch {
	case p.Confirmed(confirmed(&j)) == nil:
		return ""
	case len(p.Blockers) == 0:
		return "Its disks are not as they were when they were confirmed: see its disks."
	case len(p.Blockers) == 1:
		return p.Blockers[0].Text
	}
	return fmt.Sprintf("%s And %d more.", p.Blockers[0].Text, len(p.Blockers)-1)
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

// drawnRows is how many drawn rows are kept, about 1 kB each; at most twice as many are held.
const drawnRows = 1500

// drawn keeps rows as they were drawn: running the templates of 1,000 rows is half the cost of the page. What
// changes with the clock is not part of it. The zero value is ready; safe for concurrent use.
type drawn struct {
	mu         sync.Mutex
	young, old map[row][2]template.HTML // before and after the cell with the last contact
}

func (d *drawn) get(r row) (v [2]template.HTML, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok = d.young[r]; !ok {
		if v, ok = d.old[r]; ok {
			d.keep(r, v)
		}
	}
	return v, ok
}

func (d *drawn) put(r row, v [2]template.HTML) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(r, v)
}

func (d *drawn) keep(r row, v [2]template.HTML) {
	if d.young == nil || len(d.young) >= drawnRows {
		d.old, d.young = d.young, map[row][2]template.HTML{}
	}
	d.young[r] = v
}

// rowHTML draws one row; add says that a page which does not have it yet may add it.
func (s *Server) rowHTML(r row, add bool) (template.HTML, error) {
	key := r
	key.Last, key.Online, key.Reports = when{}, false, false
	v, ok := s.drawn.get(key)
	if !ok {
		for i, part := range []string{"row", "row-acts"} {
			f, err := s.fragment("machines", part, r)
			if err != nil {
				return "", err
			}
			v[i] = template.HTML(f) // by html/template
		}
		s.drawn.put(key, v)
	}
	begin := template.HTML("<tr")
	if add {
		begin = "<tr data-add"
	}
	return begin + v[0][len("<tr"):] + r.contact() + v[1], nil
}

// missedReports is how long a machine in stage-0 may be silent: three of its reports.
const missedReports = inventory.OnlineFor

// contact draws the cell with the last contact; late where reports were missed. Nothing in it is foreign text.
func (r *row) contact() template.HTML {
	var b strings.Builder
	b.WriteString(`<td data-label="Last contact" class="contact">`)
	if t := r.Last; t.T.IsZero() {
		b.WriteString("never")
	} else {
		late, class := "", ""
		if r.Reports {
			late = fmt.Sprintf(` data-late="%d"`, int(missedReports.Seconds()))
			if t.Now.Sub(t.T) > missedReports {
				class = ` class="late"`
			}
		}
		fmt.Fprintf(&b, `<time datetime="%s" title="%s"%s%s>%s</time>`, isoText(t.T), dayText(t.T), late, class, agoText(t.T, t.Now))
	}
	b.WriteString("</td>\n")
	return template.HTML(b.String())
}
