package web

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
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
	// polled renders what is not in the store.
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
		return newTableView(s)
	}
	h, err := s.host(host)
	if err != nil {
		return nil, err
	}
	hive, err := s.hive()
	return &machineView{s: s, id: h.ID, typed: typed, sent: map[string]string{}, hive: hive.ReadAt}, err
}

// tableView is the machines page.
type tableView struct {
	s     *Server
	dirty bool                        // hosts changed since the summary was drawn
	words map[inventory.HostID]string // what was worth saying of each host
}

func newTableView(s *Server) (*tableView, error) {
	v := &tableView{s: s, words: map[inventory.HostID]string{}}
	p := &machinesPage{base: base{Now: s.cfg.Now()}}
	err := s.cfg.Store.View(p.read)
	for _, r := range p.Rows {
		v.words[inventory.HostID(r.ID)] = r.worth()
	}
	return v, err
}

// worth is what a screen reader should say of a machine: that it needs somebody, or is done; else "".
func (r *row) worth() string {
	switch r.Look.Class {
	case "warn", "fail", "ok":
		return first(r.Name, r.MAC, r.ID) + ": " + r.Look.Word
	}
	return ""
}

func (v *tableView) changed(hosts []inventory.HostID) (out [][]byte, say string, err error) {
	v.dirty = true
	var said []string
	err = v.s.cfg.Store.View(func(tx *inventory.Tx) error {
		l, err := newLookup(tx)
		if err != nil {
			return err
		}
		for _, id := range hosts {
			if id == "" { // the appliance's own diary
				continue
			}
			f, word, err := v.row(tx, id, l)
			if err != nil {
				return err
			}
			out, said = append(out, f), append(said, v.news(id, word)...)
		}
		return nil
	})
	if len(said) > 3 {
		said = append(said[:3], "and more")
	}
	return out, strings.Join(said, "; "), err
}

// news is what is worth saying aloud: that a machine needs somebody, or is done.
func (v *tableView) news(id inventory.HostID, word string) []string {
	old := v.words[id]
	v.words[id] = word
	if word == old || word == "" {
		return nil
	}
	return []string{word}
}

// row renders one host; say is "" where nobody needs to hear of it.
func (v *tableView) row(tx *inventory.Tx, id inventory.HostID, l *lookup) (frag []byte, say string, err error) {
	h, err := tx.Host(id)
	if errors.Is(err, inventory.ErrNotFound) || err == nil && h.State == inventory.StateIgnored {
		frag, err = v.s.fragment("machines", "gone", "h-"+string(id))
		return frag, "", err
	}
	if err != nil {
		return nil, "", err
	}
	r := rowOf(&h, l, v.s.cfg.Now())
	frag, err = v.s.fragment("machines", "row", r)
	return frag, r.worth(), err
}

// polled is the proof line and the warnings; also what is counted over all hosts, which is too much work for every change.
func (v *tableView) polled() ([][]byte, error) {
	p := &machinesPage{base: base{Now: v.s.cfg.Now()}, Warnings: v.s.warnings(), Proof: v.s.proof()}
	hive, err := v.s.hive()
	if err != nil {
		return nil, err
	}
	p.Roles, p.HiveErr = sortedRoles(hive), hive.Error
	names := []string{"proof", "warnings", "assign"}
	if v.dirty {
		v.dirty = false
		if err := v.s.cfg.Store.View(p.readSums); err != nil {
			return nil, err
		}
		names = append(names, "chips")
	}
	return v.parts(p, names...)
}

func (v *tableView) all() ([][]byte, error) {
	p := &machinesPage{base: base{Now: v.s.cfg.Now()}, Warnings: v.s.warnings(), Proof: v.s.proof()}
	if err := v.s.cfg.Store.View(p.read); err != nil {
		return nil, err
	}
	v.dirty = false
	return v.parts(p, "rows", "chips", "proof", "warnings", "assign")
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
