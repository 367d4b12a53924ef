package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	pastJobs    = 10   // listed on a machine's page
	jobLogLines = 2000 // of a job's log, drawn with its page; the download has all
)

// jobView is a job in a list: of a machine, or in the activity.
type jobView struct {
	Job
	Label string // of its host
	Ref   string // of its host's page, "" = the host is forgotten
	Doing string // the running step with how far it is, "" = no more than its name is known
	Asks  string // what it waits for a person to do, in a few words; "" = for nobody
	Now   time.Time
}

// Class is the colour of the job's state.
func (v jobView) Class() string {
	return map[inventory.JobState]string{inventory.JobDone: "ok", inventory.JobFailed: "fail", inventory.JobRunning: "busy"}[v.State]
}

// Why is what a person should know of its state: why it ended so, or what it waits for.
func (v jobView) Why() string {
	if v.Error == "" && v.State == inventory.JobQueued {
		return v.BlockedOn
	}
	return v.Error
}

// StepText is its step in words, with how far it is.
func (v jobView) StepText() string {
	return first(v.Doing, (&inventory.Job{Step: v.Step, StepAgain: v.StepAgain}).StepText())
}

// Took is how long the job worked, "" before it began.
func (v jobView) Took() string {
	switch {
	case v.StartedAt.IsZero():
		return ""
	case v.EndedAt.IsZero():
		return durationText(v.Now.Sub(v.StartedAt))
	}
	return durationText(v.EndedAt.Sub(v.StartedAt))
}

func viewOfJob(tx *inventory.Tx, j *inventory.Job, now time.Time) jobView {
	v := jobView{Job: jobJSON(j), Label: first(j.Host, "a forgotten machine"), Now: now}
	if h, err := tx.Host(j.HostID); err == nil {
		v.Label, v.Ref = h.Label(), refOf(&h)
		if h.JobID == j.ID && j.State == inventory.JobRunning && strings.HasPrefix(h.Step, j.StepText()+": ") {
			v.Doing = h.Step
		}
	}
	return v
}

// asks says in a few words what a waiting job wants of a person, "" when it waits for something else.
func (l *lookup) asks(tx *inventory.Tx, j *inventory.Job) string {
	h, err := tx.Host(j.HostID)
	switch {
	case err != nil || j.State != inventory.JobQueued || h.JobID != j.ID:
		return ""
	case h.Attention != "":
		return "waits for your approval"
	case l.needsPerson(&h) != "":
		return "waits for you: see its disks"
	}
	return ""
}

// jobsOf are the newest jobs of a host, newest first.
func jobsOf(tx *inventory.Tx, id inventory.HostID, now time.Time) (out []jobView, err error) {
	err = tx.JobsBack(id, "", func(j inventory.Job) (bool, error) {
		out = append(out, viewOfJob(tx, &j, now))
		return len(out) < pastJobs, nil
	})
	return out, err
}

// logView is a log with its tools.
type logView struct {
	Lines    []LogLine
	Stream   string // address of new lines, "" = none come
	Download string // address of the whole log as text
	File     string // what the download is called
	Cut      int    // earlier lines that are in the download alone
}

type jobPage struct {
	base
	Job jobView
	Log *logView // nil = this appliance installs nothing
}

// job is the page of one job: what it did, what became of its attempts, and its whole log.
func (s *Server) job(c echo.Context) error {
	p := jobPage{base: s.page(c, "Job", "activity")}
	id := inventory.JobID(c.Param("id"))
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		j, err := tx.Job(id)
		if err != nil {
			return err
		}
		p.Job = viewOfJob(tx, &j, p.Now)
		return nil
	})
	if errors.Is(err, inventory.ErrNotFound) {
		return echo.NewHTTPError(http.StatusNotFound, "This job is not known any more. Jobs that ended long ago are removed; the activity still tells of them.")
	} else if err != nil {
		return err
	}
	p.Title = kindText(p.Job.Kind) + " of " + p.Job.Label
	p.Back = "/jobs/" + string(id)
	if p.Log, err = s.jobLog(&p.Job); err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "job", p)
}

// jobLog reads the end of a job's log; nil where there are no logs at all.
func (s *Server) jobLog(j *jobView) (*logView, error) {
	if s.cfg.Logs == nil {
		return nil, nil
	}
	v := &logView{Download: "/api/v1/jobs/" + string(j.ID) + "/log", File: first(j.Label, "host") + "-" + string(j.ID) + ".log"}
	err := s.cfg.Logs.Job(j.ID, func(l LogLine) error {
		if len(v.Lines) == 2*jobLogLines {
			v.Lines = append(v.Lines[:0], v.Lines[jobLogLines:]...)
			v.Cut += jobLogLines
		}
		v.Lines = append(v.Lines, l)
		return nil
	})
	if over := len(v.Lines) - jobLogLines; over > 0 {
		v.Lines, v.Cut = v.Lines[over:], v.Cut+over
	}
	if errors.Is(err, inventory.ErrNotFound) {
		err = nil
	}
	return v, err
}

// kindText is a job's kind for people.
func kindText(k inventory.JobKind) string {
	switch k {
	case inventory.JobInstall:
		return "Install"
	case inventory.JobReinstall:
		return "Reinstall"
	case inventory.JobFormat:
		return "Format"
	case inventory.JobDeploy:
		return "Deploy"
	}
	return string(k)
}

type jobLogIn struct {
	ID string `path:"id" maxLength:"64"`
}

// jobLogAPI registers the log of a job, of an earlier one too.
func (s *Server) jobLogAPI(a huma.API) {
	huma.Register(a, huma.Operation{OperationID: "job-log", Method: http.MethodGet, Path: "/jobs/{id}/log", Summary: "Read the log of a job, of one that ended too",
		Description: "Plain text, a line each, oldest first; what is there now, without following. The logs of the newest 500 jobs are kept.",
		Responses: map[string]*huma.Response{"200": {Description: "the log", Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}}}, s.sendJobLog)
}

func (s *Server) sendJobLog(_ context.Context, in *jobLogIn) (*huma.StreamResponse, error) {
	if s.cfg.Logs == nil {
		return nil, problem(fmt.Errorf("log of job %s: this appliance installs nothing: %w", clip(in.ID, 64), ErrNotHere))
	}
	id := inventory.JobID(in.ID)
	if err := s.cfg.Store.View(func(tx *inventory.Tx) error { _, err := tx.Job(id); return err }); err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w := humaecho.Unwrap(hc).Response()
		_, err := startStream(w) // however long it takes
		if err == nil {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusOK)
			err = s.cfg.Logs.Job(id, func(l LogLine) error { _, err := w.Write(logText(l)); return err })
		}
		s.ended(hc.Context(), "log of a job", err)
	}}, nil
}

// logText is a line of a log as text.
func logText(l LogLine) []byte {
	return fmt.Appendf(nil, "%s %s\n", l.Time.UTC().Format(time.RFC3339), l.Text)
}
