package web

import (
	"bytes"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	stripOpen = 6 // open jobs that the strip names
	stripLast = 5 // ended ones
)

// strip is what every page ends with: the jobs under way and the last that ended.
type strip struct {
	Open []jobView // oldest first
	More int       // further open ones
	Last []jobView // newest first
}

// readStrip reads what the strip shows.
func readStrip(tx *inventory.Tx, l *lookup, now time.Time) (*strip, error) {
	jobs, err := tx.OpenJobs()
	if err != nil {
		return nil, err
	}
	s := &strip{}
	for _, running := range []bool{true, false} { // those that wait come after those that run
		for i := range jobs {
			if running != (jobs[i].State == inventory.JobRunning) {
				continue
			}
			if len(s.Open) == stripOpen {
				s.More++
				continue
			}
			v := viewOfJob(tx, &jobs[i], now)
			v.Asks = l.asks(tx, &jobs[i])
			s.Open = append(s.Open, v)
		}
	}
	// Open jobs are few and ended ones many: the newest that ended are near the end.
	err = tx.JobsBack("", "", func(j inventory.Job) (bool, error) {
		if !j.Open() {
			s.Last = append(s.Last, viewOfJob(tx, &j, now))
		}
		return len(s.Last) < stripLast, nil
	})
	return s, err
}

// strip is readStrip for a page; a page is drawn without it when it cannot be read.
func (s *Server) strip() *strip {
	var out *strip
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		l, err := s.newLookup(tx)
		if err != nil {
			return err
		}
		out, err = readStrip(tx, l, s.cfg.Now())
		return err
	})
	if err != nil {
		s.log.Warn("the last jobs could not be read for a page", "err", err)
		return nil
	}
	return out
}

// withStrip is a view with the strip below it. The strip is looked at every livePoll at most, however much changes.
type withStrip struct {
	view
	s     *Server
	dirty bool
}

func (v *withStrip) changed(hosts []inventory.HostID) ([][]byte, string, error) {
	v.dirty = true
	return v.view.changed(hosts)
}

func (v *withStrip) polled() ([][]byte, error) {
	frags, err := v.view.polled()
	if err != nil || !v.dirty {
		return frags, err
	}
	v.dirty = false
	return v.add(frags)
}

func (v *withStrip) all() ([][]byte, error) {
	frags, err := v.view.all()
	if err != nil {
		return frags, err
	}
	return v.add(frags)
}

func (v *withStrip) add(frags [][]byte) ([][]byte, error) {
	f, err := v.s.fragment("", "strip", base{Strip: v.s.strip(), Now: v.s.cfg.Now()})
	return append(frags, f), err
}

// siteView is a page that is not about machines: parts of it are drawn anew every livePoll, and sent when they changed.
type siteView struct {
	draw func() ([][]byte, error) // nil = nothing but the strip changes
	sent [][]byte
}

func (v *siteView) changed([]inventory.HostID) ([][]byte, string, error) { return nil, "", nil }

func (v *siteView) polled() (out [][]byte, err error) {
	if v.draw == nil {
		return nil, nil
	}
	parts, err := v.draw()
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		if len(v.sent) != len(parts) || !bytes.Equal(v.sent[i], p) {
			out = append(out, p)
		}
	}
	v.sent = parts
	return out, nil
}

func (v *siteView) all() ([][]byte, error) {
	v.sent = nil
	return v.polled()
}
