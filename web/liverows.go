package web

import (
	"errors"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// tableView is the machines page.
type tableView struct {
	s     *Server
	query tableQuery
	words map[inventory.HostID]string    // what was worth saying of each host
	due   map[inventory.HostID]time.Time // when a row says something else without a change of its host
	sent  map[string]string              // the parts beside the rows, as they were sent last
}

func newTableView(s *Server, q tableQuery) (*tableView, error) {
	v := &tableView{s: s, query: q, words: map[inventory.HostID]string{}, due: map[inventory.HostID]time.Time{}, sent: map[string]string{}}
	p := v.page()
	err := s.cfg.Store.View(p.read)
	if errors.Is(err, inventory.ErrInvalid) { // a cursor that is none: the page was never drawn with it
		v.query.After, err = "", nil
	}
	for i := range p.Rows {
		v.drew(&p.Rows[i])
	}
	return v, err
}

func (v *tableView) page() *machinesPage {
	return v.s.newMachinesPage(base{Now: v.s.cfg.Now()}, v.query)
}

// drew notes what a row says, and when it will say something else by itself.
func (v *tableView) drew(r *row) (news string) {
	id := inventory.HostID(r.ID)
	word, old := r.worth(), v.words[id]
	v.words[id] = word
	delete(v.due, id)
	if late := r.Last.T.Add(stuckAfter); r.State == inventory.StateSeen && late.After(r.Last.Now) {
		v.due[id] = late
	}
	if word == old {
		return ""
	}
	return word
}

func (v *tableView) changed(hosts []inventory.HostID) (out [][]byte, say string, err error) {
	var said []string
	p := v.page()
	err = v.s.cfg.Store.View(func(tx *inventory.Tx) error {
		l, err := v.s.newLookup(tx)
		if err != nil {
			return err
		}
		if err := p.readSums(tx); err != nil {
			return err
		}
		for _, id := range hosts {
			if id == "" { // the appliance's own diary
				continue
			}
			f, word, err := v.row(tx, id, l, p)
			if err != nil {
				return err
			}
			out = append(out, f)
			if word != "" {
				said = append(said, word)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(said) > 3 {
		said = append(said[:3], "and more")
	}
	sums, err := v.parts(p, "chips", "ignored")
	return append(out, sums...), strings.Join(said, "; "), err
}

// row renders one host; say is "" where nobody needs to hear of it.
func (v *tableView) row(tx *inventory.Tx, id inventory.HostID, l *lookup, p *machinesPage) (frag []byte, say string, err error) {
	h, err := tx.Host(id)
	if errors.Is(err, inventory.ErrNotFound) || err == nil && h.State == inventory.StateIgnored && v.query.State != inventory.StateIgnored {
		delete(v.due, id)
		frag, err = v.s.fragment("machines", "gone", "h-"+string(id))
		return frag, "", err
	}
	if err != nil {
		return nil, "", err
	}
	r := rowOf(&h, l, p.Now)
	html, err := v.s.rowHTML(r, v.adds(&r, p.Total))
	return []byte(html), v.drew(&r), err
}

// adds reports whether a page that does not show the row yet should add it: while all machines fit on one page, each; else
// those that belong at the top of the first.
func (v *tableView) adds(r *row, total int) bool {
	q := v.query
	fits := q.After == "" && (total <= maxRows || r.Need())
	return fits && (q.State == "" || q.State == r.State) && r.finds(q.words())
}

// polled is what is not in the store, and the rows that time changed.
func (v *tableView) polled() (out [][]byte, err error) {
	p := v.page()
	p.Warnings, p.Proof = v.s.warnings(), v.s.proof()
	hive, err := v.s.hive()
	if err != nil {
		return nil, err
	}
	p.Roles, p.HiveErr = sortedRoles(hive), hive.Error
	var late []inventory.HostID
	for id, at := range v.due {
		if !at.After(p.Now) {
			late = append(late, id)
		}
	}
	if len(late) > 0 {
		if out, _, err = v.changed(late); err != nil {
			return nil, err
		}
	}
	parts, err := v.parts(p, "proof", "warnings", "assign", "give-roles")
	return append(out, parts...), err
}

func (v *tableView) all() ([][]byte, error) {
	p := v.page()
	p.Warnings, p.Proof = v.s.warnings(), v.s.proof()
	if err := v.s.cfg.Store.View(p.read); err != nil {
		return nil, err
	}
	clear(v.sent)
	return v.parts(p, "rows", "pages", "chips", "ignored", "proof", "warnings", "assign", "give-roles")
}

// parts renders those of the named parts that are not as they were sent last.
func (v *tableView) parts(p *machinesPage, names ...string) (out [][]byte, err error) {
	for _, n := range names {
		f, err := v.s.fragment("machines", n, p)
		if err != nil {
			return nil, err
		}
		if n != "rows" {
			if v.sent[n] == string(f) {
				continue
			}
			v.sent[n] = string(f)
		}
		out = append(out, f)
	}
	return out, nil
}
