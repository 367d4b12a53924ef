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

const (
	maxTries = 2048
	// roundOf is how long one form of offer is given: edk2 gathers offers for 4 s, an
	// old iPXE ROM sends its DISCOVER twice within 3 s (captures/NOTES.md).
	roundOf = 6 * time.Second
)

// try is how far one machine's firmware got with what it was offered.
type try struct {
	No      int       // which form; see dhcp.View.Try
	Since   time.Time // when that form was first offered in this round
	Last    time.Time
	Loaded  bool // it fetched a boot file since
	Chained bool // iPXE asked since: the form works
	unsaved bool
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
func (t *tries) next(req *dhcp.Request, now time.Time) int {
	if req.Kind.Stage() != bootfile.StageFirmware {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.list[req.MAC]
	if x == nil {
		return 0
	}
	if req.Type != dhcp.Discover || x.Since.IsZero() || now.Sub(x.Since) < roundOf {
		return x.No
	}
	switch {
	case x.Chained: // it worked last time
	case x.Loaded:
		if n := fallbackTry(req.Arch, x.No); n != x.No {
			x.No = n
		}
	default:
		x.No++
	}
	x.Since, x.Loaded, x.Chained = time.Time{}, false, false
	return x.No
}

// fallbackTry is the try that differs from no in the boot file alone; no itself when there is one file only.
func fallbackTry(a bootfile.Arch, no int) int {
	first, _ := bootfile.File(a, false)
	second, _ := bootfile.File(a, true)
	if first == second {
		return no
	}
	n := len(dhcp.Forms(dhcp.RoleServer, a))
	return (no + n/2) % n
}

// offered takes in what a decision did with the machine.
func (t *tries) offered(req *dhcp.Request, d *dhcp.Decision, now time.Time) {
	if d.Reply == nil || d.Offered == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.list[req.MAC]
	if req.Kind == dhcp.KindIPXE {
		if x != nil && !x.Since.IsZero() && !x.Chained {
			x.Chained, x.unsaved = true, x.No > 0
		}
		return
	}
	if req.Kind.Stage() != bootfile.StageFirmware {
		return
	}
	if x == nil {
		t.makeRoom(now)
		x = &try{}
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

// unsaved are the forms that were found to work and are not on disk yet.
func (t *tries) unsaved() map[inventory.MAC]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[inventory.MAC]int{}
	for mac, x := range t.list {
		if x.unsaved {
			out[mac], x.unsaved = x.No, false
		}
	}
	return out
}

func saveForms(tx *inventory.Tx, forms map[inventory.MAC]int) error {
	for mac, no := range forms {
		if err := tx.PutJSON(bucketForms, mac.String(), no); err != nil {
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
			x := &try{}
			if err == nil && json.Unmarshal(v, &x.No) == nil && x.No >= 0 {
				t.list[mac] = x
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
		if k := c.Entry.Kind; !strings.HasPrefix(k, "tftp.") && k != "http.file" {
			continue
		}
		err := s.cfg.Store.View(func(tx *inventory.Tx) error {
			h, err := tx.Host(c.Host)
			if err == nil {
				s.tries.loaded(h.MAC)
			}
			return err
		})
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			s.log.Error("host cannot be read", "err", err)
		}
	}
	return nil
}
