package inventory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.discover(1)
	w.wantState(h.ID, inventory.StateSeen)
	if _, target := w.fetch(1, "n1"); target != inventory.TargetStage0 {
		t.Fatalf("a new machine: sent to %s, want stage-0", target)
	}
	w.wantState(h.ID, inventory.StateBooting)
	w.checkIn(report(1, "n1", "key1"))
	w.wantState(h.ID, inventory.StateReady)
	h, j := w.assign(h.ID, "worker")
	if j == nil || h.State != inventory.StateQueued || h.JobID != j.ID || j.Auto {
		t.Fatalf("after the assignment: got %+v, job %+v", h, j)
	}
	h = w.install(h.ID, inventory.Verified{})
	if h.State != inventory.StateInstalled || !h.EverFlipped || w.target(h.ID) != inventory.TargetDisk {
		t.Errorf("after the install: got %s, ever flipped %v, target %s", h.State, h.EverFlipped, w.target(h.ID))
	}
	if n := len(w.openJobs()); n != 0 {
		t.Errorf("open jobs: got %d, want 0", n)
	}
}

func TestScriptBeforeAnyDHCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, _ := w.fetch(1, "n1")
	w.wantState(h.ID, inventory.StateBooting)
}

func TestExpectedHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		known inventory.Announce
		seen  inventory.Contact
	}{
		{"by MAC", inventory.Announce{MAC: mac(1)}, inventory.Contact{MAC: mac(1)}},
		{"by UUID", inventory.Announce{UUID: strings.ToUpper(uuid(1))}, inventory.Contact{MAC: mac(1), UUID: uuid(1)}},
		{"by UUID in the other byte order", inventory.Announce{UUID: "00112233-4455-6677-8899-aabbccddeeff"},
			inventory.Contact{MAC: mac(1), UUID: "33221100-5544-7766-8899-aabbccddeeff"}},
		{"by serial", inventory.Announce{Serial: "SN1"}, inventory.Contact{MAC: mac(1), Serial: "SN1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.known.Name, c.known.Role = "alpha", "worker"
			var h inventory.Host
			w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Expect(tx, c.known, w.now); return err })
			if h.State != inventory.StateExpected || w.target(h.ID) != inventory.TargetStage0 {
				t.Errorf("announced: got %s, target %s", h.State, w.target(h.ID))
			}
			err := w.do(func(tx *inventory.Tx) error { _, err := inventory.Expect(tx, c.known, w.now); return err })
			if !errors.Is(err, inventory.ErrConflict) {
				t.Errorf("announced twice: got %v, want ErrConflict", err)
			}
			var got inventory.Host
			w.must(func(tx *inventory.Tx) (err error) {
				got, _, _, err = inventory.FetchScript(tx, c.seen, inventory.DiscoveryOff, "n1", w.now)
				return err
			})
			if got.ID != h.ID || got.MAC != mac(1) {
				t.Fatalf("its machine shows up: got host %s with %s, want %s", got.ID, got.MAC, h.ID)
			}
			r := report(1, "n1", "key1")
			if c.known.UUID != "" {
				r.Facts.UUID = c.seen.UUID
			}
			got = w.checkIn(r)
			if got.State != inventory.StateQueued || got.Attention != "" {
				t.Errorf("checked in: got %s, attention %q, want its job queued", got.State, got.Attention)
			}
			if j := w.job(got.JobID); !j.Auto || j.Role != "worker" {
				t.Errorf("job: got %+v, want an automatic one for worker", j)
			}
		})
	}
}

func TestExpectRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, a := range map[string]inventory.Announce{
		"nothing to know it by": {Name: "alpha"},
		"fillers":               {UUID: "00000000-0000-0000-0000-000000000000", Serial: "To be filled by O.E.M."},
		"a multicast MAC":       {MAC: inventory.MAC{1, 0, 0, 0, 0, 1}},
		"a bad name":            {MAC: mac(1), Name: "Alpha!"},
		"a name like a MAC":     {MAC: mac(1), Name: "525400123456"},
		"a name like an id":     {MAC: mac(1), Name: "0123456789abcdef"},
		"a bad role":            {MAC: mac(1), Role: "a b"},
	} {
		err := w.do(func(tx *inventory.Tx) error { _, err := inventory.Expect(tx, a, w.now); return err })
		if !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

func TestAStrangersAddressCannotSpoilTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, m := range []inventory.MAC{{}, {1, 0, 0x5e, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		err := w.do(func(tx *inventory.Tx) error {
			_, err := inventory.Discover(tx, inventory.Contact{MAC: m}, w.now)
			return err
		})
		if !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("DHCP from %x: got %v, want ErrInvalid", m, err)
		}
		err = w.do(func(tx *inventory.Tx) error {
			_, err := tx.PutHost(inventory.Host{ID: "h", MACs: []inventory.MAC{m}})
			return err
		})
		if !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("host with %x: got %v, want ErrInvalid", m, err)
		}
	}
	long := strings.Repeat("x", 1<<16)
	w.must(func(tx *inventory.Tx) error {
		h, err := inventory.Discover(tx, inventory.Contact{MAC: mac(1), UUID: long, Serial: long + "\n"}, w.now)
		if len(h.UUID) > inventory.MaxFactLen || len(h.Serial) > inventory.MaxFactLen {
			t.Errorf("kept %d and %d characters", len(h.UUID), len(h.Serial))
		}
		return err
	})
}

func TestAssign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot(1, "key1")
	assign := func(a inventory.Assignment) (*inventory.Job, error) {
		var j *inventory.Job
		err := w.do(func(tx *inventory.Tx) (err error) {
			_, j, err = inventory.Assign(tx, h.ID, a, "admin", false, w.now)
			return err
		})
		return j, err
	}
	if j, err := assign(inventory.Assignment{Name: ptr("alpha"), KernelArgs: ptr("console=ttyS0"), Pins: map[string]string{"os": "ata-x", "data": ""}}); err != nil || j != nil {
		t.Fatalf("a name: got job %v, %v", j, err)
	}
	if _, err := assign(inventory.Assignment{Pins: map[string]string{"os": "/dev/disk/by-id/ata-x", "data": "/dev/disk/by-path/pci-0000:00:05.0"}}); err != nil {
		t.Errorf("pins as people copy them: %v", err)
	} else if pins := w.host(h.ID).Pins; pins["os"] != "ata-x" || pins["data"] != "path:pci-0000:00:05.0" {
		t.Errorf("pins as people copy them: got %v", pins)
	}
	if _, err := assign(inventory.Assignment{Pins: map[string]string{"os": "ata-x", "data": ""}}); err != nil {
		t.Error(err)
	}
	if got := w.host(h.ID); got.Name != "alpha" || got.KernelArgs != "console=ttyS0" || len(got.Pins) != 1 || got.State != inventory.StateReady {
		t.Errorf("after naming: got %+v", got)
	}
	for name, a := range map[string]inventory.Assignment{
		"a bad name":        {Name: ptr("-")},
		"a bad role":        {Role: ptr("a/b")},
		"bad kernel words":  {KernelArgs: ptr("init=${x}")},
		"a pin to a path":   {Pins: map[string]string{"os": "../sda"}},
		"a pin of no slot":  {Pins: map[string]string{"": "ata-x"}},
		"a name of a MAC's": {Name: ptr("52-54-00-12-34-56")},
	} {
		if _, err := assign(a); !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	j, err := assign(inventory.Assignment{Role: ptr("worker")})
	if err != nil || j == nil {
		t.Fatalf("a role: got job %v, %v", j, err)
	}
	if again, err := assign(inventory.Assignment{Role: ptr("worker")}); err != nil || again != nil {
		t.Errorf("the same role again: got job %v, %v, want none", again, err)
	}
	w.must(func(tx *inventory.Tx) error {
		_, _, err := inventory.Install(tx, h.ID, inventory.Confirmation{PlanID: "p", Confirm: map[string]string{"os": "S"}}, "admin", w.now)
		return err
	})
	w.apply(h.ID, inventory.Blocked{On: "Waits for role worker, which is not in the hive."})
	if other, err := assign(inventory.Assignment{Role: ptr("server")}); err != nil || other != nil {
		t.Errorf("another role while queued: got job %v, %v, want the same job", other, err)
	}
	if got := w.job(j.ID); got.Role != "server" || got.PlanID != "" || got.Confirm != nil {
		t.Errorf("its job: got %+v, want role server and nothing confirmed", got)
	}
	if got := w.host(h.ID).BlockedOn; strings.Contains(got, "role worker") {
		t.Errorf("it still waits for the role that it had: %s", got)
	}
	w.jobState(h.ID, inventory.JobRunning)
	w.apply(h.ID, inventory.StepStarted{})
	for name, a := range map[string]inventory.Assignment{"role": {Role: ptr("worker")}, "name": {Name: ptr("beta")}} {
		if _, err := assign(a); !errors.Is(err, inventory.ErrBadEvent) {
			t.Errorf("another %s while installing: got %v, want ErrBadEvent", name, err)
		}
	}
	if _, err := assign(inventory.Assignment{Name: ptr("alpha"), Role: ptr("server")}); err != nil {
		t.Errorf("nothing new while installing: got %v", err)
	}
	if n := len(w.openJobs()); n != 1 {
		t.Errorf("open jobs: got %d, want 1", n)
	}
}

