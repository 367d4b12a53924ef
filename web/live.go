package web

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	// liveGather is how long changes are gathered before they are sent together.
	liveGather = 150 * time.Millisecond
	// livePoll is how often what is not in the store (the proof line, warnings) is looked at.
	livePoll = 2 * time.Second
)

// view renders the fragments of one open page.
type view interface {
	// changed renders what the changes of these hosts mean for the page; say is for a screen reader, "" = nothing.
	changed(hosts []inventory.HostID) (frags [][]byte, say string, err error)
	// polled renders what is not in the store, where it is not what was sent last.
	polled() ([][]byte, error)
	// all renders everything, for a page that missed changes.
	all() ([][]byte, error)
}

// live is the stream of fragments of one open page: events "patch" (elements that replace those with the same id).
func (s *Server) live(c echo.Context) error {
	r := c.Request()
	v, err := s.viewOf(c.QueryParam("page"), c.QueryParam("host"), c.QueryParams())
	if err != nil {
		return err
	}
	out, err := startSSE(c.Response())
	if err != nil {
		return err
	}
	last := first(r.Header.Get("Last-Event-ID"), c.QueryParam("since"))
	ctx, cancel := s.whileSignedIn(r.Context())
	defer cancel()
	s.ended(ctx, "page stream ended", s.feedPage(ctx, out, v, last))
	return nil
}

// pager sends the fragments of one open page.
type pager struct {
	s   *Server
	out *sse
	v   view
	seq uint64
}

func (s *Server) feedPage(ctx context.Context, out *sse, v view, last string) error {
	p := pager{s: s, out: out, v: v}
	seq, ok := s.feed.parse(last)
	p.seq = seq
	if err := errors.Join(out.retry(), out.send("hello", "", nil)); err != nil {
		return err
	}
	if !ok {
		if err := p.everything(); err != nil {
			return err
		}
	}
	poll, idle := time.NewTicker(livePoll), time.NewTicker(ssePing)
	defer poll.Stop()
	defer idle.Stop()
	for {
		wake, err := p.changes()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			select { // let more come, they go out together
			case <-ctx.Done():
				return nil
			case <-time.After(liveGather):
			}
		case <-poll.C:
			err = p.poll()
		case <-idle.C:
			err = p.out.ping()
		}
		if err != nil {
			return err
		}
	}
}

// changes sends what changed since the last time.
func (p *pager) changes() (<-chan struct{}, error) {
	evs, missed, wake := p.s.feed.since(p.seq)
	if missed {
		return wake, p.everything()
	}
	if len(evs) == 0 {
		return wake, nil
	}
	var hosts []inventory.HostID
	seen := map[inventory.HostID]bool{}
	for _, ev := range evs {
		if !seen[ev.host] && ev.name != "log" { // pages have a stream of its own for the log
			seen[ev.host] = true
			hosts = append(hosts, ev.host)
		}
		p.seq = ev.seq
	}
	if len(hosts) == 0 {
		return wake, nil
	}
	frags, say, err := p.v.changed(hosts)
	if err = p.send(frags, err); err == nil && say != "" {
		err = p.out.send("say", p.s.feed.id(p.seq), []byte(say))
	}
	return wake, err
}

func (p *pager) everything() error {
	p.seq = p.s.feed.now()
	return p.send(p.v.all())
}

// poll sends what is not in the store and what time alone changed.
func (p *pager) poll() error { return p.send(p.v.polled()) }

func (p *pager) send(frags [][]byte, err error) error {
	if err != nil || len(frags) == 0 {
		return err
	}
	return p.out.send("patch", p.s.feed.id(p.seq), bytes.Join(frags, []byte("\n")))
}

// viewOf is what a page shows live: one machine, the table of machines, or another page by its name.
func (s *Server) viewOf(page, host string, typed url.Values) (view, error) {
	v, err := s.innerView(page, host, typed)
	return &withStrip{view: v, s: s}, err
}

func (s *Server) innerView(page, host string, typed url.Values) (view, error) {
	switch {
	case page == "network":
		return &siteView{draw: s.networkParts}, nil
	case page != "":
		return &siteView{}, nil
	case host == "":
		return newTableView(s, parseTableQuery(typed))
	}
	h, err := s.host(host)
	if err != nil {
		return nil, err
	}
	hive, err := s.hive()
	return &machineView{s: s, id: h.ID, typed: typed, sent: map[string]string{}, hive: hive.ReadAt}, err
}
