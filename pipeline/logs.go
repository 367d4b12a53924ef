package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func (r *Runner) logPath(id inventory.JobID) string {
	return filepath.Join(r.cfg.Dir, "logs", "jobs", string(id)+".log")
}

// ended reports whether no more lines will come.
func (l *joblog) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

// logFor opens the log of a job. A file that cannot be opened costs the file, not the job.
func (r *Runner) logFor(j *inventory.Job) *joblog {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.logs[j.ID]
	if old != nil && !old.ended() {
		return old
	}
	// Jobs of one host are made one after the other, and no job prints 65536 lines a second.
	l, err := openLog(r.logPath(j.ID), uint64(max(j.CreatedAt.Unix(), 0))<<16, r.masks, r.cfg.Now)
	r.report("job log", err)
	if old != nil && old.last > l.last {
		l.ring, l.last = old.ring, old.last
	}
	r.logs[j.ID] = l
	close(r.opened)
	r.opened = make(chan struct{})
	return l
}

// keepLogs is how many logs of jobs are kept on disk; the ones written to longest ago go first.
const keepLogs = 500

// trimLogs removes the oldest logs.
func (r *Runner) trimLogs() error {
	entries, err := os.ReadDir(filepath.Dir(r.logPath("x")))
	if err != nil {
		return fmt.Errorf("job logs: %w", err)
	}
	age := map[string]time.Time{}
	var names []string
	for _, e := range entries {
		if st, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".log") {
			names = append(names, e.Name())
			age[e.Name()] = st.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return age[b].Compare(age[a]) })
	for _, n := range names[min(len(names), keepLogs):] {
		path := filepath.Join(filepath.Dir(r.logPath("x")), n)
		err = errors.Join(err, os.RemoveAll(path), os.RemoveAll(path+".1"))
	}
	return err
}

// closeLog ends the log of a job that has ended.
func (r *Runner) closeLog(id inventory.JobID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.logs[id]; l != nil {
		l.close()
		if !l.lost { // what the full disk did not take is read from memory until the appliance stops or the job is tried again
			delete(r.logs, id)
		}
	}
}

// closeEnded ends the log of a job that ended without the runner: cancelled while it waited.
func (r *Runner) closeEnded(id inventory.JobID) error {
	r.mu.Lock()
	open := r.logs[id] != nil || r.aheadDone[id] != ""
	for _, w := range r.active {
		open = open && w.id != id
	}
	r.mu.Unlock()
	if !open {
		return nil
	}
	return r.cfg.Store.View(func(tx *inventory.Tx) error {
		j, err := tx.Job(id)
		if err == nil && !j.Open() || isNotFound(err) {
			r.closeLog(id)
			r.mu.Lock()
			delete(r.aheadDone, id)
			r.mu.Unlock()
			return nil
		}
		return err
	})
}

// Log gives the lines of a host's open or last job after line `after` (0 = all that is kept, at most
// 5000). Page.More tells when to ask again; it is nil once the job has ended. A host without a job has
// an empty page. ErrNotFound.
func (r *Runner) Log(host inventory.HostID, after uint64) (Page, error) {
	j, err := r.lastJob(host)
	if err != nil || j.ID == "" {
		return Page{}, err
	}
	if j.Open() { // also a queued one: its lines will come here
		l := r.logFor(&j)
		if j, err = r.lastJob(host); err != nil {
			return Page{}, err
		}
		if j.Open() {
			return l.page(j.ID, after), nil
		}
		r.closeLog(j.ID) // it ended in between
	}
	r.mu.Lock()
	kept := r.logs[j.ID]
	r.mu.Unlock()
	if kept != nil && kept.ended() {
		return kept.page(j.ID, after), nil
	}
	lines, err := readLog(r.logPath(j.ID))
	return Page{Job: j.ID, Lines: since(lines, after)}, err
}

// lastJob is the host's open or last job; the zero job when there never was one.
func (r *Runner) lastJob(host inventory.HostID) (j inventory.Job, err error) {
	err = r.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.Host(host)
		if err != nil || h.JobID == "" {
			return err
		}
		j, err = tx.Job(h.JobID)
		return ignoreNotFound(err)
	})
	return j, err
}

// Tail gives the last n lines of a host's open or last job, oldest first. ErrNotFound.
func (r *Runner) Tail(host inventory.HostID, n int) ([]Line, error) {
	p, err := r.Log(host, 0)
	if over := len(p.Lines) - n; over > 0 {
		p.Lines = p.Lines[over:]
	}
	return p.Lines, err
}

// Follow calls fn with every line after `after` that is kept, on disk or in memory, then with new ones as they come, those of later jobs
// too, until ctx ends (nil) or fn fails (its error). ErrNotFound.
func (r *Runner) Follow(ctx context.Context, host inventory.HostID, after uint64, fn func(Line) error) error {
	for {
		r.mu.Lock()
		opened := r.opened
		r.mu.Unlock()
		p, err := r.Log(host, after)
		if err != nil {
			return err
		}
		if len(p.Lines) > 0 && p.Lines[0].No > after+1 { // older ones than memory has may be in the file
			if err := eachLine(r.logPath(p.Job), func(l Line) error {
				if l.No <= after || l.No >= p.Lines[0].No {
					return nil
				}
				after = l.No
				return fn(l)
			}); err != nil {
				return err
			}
		}
		for _, l := range p.Lines {
			if err := fn(l); err != nil {
				return err
			}
			after = l.No
		}
		more := p.More
		if more == nil {
			more = opened
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}

// JobLog calls fn with every line that is kept of one job's log, oldest first, until fn fails (its error). A job whose log
// was trimmed or that printed nothing has none. ErrNotFound.
func (r *Runner) JobLog(id inventory.JobID, fn func(Line) error) error {
	if err := r.cfg.Store.View(func(tx *inventory.Tx) error {
		_, err := tx.Job(id)
		return err
	}); err != nil {
		return err
	}
	r.mu.Lock()
	kept := r.logs[id]
	r.mu.Unlock()
	last := uint64(0)
	if err := eachLine(r.logPath(id), func(l Line) error { last = l.No; return fn(l) }); err != nil || kept == nil {
		return err
	}
	for _, l := range kept.page(id, last).Lines { // what a full disk did not take
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}
