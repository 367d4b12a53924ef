package web

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// fakeBoots tells of boots what a test says.
type fakeBoots struct {
	mu      sync.Mutex
	now     map[inventory.HostID]inventory.Loading
	changed chan struct{}
}

func newFakeBoots() *fakeBoots { return &fakeBoots{changed: make(chan struct{})} }

// Loading implements Boots.
func (f *fakeBoots) Loading() (map[inventory.HostID]inventory.Loading, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.changed
}

// set says how far a host is; nil = nothing is known of it.
func (f *fakeBoots) set(id inventory.HostID, at *inventory.Loading) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := maps.Clone(f.now)
	if now == nil {
		now = map[inventory.HostID]inventory.Loading{}
	}
	if delete(now, id); at != nil {
		now[id] = *at
	}
	f.now = now
	close(f.changed)
	f.changed = make(chan struct{})
}

// boots lets the n-th machine fetch a script that sends it to stage-0.
func (b *box) boots(n byte) (h inventory.Host) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) (err error) {
		h, _, _, err = inventory.FetchScript(tx, inventory.Contact{MAC: mac(n), Arch: "x86_64", Firmware: "uefi"}, inventory.DiscoveryAlways, "nonce", time.Now())
		if err == nil {
			err = tx.Note(inventory.Entry{Time: time.Now(), HostID: h.ID, Kind: "http.script", By: "ipxe", Text: "It boots stage-0."})
		}
		return err
	})
	return h
}

func image(mb int64) *inventory.Loading {
	return &inventory.Loading{Part: inventory.PartImage, Bytes: mb * 1e6, Total: 400e6, Try: 1}
}

func TestLoadingReachesTheOpenPagesAndPrograms(t *testing.T) {
	t.Parallel()
	boots := newFakeBoots()
	b := start(t, func(c *Config) { c.Boots = boots })
	h := b.boots(1)
	table, _ := b.stream("/live", nil)
	until(t, table, "This takes about a minute")
	page, _ := b.stream("/live?host="+string(h.ID), nil)
	until(t, page, `id="m-boot"`)
	events, _ := b.stream("/api/v1/events", b.bearer)
	until(t, events, "hello")
	boots.set(h.ID, &inventory.Loading{Part: inventory.PartKernel, Bytes: 3e6, Total: 12e6, Try: 1})
	until(t, table, `<span class="sub">iPXE → kernel 25 %</span>`)
	for _, mb := range []int64{10, 244} {
		boots.set(h.ID, image(mb))
	}
	until(t, table, `<span class="sub">iPXE → kernel → image 61 %</span>`)
	until(t, page, `<li class="now"><b>Image</b> <span class="muted">61 %, 244 MB of 400 MB</span></li>`)
	until(t, events, `"loading":{"part":"image","bytes":244000000,"total":400000000,"try":1,"text":"iPXE → kernel → image 61 %"}`)
	if a := b.send("GET", "/api/v1/hosts/"+string(h.ID), nil, b.bearer); !strings.Contains(a.body, "image 61 %") {
		t.Errorf("a host as programs read it: %s", a.body)
	}
	boots.set("forgotten", image(1)) // a host that nobody knows any more disturbs nobody
	boots.set(h.ID, nil)
	until(t, table, "This takes about a minute")
	if a := b.send("GET", "/api/v1/hosts/"+string(h.ID), nil, b.bearer); strings.Contains(a.body, "loading") {
		t.Errorf("after the download ended: %s", a.body)
	}
}

func TestLoadingInTheRowOfEveryState(t *testing.T) {
	t.Parallel()
	with := func(st inventory.State, change func(*inventory.Host)) inventory.Host {
		h := hostOf(st)
		if change != nil {
			change(&h)
		}
		return h
	}
	complete := inventory.Loading{Part: inventory.PartImage, Bytes: 400e6, Total: 400e6, Try: 1}
	again := *image(48)
	again.Try = 2
	for _, c := range []struct {
		name string
		host inventory.Host
		at   inventory.Loading
		want string
	}{
		{"it boots", with(inventory.StateBooting, nil), *image(244), "iPXE → kernel → image 61 %"},
		{"all of it is there", with(inventory.StateBooting, nil), complete, "iPXE → kernel → image → stage-0 starts"},
		{"never 100 % before all of it is there", with(inventory.StateBooting, nil), inventory.Loading{Part: inventory.PartImage, Bytes: 400e6 - 1, Total: 400e6, Try: 1}, "iPXE → kernel → image 99 %"},
		{"it began again", with(inventory.StateBooting, nil), again, "iPXE → kernel → image 12 % (try 2: the download broke off before)"},
		{"its job waits for it", with(inventory.StateQueued, func(h *inventory.Host) { h.BlockedOn = "Waits for the machine." }), *image(244), "Waits for the machine. It boots: iPXE → kernel → image 61 %."},
		{"an installed one that somebody sent to stage-0", with(inventory.StateInstalled, nil), *image(244), "Since 20 Nov 2026, revision 4b825dc, 2 commits behind the hive. It boots: iPXE → kernel → image 61 %."},
		{"somebody must look first", with(inventory.StateBooting, func(h *inventory.Host) { h.Attention = "Two machines say that they are it." }), *image(244), "Two machines say that they are it."},
	} {
		nojob := func(inventory.JobID) (inventory.Job, error) { return inventory.Job{}, inventory.ErrNotFound }
		r := rowOf(&c.host, &lookup{job: nojob, boots: map[inventory.HostID]inventory.Loading{c.host.ID: c.at}}, t0)
		if r.Below != c.want {
			t.Errorf("%s: got %q, want %q", c.name, r.Below, c.want)
		}
	}
}

func TestStripTellsBytesAndWhoIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	copies := b.assignRole(b.checkIn(1, facts()), "copies", "worker")
	b.events(copies.ID, inventory.StepStarted{Step: "install: copying the system, 1.2 of 2.9 GB", No: 6, Of: 11})
	b.putJob(copies.ID, func(j *inventory.Job) {
		j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt = inventory.JobRunning, "install", 6, 11, time.Now()
	})
	asks := b.assignRole(b.checkIn(2, foreignFacts()), "asks", "worker")
	b.events(asks.ID, inventory.Blocked{On: "Disk BIG 4000 holds data that this appliance did not put there. Confirm the plan."})
	b.putJob(asks.ID, func(j *inventory.Job) {
		j.BlockedOn = "Disk BIG 4000 holds data that this appliance did not put there. Confirm the plan."
	})
	f := facts()
	f.UUID, f.Serial = "5b2c7a1e-0001-4000-8000-000000000003", "SN-3"
	doubt := b.assignRole(b.checkIn(3, f), "doubt", "worker")
	b.put(doubt.ID, func(h *inventory.Host) { h.Attention = "A second machine checked in as this host." })
	b.signIn()
	strip := b.page("/activity")
	strip = strip[strings.Index(strip, `id="tasks"`):]
	for _, want := range []string{"step 6 of 11, install: copying the system, 1.2 of 2.9 GB", `>waits for you: see its disks</a></span></li>`, `>waits for your approval</a></span></li>`} {
		if !strings.Contains(strip, want) {
			t.Errorf("the strip does not say %q:\n%s", want, strip)
		}
	}
	if strings.Contains(strip, "BIG 4000") {
		t.Errorf("a job that waits for a person is more than a short line:\n%s", strip)
	}
}