func TestARoleChangeNeverTouchesAnInstalledHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.installed(1)
	if got, j := w.assign(h.ID, "server"); j != nil || got.State != inventory.StateInstalled || got.Role != "server" {
		t.Errorf("another role: got %s, role %s, job %v", got.State, got.Role, j)
	}
	err := w.do(func(tx *inventory.Tx) error {
		_, _, err := inventory.Install(tx, h.ID, inventory.Confirmation{}, "admin", w.now)
		return err
	})
	if !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("install: got %v, want ErrBadEvent", err)
	}
}

func TestReinstallIsConfirmedWhileItWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.installed(1)
	var first, second inventory.Job
	w.must(func(tx *inventory.Tx) (err error) {
		_, first, err = inventory.Reinstall(tx, h.ID, inventory.Confirmation{}, "admin", w.now)
		return err
	})
	if w.target(h.ID) != inventory.TargetStage0 {
		t.Errorf("target: got %s, want stage-0", w.target(h.ID))
	}
	w.apply(h.ID, inventory.Blocked{On: "Waits for a person."})
	w.must(func(tx *inventory.Tx) (err error) {
		h, second, err = inventory.Reinstall(tx, h.ID, inventory.Confirmation{PlanID: "p"}, "admin", w.now)
		return err
	})
	if h.BlockedOn == "Waits for a person." || w.host(h.ID).BlockedOn != h.BlockedOn {
		t.Errorf("once it is confirmed: got %q", h.BlockedOn)
	}
	if second.ID != first.ID || second.PlanID != "p" || second.Kind != inventory.JobReinstall {
		t.Errorf("confirmed: got %+v, want job %s", second, first.ID)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	cancel := func(w *world, id inventory.HostID) error {
		return w.do(func(tx *inventory.Tx) error { _, err := inventory.Cancel(tx, id, w.now); return err })
	}
	reinstall := func(w *world, id inventory.HostID) {
		w.must(func(tx *inventory.Tx) error {
			_, _, err := inventory.Reinstall(tx, id, inventory.Confirmation{}, "admin", w.now)
			return err
		})
	}
	for _, c := range []struct {
		name    string
		prepare func(*world) inventory.HostID
		want    inventory.State
		target  inventory.Target
		warns   bool
	}{
		{"a queued install", func(w *world) inventory.HostID { h, _ := w.assign(w.boot(1, "k").ID, "r"); return h.ID }, inventory.StateReady, inventory.TargetStage0, false},
		{"an install of a machine that never came", func(w *world) inventory.HostID {
			var h inventory.Host
			w.must(func(tx *inventory.Tx) (err error) {
				h, err = inventory.Expect(tx, inventory.Announce{MAC: mac(1)}, w.now)
				return err
			})
			w.assign(h.ID, "r")
			return h.ID
		}, inventory.StateExpected, inventory.TargetStage0, false},
		{"a failed install that wrote", func(w *world) inventory.HostID {
			h, _ := w.assign(w.boot(1, "k").ID, "r")
			w.install(h.ID, inventory.WriteStarted{})
			w.apply(h.ID, inventory.StepFailed{})
			w.jobState(h.ID, inventory.JobFailed)
			return h.ID
		}, inventory.StateReady, inventory.TargetStage0, false},
		{"an install that failed after the flip", func(w *world) inventory.HostID {
			h, _ := w.assign(w.boot(1, "k").ID, "r")
			w.install(h.ID, inventory.NetbootFlipped{})
			w.apply(h.ID, inventory.StepFailed{})
			w.jobState(h.ID, inventory.JobFailed)
			return h.ID
		}, inventory.StateInstalled, inventory.TargetDisk, false},
		{"a queued reinstall", func(w *world) inventory.HostID {
			h := w.installed(1)
			reinstall(w, h.ID)
			return h.ID
		}, inventory.StateInstalled, inventory.TargetDisk, false},
		{"a reinstall that failed after it had written", func(w *world) inventory.HostID {
			h := w.installed(1)
			reinstall(w, h.ID)
			w.install(h.ID, inventory.WriteStarted{})
			w.apply(h.ID, inventory.StepFailed{})
			w.jobState(h.ID, inventory.JobFailed)
			return h.ID
		}, inventory.StateInstalled, inventory.TargetDisk, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := c.prepare(w)
			if err := cancel(w, id); err != nil {
				t.Fatal(err)
			}
			h := w.host(id)
			if h.State != c.want || w.target(id) != c.target || (h.Error != "") != c.warns || !h.Held {
				t.Errorf("got %s, target %s, error %q, held %v; want %s, %s, warns %v", h.State, w.target(id), h.Error, h.Held, c.want, c.target, c.warns)
			}
			if j := w.job(h.JobID); j.State != inventory.JobCancelled || len(w.openJobs()) != 0 {
				t.Errorf("job: got %s, %d open", j.State, len(w.openJobs()))
			}
			if err := cancel(w, id); !errors.Is(err, inventory.ErrBadEvent) {
				t.Errorf("cancelling twice: got %v, want ErrBadEvent", err)
			}
			if c.want != inventory.StateInstalled { // a held host gets no job by itself
				if got := w.boot(1, "k2"); got.State != inventory.StateReady {
					t.Errorf("booted again: got %s, want ready", got.State)
				}
			}
		})
	}
}

func TestCancelAsksARunningJobToStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, j := w.assign(w.boot(1, "k").ID, "r")
	w.jobState(h.ID, inventory.JobRunning)
	w.apply(h.ID, inventory.StepStarted{Step: "build"})
	w.must(func(tx *inventory.Tx) error { _, err := inventory.Cancel(tx, h.ID, w.now); return err })
	w.wantState(h.ID, inventory.StateInstalling)
	if got := w.job(j.ID); !got.CancelAsked || got.State != inventory.JobRunning {
		t.Errorf("job: got %+v, want it running and asked to stop", got)
	}
	w.must(func(tx *inventory.Tx) error { _, err := inventory.FinishCancel(tx, h.ID, w.now); return err })
	w.wantState(h.ID, inventory.StateReady)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, j := w.assign(w.boot(1, "k").ID, "r")
	retry := func() error {
		return w.do(func(tx *inventory.Tx) error { _, _, err := inventory.Retry(tx, h.ID, "admin", w.now); return err })
	}
	if err := retry(); !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("retry of a queued job: got %v, want ErrBadEvent", err)
	}
	w.install(h.ID, inventory.NetbootFlipped{})
	w.apply(h.ID, inventory.StepFailed{Step: "verify", Cause: "c", Hint: "h"})
	w.jobState(h.ID, inventory.JobFailed)
	if err := retry(); err != nil {
		t.Fatal(err)
	}
	got, job := w.host(h.ID), w.job(j.ID)
	if got.State != inventory.StateQueued || !got.Flipped || got.Error != "" || w.target(h.ID) != inventory.TargetDisk {
		t.Errorf("after the flip: got %s, flipped %v, target %s; want queued, to its own disk", got.State, got.Flipped, w.target(h.ID))
	}
	if job.State != inventory.JobQueued || job.Attempt != 2 || job.Error != "" {
		t.Errorf("job: got %+v", job)
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot(1, "k")
	at := w.now
	w.apply(h.ID, inventory.IgnoreAsked{By: "token alex", At: at}, inventory.IgnoreAsked{By: "admin", At: at.Add(time.Hour)})
	if got := w.host(h.ID); got.IgnoredBy != "token alex" || !got.IgnoredAt.Equal(at) {
		t.Errorf("ignored: got by %q at %s, want by who asked first", got.IgnoredBy, got.IgnoredAt)
	}
	if w.target(h.ID) != inventory.TargetSilent {
		t.Errorf("target: got %s, want silence", w.target(h.ID))
	}
	err := w.do(func(tx *inventory.Tx) error { _, err := inventory.Rescue(tx, h.ID, w.now.Add(time.Hour)); return err })
	if !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("rescue of an ignored host: got %v, want ErrBadEvent", err)
	}
	err = w.do(func(tx *inventory.Tx) error {
		_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Role: ptr("r")}, "admin", false, w.now)
		return err
	})
	if !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("a role for an ignored host: got %v, want ErrBadEvent", err)
	}
	w.apply(h.ID, inventory.UnignoreAsked{})
	w.wantState(h.ID, inventory.StateReady)
	if got := w.host(h.ID); got.IgnoredBy != "" || !got.IgnoredAt.IsZero() {
		t.Errorf("no longer ignored: got by %q at %s", got.IgnoredBy, got.IgnoredAt)
	}
}

func TestRescueIsForOneBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.installed(1)
	rescue := func() {
		w.must(func(tx *inventory.Tx) error { _, err := inventory.Rescue(tx, h.ID, w.now.Add(time.Hour)); return err })
	}
	rescue()
	got := w.boot(1, "rescue-key")
	if got.State != inventory.StateInstalled || w.target(h.ID) != inventory.TargetDisk {
		t.Errorf("after the rescue's check-in: got %s, target %s; want installed, its own disk", got.State, w.target(h.ID))
	}
	rescue()
	w.pass(2 * time.Hour)
	if w.target(h.ID) != inventory.TargetDisk {
		t.Errorf("after an hour: got %s, want its own disk", w.target(h.ID))
	}
}

func TestLoopGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var id inventory.HostID
	for i := range inventory.HoldAfter {
		h, target := w.fetch(1, fmt.Sprint("n", i))
		if id = h.ID; target != inventory.TargetStage0 {
			t.Fatalf("fetch %d: got %s", i, target)
		}
	}
	if _, target := w.fetch(1, "more"); target != inventory.TargetHold {
		t.Errorf("one more: got %s, want hold", target)
	}
	w.must(func(tx *inventory.Tx) error { _, err := inventory.Rescue(tx, id, w.now.Add(time.Hour)); return err })
	if _, target := w.fetch(1, "again"); target != inventory.TargetStage0 {
		t.Errorf("after a person asked for stage-0: got %s", target)
	}
}

// TestLoopGuardOfAnInstalledHost: a firmware that ignores its boot order comes back for another script each time it was
// sent to its own disk.
func TestLoopGuardOfAnInstalledHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.installed(1)
	boot := func(after time.Duration, want inventory.Target) {
		t.Helper()
		w.pass(after)
		if _, got := w.fetch(1, "n"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for range 3 {
		for range inventory.HoldAfter {
			boot(time.Hour, inventory.TargetDisk) // switched on each morning
		}
	}
	for range inventory.HoldAfter - 1 {
		boot(time.Minute, inventory.TargetDisk)
	}
	boot(time.Minute, inventory.TargetHold)
	boot(time.Minute, inventory.TargetHold)
	if held := w.host(h.ID); !strings.Contains(held.Looping(w.now), "came back to the network") {
		t.Errorf("the page would say %q", held.Looping(w.now))
	}
	w.must(func(tx *inventory.Tx) error { return inventory.ReleaseHold(tx, h.MAC, w.now) })
	boot(time.Minute, inventory.TargetDisk)
}
