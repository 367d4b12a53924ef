package inventory_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func (w *world) deploy(id inventory.HostID) (err error) {
	return w.do(func(tx *inventory.Tx) error { _, _, err := inventory.Deploy(tx, id, "admin", w.now); return err })
}

func (w *world) format(id inventory.HostID) (err error) {
	return w.do(func(tx *inventory.Tx) error {
		o := inventory.FormatOrder{PlanID: "p", Slot: "data", Word: "DATA1"}
		_, _, err := inventory.Format(tx, id, o, "admin", w.now.Add(time.Hour), w.now)
		return err
	})
}

// ask does what must be accepted.
func (w *world) ask(act func(*world, inventory.HostID) error, id inventory.HostID) {
	w.t.Helper()
	if err := act(w, id); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cancel(id inventory.HostID) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) error { _, err := inventory.Cancel(tx, id, w.now); return err })
}

// TestAnInstalledHostIsNeverATargetAgain does to an installed host what might make it one, lets what was asked for
// only once run out, lets a rule and an impatient person at it, and demands that its netboot leads to its own disk.
func TestAnInstalledHostIsNeverATargetAgain(t *testing.T) {
	t.Parallel()
	reinstall := func(tx *inventory.Tx, id inventory.HostID, now time.Time) error {
		_, _, err := inventory.Reinstall(tx, id, inventory.Confirmation{}, "admin", now)
		return err
	}
	for _, c := range []struct {
		name string
		do   func(w *world, id inventory.HostID)
	}{
		{"nothing", func(*world, inventory.HostID) {}},
		{"a cancelled reinstall that waited", func(w *world, id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { return reinstall(tx, id, w.now) })
			w.cancel(id)
		}},
		{"a cancelled reinstall that wrote", func(w *world, id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { return reinstall(tx, id, w.now) })
			w.apply(id, inventory.StepStarted{Step: "install"}, inventory.WriteStarted{})
			w.jobState(id, inventory.JobRunning)
			w.must(func(tx *inventory.Tx) error { _, err := inventory.FinishCancel(tx, id, w.now); return err })
		}},
		{"a reinstall that could not be verified", func(w *world, id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { return reinstall(tx, id, w.now) })
			w.apply(id, inventory.StepStarted{Step: "install"}, inventory.WriteStarted{}, inventory.NetbootFlipped{}, inventory.StepFailed{Step: "verify"})
			w.must(func(tx *inventory.Tx) error {
				j, err := tx.Job(w.host(id).JobID)
				j.State, j.Wrote, j.Flipped = inventory.JobFailed, true, true
				if err == nil {
					_, err = tx.PutJob(j)
				}
				return err
			})
		}},
		{"forgetting, and its next netboot", func(w *world, id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { return inventory.Forget(tx, id, w.now) })
			w.discover(1)
		}},
		{"the restore of a backup", func(w *world, _ inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { return inventory.Restored(tx, w.now, w.now) })
		}},
		{"the restore of a backup made during a deploy", func(w *world, id inventory.HostID) {
			w.ask((*world).deploy, id)
			w.must(func(tx *inventory.Tx) error { return inventory.Restored(tx, w.now, w.now) })
		}},
		{"a deploy that waits", func(w *world, id inventory.HostID) { w.ask((*world).deploy, id) }},
		{"a deploy that failed", func(w *world, id inventory.HostID) {
			w.ask((*world).deploy, id)
			w.apply(id, inventory.StepStarted{Step: "build"}, inventory.StepFailed{Step: "build", Cause: "c"})
			w.jobState(id, inventory.JobFailed)
		}},
		{"a cancelled deploy", func(w *world, id inventory.HostID) { w.ask((*world).deploy, id); w.cancel(id) }},
		{"a deploy that ended", func(w *world, id inventory.HostID) {
			w.ask((*world).deploy, id)
			w.apply(id, inventory.StepStarted{Step: "build"}, inventory.UpkeepDone{})
			w.jobState(id, inventory.JobDone)
		}},
		{"a format that waits", func(w *world, id inventory.HostID) { w.ask((*world).format, id) }},
		{"a cancelled format", func(w *world, id inventory.HostID) { w.ask((*world).format, id); w.cancel(id) }},
		{"a format that failed in stage-0", func(w *world, id inventory.HostID) {
			w.ask((*world).format, id)
			w.boot(1, "rescue")
			w.apply(id, inventory.StepStarted{Step: "format"}, inventory.StepFailed{Step: "format", Cause: "c"})
			w.jobState(id, inventory.JobFailed)
		}},
		{"a rescue", func(w *world, id inventory.HostID) {
			w.must(func(tx *inventory.Tx) error { _, err := inventory.Rescue(tx, id, w.now.Add(time.Hour)); return err })
			w.boot(1, "rescue")
		}},
		{"ignoring it and taking that back", func(w *world, id inventory.HostID) {
			w.apply(id, inventory.IgnoreAsked{}, inventory.UnignoreAsked{})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.do(w, w.installed(1).ID)
			w.pass(2 * time.Hour)
			w.discover(1)
			id := w.byMAC(1).ID
			for _, fn := range []func(tx *inventory.Tx) error{
				func(tx *inventory.Tx) error {
					_, _, err := inventory.Assign(tx, id, inventory.Assignment{Role: ptr("r")}, "rule r", true, w.now)
					return err
				},
				func(tx *inventory.Tx) error {
					_, _, err := inventory.Install(tx, id, inventory.Confirmation{}, "admin", w.now)
					return err
				},
				func(tx *inventory.Tx) error { _, _, err := inventory.Retry(tx, id, "admin", w.now); return err },
			} {
				if err := w.do(fn); err != nil && !acceptable(err) {
					t.Error(err)
				}
			}
			h := w.host(id)
			if !h.EverFlipped || h.State != inventory.StateInstalled && !(h.Flipped && h.State == inventory.StateQueued) {
				t.Errorf("got state %s, ever flipped %v, flipped %v; want an installed host, or a job that only verifies", h.State, h.EverFlipped, h.Flipped)
			}
			for _, d := range []inventory.Discovery{inventory.DiscoveryOnce, inventory.DiscoveryAlways, inventory.DiscoveryOff} {
				if target, why := inventory.BootTarget(&h, d, w.now); target != inventory.TargetDisk {
					t.Errorf("discovery %s: sent to %s (%s), want its own disk", d, target, why)
				}
			}
			for _, j := range w.openJobs() {
				if !j.Kind.Upkeep() && !j.Flipped {
					t.Errorf("the open job %+v would write", j)
				}
			}
			w.look(func(tx *inventory.Tx) error { return inventorytest.CheckRules(tx, w.now) })
		})
	}
}

