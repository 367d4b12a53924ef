package server

import (
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	Took    bool      // it took an address since
	Loaded  bool      // it fetched a boot file since
	Chained bool      // iPXE ran since: the form works
	saved   savedForm
	place   *list.Element // in tries.order
}

// savedForm is what is on disk of a try.
type savedForm struct {
	Role dhcp.Role `json:"role"`
	No   int       `json:"form"`
}

// tries remembers the form of boot offer that each machine takes. A machine that asks again
// without ever having loaded anything gets the next form; one that loaded iPXE but never got it to
// run gets the second choice of boot file (R14, R20). It keeps the maxTries machines heard last; what
// worked for a host is on disk as well. Safe for concurrent use.
type tries struct {
	mu     sync.Mutex
	list   map[inventory.MAC]*try
	order  *list.List                  // of inventory.MAC, heard longest ago first
	stored map[inventory.MAC]savedForm // what is on disk: few firmwares need another form than the first
}

func newTries() *tries {
	return &tries{list: map[inventory.MAC]*try{}, order: list.New(), stored: map[inventory.MAC]savedForm{}}
}

// load reads what is on disk.
func (t *tries) load(store inventory.Store) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return store.View(func(tx *inventory.Tx) error {
		return tx.Scan(bucketForms, "", "", func(k string, v []byte) (bool, error) {
			mac, err := inventory.ParseMAC(k)
			var form savedForm
			if err = errors.Join(err, json.Unmarshal(v, &form)); err != nil {
				return false, fmt.Errorf("record %s/%s: %w", bucketForms, k, err)
			}
			t.stored[mac] = form
			return true, nil
		})
	})
}

// of is the machine's try, made when new, from what is on disk.
func (t *tries) of(mac inventory.MAC, role dhcp.Role) *try {
	if x := t.list[mac]; x != nil {
		t.order.MoveToBack(x.place)
		return x
	}
	if len(t.list) >= maxTries {
		oldest := t.order.Front()
		delete(t.list, oldest.Value.(inventory.MAC))
		t.order.Remove(oldest)
	}
	x := &try{Role: role, saved: t.stored[mac], place: t.order.PushBack(mac)}
	if x.saved.Role == role {
		x.No = x.saved.No
	}
	t.list[mac] = x
	return x
}

// next is the try that a message of the machine's firmware is answered with.
func (t *tries) next(req *dhcp.Request, role dhcp.Role, now time.Time) int {
	if req.Kind.Stage() != bootfile.StageFirmware {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.of(req.MAC, role)
	if x.Role != role {
		*x = try{Role: role, saved: x.saved, place: x.place}
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
	x.saved = t.stored[req.MAC] // it may not have been a host yet when it worked last
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
func (t *tries) offered(req *dhcp.Request, d *dhcp.Decision, now time.Time) {
	if d.Reply == nil || d.Offered == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.list[req.MAC]
	switch {
	case x == nil:
	case req.Kind == dhcp.KindIPXE:
		x.Chained = x.Chained || !x.Since.IsZero()
	case req.Kind.Stage() == bootfile.StageFirmware && req.Type == dhcp.Discover && x.Since.IsZero():
		x.Since = now
	}
}

// fetched records that the machine fetched something: a boot file, or, when ipxe, a thing only a
// running iPXE asks for.
func (t *tries) fetched(mac inventory.MAC, ipxe bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.list[mac]; x != nil && !x.Since.IsZero() {
		x.Loaded, x.Chained = true, x.Chained || ipxe
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

// onDisk takes in that forms were saved.
func (t *tries) onDisk(forms map[inventory.MAC]savedForm) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.stored, forms)
}

// saveForms writes those of hosts, and leaves the others out of forms: a stranger could make up any number.
func saveForms(tx *inventory.Tx, forms map[inventory.MAC]savedForm) error {
	for mac, form := range forms {
		h, err := tx.HostByMAC(mac)
		if errors.Is(err, inventory.ErrNotFound) {
			delete(forms, mac)
			continue
		}
		if err != nil {
			return err
		}
		if err := tx.PutJSON(bucketForms, mac.String(), form); err != nil {
			return err
		}
		if err := tx.Note(inventory.Entry{Time: h.LastSeen, HostID: h.ID, Kind: "dhcp.form", By: "firmware",
			Text: "Its firmware took the boot offer in another form than usual; that form is kept for it."}); err != nil {
			return err
		}
	}
	return nil
}

// learn follows the inventory: which hosts there are, and, from the boot diary, that a machine fetched its boot file or that its iPXE runs:
// autoexec.ipxe takes it to its script without another DHCP round.
func (s *Server) learn(changes <-chan inventory.Change) error {
	for c := range changes {
		if err := s.hosts.follow(s.cfg.Store, c); err != nil && !errors.Is(err, inventory.ErrNotFound) {
			s.log.Error("host cannot be read", "err", err)
		}
		if c.Kind != inventory.DiaryGrew || c.Entry == nil || c.Host == "" {
			continue
		}
		kind, ipxe := c.Entry.Kind, c.Entry.By == "ipxe"
		if kind != "tftp.file" && !(kind == "http.file" && ipxe) && kind != "http.script" {
			continue
		}
		err := s.cfg.Store.View(func(tx *inventory.Tx) error {
			h, err := tx.Host(c.Host)
			if err == nil {
				s.tries.fetched(h.MAC, ipxe || kind == "http.script")
			}
			return err
		})
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			s.log.Error("host cannot be read", "err", err)
		}
	}
	return nil
}
