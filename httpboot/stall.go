package httpboot

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// A boot that stops half-way gives no sign: the machine just sits there. The watch reads every
// line of the boot diaries and adds the verdict when the next milestone does not come.

// stage0Phrase marks the script lines after which stage-0 is expected to start.
const stage0Phrase = "it boots stage-0"

// initrdNext marks the lines of stage-0's kernel, after which its initrd is expected.
const initrdNext = "; its initrd comes next"

// expectation is what should follow a milestone, and the verdict if it does not.
type expectation struct {
	within  time.Duration
	verdict string
}

// Times are what slow machines need and a half: spanning tree up to a minute, TFTP at a few
// hundred kB/s, a kernel that looks for disks for two minutes.
var (
	afterOffer = expectation{90 * time.Second, "It was offered a boot file and never asked for it. " +
		"Does another server answer it as well (Network page)? Is network boot of the other kind (UEFI or BIOS) switched on in its firmware, and the firewall on this appliance open for TFTP (UDP 69)?"}
	afterBootFile = expectation{90 * time.Second, "It loaded iPXE, but iPXE never asked what to boot. " +
		"With Secure Boot on, its firmware refuses iPXE: switch it off. Else iPXE may not work with its network card: power it on again, another build of iPXE is tried."}
	afterIPXE = expectation{90 * time.Second, "iPXE runs and never fetched its script. Is the boot listener's port open in this appliance's firewall? Its screen shows iPXE's error with a link."}
	afterCode = expectation{4 * time.Minute, "It fetched its script and never loaded all of stage-0. Its screen shows iPXE's error with a link; a bad cable or a full disk on the appliance are usual causes."}
	afterLoad = expectation{5 * time.Minute, "It loaded stage-0, which never checked in. Look at its screen: too little memory (stage-0 needs about 2 GB), a kernel that stops, and no driver for its network card are usual causes. " +
		"Kernel arguments for this host may help (console=ttyS0, nomodeset)."}
	afterStage0 = expectation{3 * time.Minute, "Stage-0 runs and has an address, but never checked in. Its screen says why (lines that begin with hatchery-agent)."}
)

// expect is what should follow a diary's line; known is false for lines that say nothing of
// a boot's progress. A zero expectation ends the wait.
func expect(e inventory.Entry) (x expectation, known bool) {
	switch e.Kind {
	case "dhcp.offer", "dhcp.proxy-offer", "dhcp.ack":
		switch e.By {
		case "firmware":
			return afterOffer, true
		case "ipxe":
			return afterIPXE, true
		case "stage-0":
			return afterStage0, true
		}
	case "tftp.file":
		switch {
		case e.Level != "": // broke off: it may ask again, or not
			return afterOffer, true
		case e.By == "ipxe":
			return afterIPXE, true
		}
		return afterBootFile, true
	case "http.file":
		switch {
		case e.By == "firmware":
			return afterBootFile, true
		case e.By != "ipxe": // a person or a program looks at the files
			return expectation{}, false
		case strings.Contains(e.Text, initrdNext):
			return afterCode, true
		}
		return afterLoad, true
	case "http.script":
		if strings.Contains(e.Text, stage0Phrase) {
			return afterCode, true
		}
		return expectation{}, true
	case "checkin", "join":
		return expectation{}, true
	}
	return expectation{}, false
}

// waiting is one host under way.
type waiting struct {
	since   time.Time // of the milestone: lines about earlier packets may be written later
	due     time.Time // of the next one; zero = nothing is expected
	verdict string
}

// from is the same wait, begun now.
func (x waiting) from(now time.Time) waiting {
	if !x.due.IsZero() {
		x.due = now.Add(x.due.Sub(x.since))
	}
	x.since = now
	return x
}

// stalls keeps what every boot under way waits for. One goroutine uses it.
type stalls struct {
	store inventory.Store
	now   func() time.Time
	hosts map[inventory.HostID]waiting
	// loading reports whether a host loads stage-0 now, however long that takes; nil = nobody knows.
	loading func(inventory.HostID) bool
}

