package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

// Topics of the appliance's activity: what comes after "admin." in an entry's kind.
const (
	topicAccess  = "access"
	topicNetwork = "network"
	topicMedia   = "media"
	topicHive    = "hive"
	topicBackup  = "backup"
	topicSetup   = "setup"
)

const (
	activityEntries = 100 // on one page
	activityJobs    = 25
)

// ActivityIn narrows the activity. It is exported because huma reads parameters of exported fields alone.
type ActivityIn struct {
	Host string `query:"host" doc:"only what is about that host, by id, MAC or name; of a forgotten one by its name then" maxLength:"128"`
	By   string `query:"by" doc:"only what was done by somebody whose name holds these words, as admin or token ci" maxLength:"64"`
	Kind string `query:"kind" enum:",machine,access,network,media,hive,backup,setup,trouble" doc:"only of that kind; trouble = warnings and errors"`
}

// activityFilter is an ActivityIn with its host looked up.
type activityFilter struct {
	ActivityIn
	id inventory.HostID // of a host that is known, "" = none
}

func (in ActivityIn) filter(tx *inventory.Tx) activityFilter {
	f := activityFilter{ActivityIn: in}
	f.Host, f.By = strings.TrimSpace(in.Host), strings.ToLower(strings.TrimSpace(in.By))
	if h, err := tx.FindHost(f.Host); f.Host != "" && err == nil {
		f.id, f.Host = h.ID, h.Label()
	}
	return f
}

// entry reports whether an entry of the activity passes.
func (f *activityFilter) entry(e *inventory.Entry) bool {
	if f.By != "" && !strings.Contains(strings.ToLower(e.By), f.By) {
		return false
	}
	if f.Host != "" && (f.id == "" || e.About != f.id) && !strings.HasPrefix(e.Text, f.Host+": ") {
		return false
	}
	switch f.Kind {
	case "":
		return true
	case "machine":
		return e.About != ""
	case "trouble":
		return e.Level != ""
	case topicNetwork:
		return e.Kind == "admin."+f.Kind || strings.HasPrefix(e.Kind, "dhcp.")
	}
	return e.Kind == "admin."+f.Kind
}

// job reports whether a job passes.
func (f *activityFilter) job(j *inventory.Job) bool {
	return (f.By == "" || strings.Contains(strings.ToLower(j.By), f.By)) &&
		(f.Host == "" || j.HostID == f.id || j.Host == f.Host) &&
		(f.Kind == "" || f.Kind == "machine" || f.Kind == "trouble" && j.State == inventory.JobFailed)
}

// kindChoice is one choice of the filter by kind.
type kindChoice struct{ Kind, Word string }

type activityPage struct {
	base
	Filter  ActivityIn
	Kinds   []kindChoice
	Entries []inventory.Entry
	Jobs    []jobView
	// Older and OlderJobs are the addresses of what comes after the last shown, "" = that was all.
	Older, OlderJobs string
	Narrowed         bool
}

func (s *Server) activityPage(c echo.Context) error {
	p := activityPage{base: s.page(c, "Activity", "activity"), Filter: ActivityIn{c.QueryParam("host"), c.QueryParam("by"), c.QueryParam("kind")},
		Kinds: []kindChoice{{"", "Everything"}, {"machine", "Machines"}, {topicAccess, "Who may sign in"}, {topicNetwork, "Network"},
			{topicMedia, "USB images"}, {topicHive, "Roles"}, {topicBackup, "Backups"}, {topicSetup, "The appliance itself"}, {"trouble", "What went wrong"}}}
	p.Narrowed = p.Filter != ActivityIn{}
	before, err := parseSeq(c.QueryParam("before"))
	if err != nil {
		return err
	}
	jobsBefore := c.QueryParam("jobs")
	if err := s.cfg.Store.View(func(tx *inventory.Tx) error { return p.read(tx, before, jobsBefore) }); err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "activity", p)
}

// read reads one page of both lists.
func (p *activityPage) read(tx *inventory.Tx, before uint64, jobsBefore string) (err error) {
	f := p.Filter.filter(tx)
	if p.Entries, err = tx.DiaryFind("", before, activityEntries+1, f.entry); err != nil {
		return err
	}
	if len(p.Entries) > activityEntries {
		p.Entries = p.Entries[:activityEntries]
		p.Older = p.address("before", strconv.FormatUint(p.Entries[activityEntries-1].Seq, 10))
	}
	looked, last := 0, inventory.JobID("")
	return tx.JobsBack(f.id, inventory.JobID(jobsBefore), func(j inventory.Job) (bool, error) {
		if len(p.Jobs) == activityJobs || looked == maxLooks {
			p.OlderJobs = p.address("jobs", string(last))
			return false, nil
		}
		if looked, last = looked+1, j.ID; f.job(&j) {
			p.Jobs = append(p.Jobs, viewOfJob(tx, &j, p.Now))
		}
		return true, nil
	})
}

// address is the page with the same filter and one parameter more.
func (p *activityPage) address(name, value string) string {
	q := url.Values{name: {value}}
	for k, v := range map[string]string{"host": p.Filter.Host, "by": p.Filter.By, "kind": p.Filter.Kind} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return "/activity?" + q.Encode()
}
