package inventory_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// TestEventsStayInTheTable sends random events to one host and holds what comes of it against the rules.
func TestEventsStayInTheTable(t *testing.T) {
	t.Parallel()
	cols := columns()
	rapid.Check(t, func(t *rapid.T) {
		h := inventory.Host{ID: "h"}
		if rapid.Bool().Draw(t, "expected") {
			h.State = inventory.StateExpected
		}
		kind := inventory.JobKind("") // of the present or last job
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			c := cols[rapid.IntRange(0, len(cols)-1).Draw(t, "event")]
			before := h
			next, err := inventory.Next(h, c.event)
			if err != nil {
				if !errors.Is(err, inventory.ErrBadEvent) || next.State != before.State {
					t.Fatalf("%s in %q: got %v, state %q", c.title(), before.State, err, next.State)
				}
				continue
			}
			h = next
			if e, ok := c.event.(inventory.JobMade); ok {
				kind = e.Kind
			}
			if c.title() == "CheckedIn" {
				h.Facts = &inventory.Facts{}
			}
			h.LastSeen = t0
			checkHost(t, &before, &h, kind)
		}
	})
}

// checkHost holds a host after an event against the rules that are for ever.
func checkHost(t *rapid.T, before, h *inventory.Host, kind inventory.JobKind) {
	known := false
	for _, s := range inventory.States() {
		known = known || h.State == s
	}
	switch {
	case !known:
		t.Fatalf("from %q to the unknown state %q", before.State, h.State)
	case before.EverFlipped && !h.EverFlipped:
		t.Fatal("EverFlipped became false")
	case h.Flipped && !h.EverFlipped:
		t.Fatal("flipped but never flipped")
	case h.State == inventory.StateInstalled && !h.EverFlipped:
		t.Fatal("installed but never flipped")
	case h.EverFlipped && (h.State == inventory.StateReady || h.State == inventory.StateSeen || h.State == inventory.StateBooting || h.State == inventory.StateExpected):
		t.Fatalf("was installed once and is %s", h.State)
	case h.EverFlipped && h.State == inventory.StateQueued && !h.Flipped && kind != inventory.JobReinstall:
		t.Fatalf("was installed once and is queued for a job of kind %s", kind)
	}
	for _, d := range []inventory.Discovery{inventory.DiscoveryOnce, inventory.DiscoveryAlways, inventory.DiscoveryOff} {
		target, _ := inventory.BootTarget(h, d, t0)
		if target == inventory.TargetStage0 && h.EverFlipped && kind != inventory.JobReinstall {
			t.Fatalf("was installed once, is %s after a job of kind %s, and is sent to stage-0", h.State, kind)
		}
	}
}

// crowd is a few machines under random acts of firmware, persons, rules, the runner and strangers.
type crowd struct {
	*world
	flipped map[inventory.MAC]bool // machines that were installed once, by the MAC they boot with
	keys    int
}

// TestAnythingMayHappen runs random acts on a few machines and holds the inventory against the rules after each.
func TestAnythingMayHappen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := &crowd{world: newWorld(t), flipped: map[inventory.MAC]bool{}}
		acts := c.acts()
		for range rapid.IntRange(1, 80).Draw(rt, "acts") {
			c.pass(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "seconds")) * time.Second)
			n := rapid.IntRange(1, 3).Draw(rt, "machine")
			a := acts[rapid.IntRange(0, len(acts)-1).Draw(rt, "act")]
			if err := c.do(func(tx *inventory.Tx) error { return a.fn(tx, n) }); err != nil && !acceptable(err) {
				rt.Fatalf("%s on machine %d: %v", a.name, n, err)
			}
			c.check(rt, a.name)
		}
	})
}

