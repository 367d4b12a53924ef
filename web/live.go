package web

import (
	"bytes"
	"context"
	"errors"
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
	// changed renders what the changes of these hosts mean for the page.
	changed(hosts []inventory.HostID) ([][]byte, error)
	// polled renders what is not in the store.
	polled() ([][]byte, error)
	// all renders everything, for a page that missed changes.
	all() ([][]byte, error)
}

// live is the stream of fragments of one open page: events "patch" (elements that replace those with the same id).
func (s *Server) live(c echo.Context) error {
	r := c.Request()
	v, err := s.viewOf(c.QueryParam("host"))
	if err != nil {
		return err
	}
	out := startSSE(c.Response())
	last := first(r.Header.Get("Last-Event-ID"), c.QueryParam("since"))
	if err := s.feedPage(r.Context(), out, v, last); err != nil && r.Context().Err() == nil {
		s.log.Debug("page stream ended", "err", err)
	}
	return nil
}

// pager sends the fragments of one open page.
type pager struct {
	s      *Server
	out    *sse
	v      view
	seq    uint64
	polled []byte // what was sent last of what is not in the store
}

func (s *Server) feedPage(ctx context.Context, out *sse, v view, last string) error {
	p := pager{s: s, out: out, v: v}
	seq, ok := s.feed.parse(last)
	p.seq = seq
	if err := out.send("hello", "", nil); err != nil {
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
		if !seen[ev.host] {
			seen[ev.host] = true
			hosts = append(hosts, ev.host)
		}
		p.seq = ev.seq
	}
	return wake, p.send(p.v.changed(hosts))
}

func (p *pager) everything() error {
	p.seq = p.s.feed.now()
	return p.send(p.v.all())
}

// poll sends what is not in the store, when it is not what was sent last.
func (p *pager) poll() error {
	frags, err := p.v.polled()
	if err != nil {
		return err
	}
	all := bytes.Join(frags, []byte("\n"))
	if bytes.Equal(all, p.polled) {
		return nil
	}
	p.polled = all
	return p.send([][]byte{all}, nil)
}

func (p *pager) send(frags [][]byte, err error) error {
	if err != nil || len(frags) == 0 {
		return err
	}
	return p.out.send("patch", p.s.feed.id(p.seq), bytes.Join(frags, []byte("\n")))
}

// viewOf is the view of the machines page, or of one machine's page.
func (s *Server) viewOf(host string) (view, error) {
	if host == "" {
		return &tableView{s: s}, nil
	}
	h, err := s.host(host)
	return &machineView{s: s, id: h.ID, sent: map[string]string{}}, err
}

// tableView is the machines page.
type tableView struct {
	s     *Server
	dirty bool // hosts changed since the summary was drawn
}

func (v *tableView) changed(hosts []inventory.HostID) (out [][]byte, err error) {
	v.dirty = true
	err = v.s.cfg.Store.View(func(tx *inventory.Tx) error {
		hive, err := tx.Hive()
		if err != nil {
			return err
		}
		for _, id := range hosts {
			if id == "" { // the appliance's own diary
				continue
			}
			f, err := v.row(tx, id, hive.Roles)
			if err != nil {
				return err
			}
			out = append(out, f)
		}
		return nil
	})
	return out, err
}

func (v *tableView) row(tx *inventory.Tx, id inventory.HostID, roles map[string]inventory.Role) ([]byte, error) {
	h, err := tx.Host(id)
	if errors.Is(err, inventory.ErrNotFound) || err == nil && h.State == inventory.StateIgnored {
		return v.s.fragment("machines", "gone", "h-"+string(id))
	}
	if err != nil {
		return nil, err
	}
	return v.s.fragment("machines", "row", rowOf(&h, roles, v.s.cfg.Now()))
}

// polled is the proof line and the warnings; also what is counted over all hosts, which is too much work for every change.
func (v *tableView) polled() ([][]byte, error) {
	p := &machinesPage{base: base{Now: v.s.cfg.Now()}, Warnings: v.s.warnings(), Proof: v.s.proof()}
	names := []string{"proof", "warnings"}
	if v.dirty {
		v.dirty = false
		if err := v.s.cfg.Store.View(p.read); err != nil {
			return nil, err
		}
		names = append(names, "chips", "tasks")
	}
	return v.parts(p, names...)
}

func (v *tableView) all() ([][]byte, error) {
	p := &machinesPage{base: base{Now: v.s.cfg.Now()}, Warnings: v.s.warnings(), Proof: v.s.proof()}
	if err := v.s.cfg.Store.View(p.read); err != nil {
		return nil, err
	}
	v.dirty = false
	return v.parts(p, "rows", "chips", "tasks", "proof", "warnings")
}

func (v *tableView) parts(p *machinesPage, names ...string) (out [][]byte, err error) {
	for _, n := range names {
		f, err := v.s.fragment("machines", n, p)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}
