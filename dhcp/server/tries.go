package server

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/inventory"
)

// bucketForms keeps, by MAC, which form of boot offer a machine's firmware took.
const bucketForms inventory.Bucket = "dhcp_forms"

const maxTries = 2048

// How long one form of offer is given before a repeated DISCOVER gets the next. edk2 gathers offers
// for 4 s and asks again when none will do, an old iPXE ROM asks twice within 3 s
// (captures/NOTES.md). Beside a router the repeat may as well be for want of an address, so
// that takes two rounds; a client that took its address and asks anew was not pleased at once.
const (
	roundServer = 3500 * time.Millisecond
	roundProxy  = 6 * time.Second
	roundTaken  = time.Second
)

// try is how far one machine's firmware got with what it was offered.
type try struct {
	No      int       // which form; see dhcp.View.Try
	Role    dhcp.Role // in which role: the forms differ
	Since   time.Time // when that form was first offered in this round
	Last    time.Time
	Took    bool // it took an address since
	Loaded  bool // it fetched a boot file since
	Chained bool // iPXE asked since: the form works
	saved   savedForm
}

// savedForm is what is on disk of a try.
type savedForm struct {
	Role dhcp.Role `json:"role"`
	No   int       `json:"form"`
}

// tries remembers the form of boot offer that each machine takes. A machine that asks again
// without ever having loaded anything gets the next form; one that loaded iPXE but never got it to
// ask gets the second choice of boot file (R14, R20). Safe for concurrent use.
type tries struct {
	mu   sync.Mutex
	list map[inventory.MAC]*try
}

func newTries() *tries { return &tries{list: map[inventory.MAC]*try{}} }

// next is the try that a DISCOVER of the machine's firmware is answered with.
func (t *tries) next(req *dhcp.Request, role dhcp.Role, now time.Time) int {
	if req.Kind.Stage() != bootfile.StageFirmware {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.list[req.MAC]
	if x == nil {
		return 0
	}
	if x.Role != role {
		*x = try{Role: role, Last: x.Last, saved: x.saved}
	}
	if req.Type == dhcp.RequestMsg && !x.Since.IsZero() {
		x.Took = true
	}
	round := roundProxy
	switch {
	case x.Took:
		round = roundTaken
	case role == dhcp.RoleServer:
		round = roundServer
	}
	if req.Type != dhcp.Discover || x.Since.IsZero() || now.Sub(x.Since) < round {
		return x.No
	}
	switch {
	case x.Chained: // it worked last time
	case x.Loaded:
		if n := fallbackTry(role, req.Arch, x.No); n != x.No {
			x.No = n
		}
	default:
		x.No++
	}
	x.Since, x.Took, x.Loaded, x.Chained = time.Time{}, false, false, false
	return x.No
}

// fallbackTry is the try that differs from no in the boot file alone; no itself when there is one file only.
func fallbackTry(role dhcp.Role, a bootfile.Arch, no int) int {
	first, _ := bootfile.File(a, false)
	second, _ := bootfile.File(a, true)
	if first == second {
		return no
	}
	n := len(dhcp.Forms(role, a))
	return (no + n/2) % n
}

// offered takes in what a decision did with the machine.
func (t *tries) offered(req *dhcp.Request, role dhcp.Role, d *dhcp.Decision, now time.Time) {
	if d.Reply == nil || d.Offered == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.list[req.MAC]
	if req.Kind == dhcp.KindIPXE {
		if x != nil && !x.Since.IsZero() && !x.Chained {
			x.Chained = true
		}
		return
	}
	if req.Kind.Stage() != bootfile.StageFirmware {
		return
	}
	if x == nil {
		t.makeRoom(now)
		x = &try{Role: role}
		t.list[req.MAC] = x
	}
	x.Last = now
	if req.Type == dhcp.Discover && x.Since.IsZero() {
		x.Since = now
	}
}

// makeRoom keeps the list bounded: machines not heard for an hour go, else any one.
func (t *tries) makeRoom(now time.Time) {
	if len(t.list) < maxTries {
		return
	}
	for mac, x := range t.list {
		if now.Sub(x.Last) > time.Hour {
			delete(t.list, mac)
		}
	}
	for mac := range t.list {
		if len(t.list) < maxTries {
			return
		}
		delete(t.list, mac)
	}
}

// loaded records that the machine fetched a boot file.
func (t *tries) loaded(mac inventory.MAC) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.list[mac]; x != nil && !x.Since.IsZero() {
		x.Loaded = true
	}
}

// chained records that iPXE runs on the machine: the form of offer works.
func (t *tries) chained(mac inventory.MAC) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.list[mac]; x != nil && !x.Since.IsZero() {
		x.Chained = true
	}
}

// unsaved are the forms that were found to work and are not on disk yet.
func (t *tries) unsaved() map[inventory.MAC]savedForm {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[inventory.MAC]savedForm{}
	for mac, x := range t.list {
		if now := (savedForm{x.Role, x.No}); x.Chained && now != x.saved && (x.No > 0 || x.saved.No > 0) {
			out[mac], x.saved = now, now
		}
	}
	return out
}

func saveForms(tx *inventory.Tx, forms map[inventory.MAC]savedForm) error {
	for mac, form := range forms {
		if err := tx.PutJSON(bucketForms, mac.String(), form); err != nil {
			return err
		}
		h, err := tx.HostByMAC(mac)
		if errors.Is(err, inventory.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := tx.Note(inventory.Entry{Time: h.LastSeen, HostID: h.ID, Kind: "dhcp.form", By: "firmware",
			Text: "Its firmware took the boot offer in another form than usual; that form is kept for it."}); err != nil {
			return err
		}
	}
	return nil
}

// load reads the forms that worked in earlier runs.
func (t *tries) load(store inventory.Store) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return store.View(func(tx *inventory.Tx) error {
		return tx.Scan(bucketForms, "", "", func(key string, v []byte) (bool, error) {
			mac, err := inventory.ParseMAC(key)
			var f savedForm
			if err == nil && json.Unmarshal(v, &f) == nil && f.No >= 0 {
				t.list[mac] = &try{Role: f.Role, No: f.No, saved: f}
			}
			return len(t.list) < maxTries, nil
		})
	})
}

// watchFiles learns from the boot diary that a machine fetched its boot file.
func (s *Server) watchFiles(ctx context.Context) error {
	for c := range s.cfg.Store.Watch(ctx) {
		if c.Kind != inventory.DiaryGrew || c.Entry == nil || c.Host == "" {
			continue
		}
		k := c.Entry.Kind
		if !strings.HasPrefix(k, "tftp.") && k != "http.file" && k != "http.script" {
			continue
		}
		err := s.cfg.Store.View(func(tx *inventory.Tx) error {
			h, err := tx.Host(c.Host)
			if err != nil {
				return err
			}
			s.tries.loaded(h.MAC)
			if k == "http.script" { // autoexec.ipxe takes iPXE there without another DHCP round
				s.tries.chained(h.MAC)
			}
			return nil
		})
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			s.log.Error("host cannot be read", "err", err)
		}
	}
	return nil
}