func acceptable(err error) bool {
	for _, e := range []error{inventory.ErrBadEvent, inventory.ErrNotFound, inventory.ErrNonce, inventory.ErrConflict} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

type act struct {
	name string
	fn   func(tx *inventory.Tx, n int) error
}

// of makes an act on the host that machine n is.
func of(fn func(tx *inventory.Tx, h inventory.Host) error) func(*inventory.Tx, int) error {
	return func(tx *inventory.Tx, n int) error {
		h, err := tx.HostByMAC(mac(n))
		if err != nil {
			return err
		}
		return fn(tx, h)
	}
}

func (c *crowd) acts() []act {
	return append(c.machineActs(), append(c.personActs(), c.runnerActs()...)...)
}

func (c *crowd) machineActs() []act {
	nonce := func(n int) string { return fmt.Sprint("n", n) }
	checkIn := func(tx *inventory.Tx, r inventory.Report) error {
		_, err := inventory.CheckIn(tx, r, c.now)
		return err
	}
	return []act{
		{"DHCP", func(tx *inventory.Tx, n int) error { _, err := inventory.Discover(tx, contact(n), c.now); return err }},
		{"script", func(tx *inventory.Tx, n int) error {
			_, _, _, err := inventory.FetchScript(tx, contact(n), inventory.DiscoveryAlways, nonce(n), c.now)
			return err
		}},
		{"check-in", func(tx *inventory.Tx, n int) error { return checkIn(tx, report(n, nonce(n), fmt.Sprint("k", n))) }},
		{"check-in with a new key", func(tx *inventory.Tx, n int) error {
			c.keys++
			return checkIn(tx, report(n, nonce(n), fmt.Sprint("k", c.keys+100)))
		}},
		{"check-in with another machine's interface", func(tx *inventory.Tx, n int) error {
			r := report(n, nonce(n), fmt.Sprint("k", n))
			r.Facts.NICs = append(r.Facts.NICs, inventory.NIC{Name: "usb", MAC: mac(n%3 + 1)})
			return checkIn(tx, r)
		}},
		{"script that tells all", func(tx *inventory.Tx, n int) error {
			told := contact(n)
			told.UUID, told.Serial = uuid(n), fmt.Sprint("SN", n)
			_, _, _, err := inventory.FetchScript(tx, told, inventory.DiscoveryAlways, nonce(n), c.now)
			return err
		}},
		{"check-in with its other interface", func(tx *inventory.Tx, n int) error {
			r := report(n, nonce(n), fmt.Sprint("k", n))
			r.Facts.NICs = append(r.Facts.NICs, inventory.NIC{Name: "eth1", MAC: mac(n + 10)})
			return checkIn(tx, r)
		}},
		{"check-in with a cloned UUID", func(tx *inventory.Tx, n int) error {
			r := report(n, nonce(n), fmt.Sprint("k", n))
			r.Facts.UUID = uuid(1)
			return checkIn(tx, r)
		}},
		{"report", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Heard(tx, h.ID, h.HostKey, h.BootID, ip(1), c.now)
			return err
		})},
	}
}