// Bounds of what is watched.
const (
	maxWaiting  = 4096
	forgetAfter = 10 * time.Minute
)

func (w *stalls) see(e inventory.Entry) {
	x, known := expect(e)
	old, watched := w.hosts[e.HostID]
	if !known || e.HostID == "" || e.Time.Before(old.since) || !watched && len(w.hosts) >= maxWaiting {
		return
	}
	next := waiting{since: e.Time}
	if x.within > 0 {
		next.due, next.verdict = e.Time.Add(x.within), x.verdict
	}
	w.hosts[e.HostID] = next
}

// tick writes the verdicts that are due.
func (w *stalls) tick() error {
	now := w.now()
	due := map[inventory.HostID]waiting{}
	for id, x := range w.hosts {
		if w.loading != nil && w.loading(id) {
			w.hosts[id] = x.from(now)
			continue
		}
		if !x.due.IsZero() && now.After(x.due) {
			due[id] = x
			w.hosts[id] = waiting{since: x.since}
		} else if now.Sub(x.since) > forgetAfter {
			delete(w.hosts, id)
		}
	}
	if len(due) == 0 {
		return nil
	}
	return w.store.Update(func(tx *inventory.Tx) error {
		for id, x := range due {
			h, err := tx.Host(id)
			if err != nil || h.State == inventory.StateIgnored || h.ReportedAt.After(x.since) {
				continue // forgotten meanwhile, or stage-0 reports: it only renewed its address
			}
			if err := tx.Note(inventory.Entry{Time: now, HostID: id, Kind: "stall", Level: "warn", By: "hatchery", Text: x.verdict}); err != nil {
				return err
			}
		}
		return nil
	})
}

// At the start everything netboots perhaps, so what was under way is looked for in steps.
const (
	resumeEvery  = 20 * time.Millisecond
	resumeAtOnce = 100 // hosts
)

// resume finds the boots that were under way when the appliance stopped, of some hosts behind the one given: each recent
// host's last line that says something. It returns what to go on behind; "" = that was all.
func (w *stalls) resume(after inventory.HostID) (next inventory.HostID, err error) {
	since := w.now().Add(-10 * time.Minute)
	err = w.store.View(func(tx *inventory.Tx) error {
		hosts, more, err := tx.Hosts(after, resumeAtOnce)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if h.LastSeen.Before(since) {
				continue
			}
			if err := w.lastLine(tx, h.ID); err != nil {
				return err
			}
		}
		next = more
		return nil
	})
	return next, err
}

func (w *stalls) lastLine(tx *inventory.Tx, id inventory.HostID) error {
	n := 0
	return tx.ScanBack(inventory.BucketDiary, string(id)+"/", "", func(_ string, v []byte) (bool, error) {
		var e inventory.Entry
		if err := json.Unmarshal(v, &e); err != nil {
			return false, err
		}
		if e.Kind == "stall" { // said already
			return false, nil
		}
		_, known := expect(e)
		if known {
			w.see(e)
		}
		n++
		return !known && n < 20, nil
	})
}

// watchStalls reads the change feed until ctx ends.
func (s *Server) watchStalls(ctx context.Context) {
	changes := s.cfg.Store.Watch(ctx)
	w := &stalls{store: s.cfg.Store, now: s.cfg.Now, hosts: map[inventory.HostID]waiting{}, loading: s.loads.underway}
	resume := time.NewTicker(resumeEvery)
	defer resume.Stop()
	after := inventory.HostID("")
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				return
			}
			if c.Entry != nil {
				w.see(*c.Entry)
			}
		case <-resume.C:
			var err error
			if after, err = w.resume(after); err != nil {
				s.cfg.Log.Error("boot diaries cannot be read", "err", err)
			}
			if after == "" {
				resume.Stop()
			}
		case <-every.C:
			if err := w.tick(); err != nil {
				s.cfg.Log.Error("boot diary cannot be written", "err", err)
			}
		}
	}
}