// TestUpkeepIsAJobLikeAnyOther: its id sorts after those of earlier jobs, and it says what it waits for.
func TestUpkeepIsAJobLikeAnyOther(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*world, inventory.HostID) error{"a deploy": (*world).deploy, "a format": (*world).format} {
		w := newWorld(t)
		id := w.installed(1).ID
		before := w.host(id).JobID
		w.pass(time.Minute)
		w.ask(ask, id)
		h := w.host(id)
		j := w.job(h.JobID)
		if j.ID <= before {
			t.Errorf("%s has id %s, which does not sort after the install's %s", name, j.ID, before)
		}
		if h.BlockedOn == "" || j.BlockedOn != h.BlockedOn {
			t.Errorf("%s waits for %q, its host for %q; want one sentence", name, j.BlockedOn, h.BlockedOn)
		}
	}
}

func TestUpkeepIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(w *world) inventory.HostID
		act     func(w *world, id inventory.HostID) error
		says    string
	}{
		{"a deploy of a host that is not installed", func(w *world) inventory.HostID { return w.boot(1, "k").ID }, (*world).deploy, "no role"},
		{"a deploy of a host whose role was changed", func(w *world) inventory.HostID {
			h := w.installed(1)
			w.assign(h.ID, "other")
			return h.ID
		}, (*world).deploy, "it runs role worker but has role other now"},
		{"a second job", func(w *world) inventory.HostID {
			h := w.installed(1)
			w.ask((*world).deploy, h.ID)
			return h.ID
		}, (*world).format, "its deploy job is open"},
		{"a reinstall during a deploy", func(w *world) inventory.HostID {
			h := w.installed(1)
			w.ask((*world).deploy, h.ID)
			return h.ID
		}, func(w *world, id inventory.HostID) error {
			return w.do(func(tx *inventory.Tx) error {
				_, _, err := inventory.Reinstall(tx, id, inventory.Confirmation{}, "admin", w.now)
				return err
			})
		}, "its deploy job is open"},
		{"forgetting during a format", func(w *world) inventory.HostID {
			h := w.installed(1)
			w.ask((*world).format, h.ID)
			return h.ID
		}, func(w *world, id inventory.HostID) error {
			return w.do(func(tx *inventory.Tx) error { return inventory.Forget(tx, id, w.now) })
		}, "its format job is open"},
		{"a format while an install waits", func(w *world) inventory.HostID {
			h, _ := w.assign(w.boot(1, "k").ID, "r")
			return h.ID
		}, (*world).format, "while no install is due"},
		{"a format without a role", func(w *world) inventory.HostID { return w.boot(1, "k").ID }, (*world).format, "no role"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := c.prepare(w)
			before := w.host(id)
			err := c.act(w, id)
			if !errors.Is(err, inventory.ErrBadEvent) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
			if diff := cmp.Diff(before, w.host(id), addrs); diff != "" {
				t.Errorf("the refusal changed the host (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr
	for _, c := range []struct {
		name string
		a    inventory.Address
		says string // "" = accepted
	}{
		{"none", inventory.Address{}, ""},
		{"reserved", inventory.Address{IP: ip("10.0.0.5")}, ""},
		{"static", inventory.Address{IP: ip("10.0.0.5"), Static: true, Prefix: 24, Gateway: ip("10.0.0.1"), DNS: []netip.Addr{ip("9.9.9.9")}}, ""},
		{"static IPv6", inventory.Address{IP: ip("fd00::5"), Static: true, Prefix: 64}, ""},
		{"static without a prefix", inventory.Address{IP: ip("10.0.0.5"), Static: true}, "needs its prefix length, 1 to 32"},
		{"a gateway of another network", inventory.Address{IP: ip("10.0.0.5"), Static: true, Prefix: 24, Gateway: ip("10.0.1.1")}, "not another address in its network"},
		{"itself as gateway", inventory.Address{IP: ip("10.0.0.5"), Static: true, Prefix: 24, Gateway: ip("10.0.0.5")}, "not another address in its network"},
		{"reserved with a gateway", inventory.Address{IP: ip("10.0.0.5"), Gateway: ip("10.0.0.1")}, "belong to a static one"},
		{"multicast", inventory.Address{IP: ip("224.0.0.1")}, "no machine can have it"},
		{"with a zone", inventory.Address{IP: ip("fe80::1%eth0")}, "no machine can have it"},
		{"a gateway alone", inventory.Address{Gateway: ip("10.0.0.1")}, "needs an address"},
		{"no DNS server at all", inventory.Address{IP: ip("10.0.0.5"), Static: true, Prefix: 24, DNS: []netip.Addr{{}}}, "is not an address"},
	} {
		err := c.a.Check()
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, inventory.ErrInvalid) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
		}
	}
	w := newWorld(t)
	set := func(n int, a inventory.Address) error {
		return w.do(func(tx *inventory.Tx) error {
			_, _, err := inventory.Assign(tx, w.byMAC(n).ID, inventory.Assignment{Address: &a}, "admin", false, w.now)
			return err
		})
	}
	w.discover(1)
	w.discover(2)
	fixed := inventory.Address{IP: ip("10.0.0.5")}
	if err := set(1, fixed); err != nil {
		t.Fatal(err)
	}
	if err := set(2, fixed); !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("the same address for two hosts: got %v, want ErrConflict", err)
	}
	if err := set(1, inventory.Address{}); err != nil || w.byMAC(1).Address != nil {
		t.Errorf("taking it away: got %v, %v", w.byMAC(1).Address, err)
	}
	if err := set(2, fixed); err != nil {
		t.Errorf("an address that was given up: %v", err)
	}
}