func (c *crowd) personActs() []act {
	role := func(auto bool) func(*inventory.Tx, inventory.Host) error {
		return func(tx *inventory.Tx, h inventory.Host) error {
			_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Role: ptr("r"), Name: ptr("name-" + h.MAC.Hyphens())}, "x", auto, c.now)
			return err
		}
	}
	return []act{
		{"announce", func(tx *inventory.Tx, n int) error {
			_, err := inventory.Expect(tx, inventory.Announce{MAC: mac(n), Role: "r"}, c.now)
			return err
		}},
		{"announce by UUID", func(tx *inventory.Tx, n int) error {
			_, err := inventory.Expect(tx, inventory.Announce{UUID: uuid(n), Role: "r"}, c.now)
			return err
		}},
		{"announce by serial and another interface", func(tx *inventory.Tx, n int) error {
			_, err := inventory.Expect(tx, inventory.Announce{Serial: fmt.Sprint("sn", n), MAC: mac(n%3 + 11)}, c.now)
			return err
		}},
		{"announce by another interface", func(tx *inventory.Tx, n int) error {
			_, err := inventory.Expect(tx, inventory.Announce{MAC: mac(n + 10), Role: "r"}, c.now)
			return err
		}},
		{"assign", of(role(false))}, {"rule", of(role(true))},
		{"install", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, _, err := inventory.Install(tx, h.ID, inventory.Confirmation{PlanID: "p"}, "admin", c.now)
			return err
		})},
		{"reinstall", of(func(tx *inventory.Tx, h inventory.Host) error {
			if !h.EverFlipped {
				return nil
			}
			_, _, err := inventory.Reinstall(tx, h.ID, inventory.Confirmation{}, "admin", c.now)
			return err
		})},
		{"retry", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, _, err := inventory.Retry(tx, h.ID, "admin", c.now)
			return err
		})},
		{"deploy", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, _, err := inventory.Deploy(tx, h.ID, "admin", c.now)
			return err
		})},
		{"format", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, _, err := inventory.Format(tx, h.ID, inventory.FormatOrder{PlanID: "p", Slot: "data", Word: "D"}, "admin", c.now.Add(time.Hour), c.now)
			return err
		})},
		{"rescue", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Rescue(tx, h.ID, c.now.Add(time.Hour))
			return err
		})},
		{"restore of a backup", func(tx *inventory.Tx, _ int) error { return inventory.Restored(tx, c.now, c.now) }},
		{"cancel", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Cancel(tx, h.ID, c.now)
			return err
		})},
		{"approve", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Approve(tx, h.ID, c.now)
			return err
		})},
		{"ignore", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Apply(tx, h.ID, inventory.IgnoreAsked{})
			return err
		})},
		{"unignore", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.Apply(tx, h.ID, inventory.UnignoreAsked{})
			return err
		})},
		{"forget", of(func(tx *inventory.Tx, h inventory.Host) error { return inventory.Forget(tx, h.ID, c.now) })},
	}
}

// runnerActs are what the pipeline does: host and job move together.
func (c *crowd) runnerActs() []act {
	both := func(e inventory.Event, change func(*inventory.Job)) func(*inventory.Tx, int) error {
		return of(func(tx *inventory.Tx, h inventory.Host) error {
			if h.JobID == "" {
				return nil
			}
			j, err := tx.Job(h.JobID)
			if err != nil {
				return err
			}
			change(&j)
			if _, err = inventory.Apply(tx, h.ID, e); err != nil {
				return err
			}
			_, err = tx.PutJob(j)
			return err
		})
	}
	return []act{
		{"step", both(inventory.StepStarted{Step: "s"}, func(j *inventory.Job) { j.State = inventory.JobRunning })},
		{"write", both(inventory.WriteStarted{}, func(j *inventory.Job) { j.Wrote = true })},
		{"flip", both(inventory.NetbootFlipped{}, func(j *inventory.Job) { j.Flipped = true })},
		{"verified", both(inventory.Verified{}, func(j *inventory.Job) { j.State = inventory.JobDone })},
		{"upkeep done", both(inventory.UpkeepDone{}, func(j *inventory.Job) { j.State = inventory.JobDone })},
		{"failed", both(inventory.StepFailed{Step: "s"}, func(j *inventory.Job) { j.State = inventory.JobFailed })},
		{"cancelled", of(func(tx *inventory.Tx, h inventory.Host) error {
			_, err := inventory.FinishCancel(tx, h.ID, c.now)
			return err
		})},
	}
}

// check holds the whole inventory against the rules.
func (c *crowd) check(t *rapid.T, last string) {
	err := c.store.View(func(tx *inventory.Tx) error {
		if err := inventorytest.CheckRules(tx, c.now); err != nil {
			return err
		}
		hosts, _, err := tx.Hosts("", 1000)
		for _, h := range hosts {
			if c.flipped[h.MAC] && !h.EverFlipped {
				return fmt.Errorf("machine %s was installed once, and is not any more", h.MAC)
			}
			if h.EverFlipped {
				c.flipped[h.MAC] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatalf("after %s: %v", last, err)
	}
}
