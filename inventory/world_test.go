package inventory_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// world is a store, a clock and shorthands for the acts.
type world struct {
	t     testing.TB
	store inventory.Store
	now   time.Time
}

func newWorld(t testing.TB) *world {
	return &world{t: t, store: inventorytest.NewStore(t), now: t0}
}

func mac(n int) inventory.MAC { return inventory.MAC{0x52, 0x54, 0, 0, byte(n >> 8), byte(n)} }
func ip(n int) netip.Addr     { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
func uuid(n int) string       { return fmt.Sprintf("11111111-2222-3333-4444-%012x", n) }
func ptr[T any](v T) *T       { return &v }

// pass lets time go by.
func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// do runs one update; its error is given back.
func (w *world) do(fn func(*inventory.Tx) error) error { return w.store.Update(fn) }

// must is do for what must succeed.
func (w *world) must(fn func(*inventory.Tx) error) {
	w.t.Helper()
	if err := w.do(fn); err != nil {
		w.t.Fatal(err)
	}
}

// look runs one view that must succeed.
func (w *world) look(fn func(*inventory.Tx) error) {
	w.t.Helper()
	if err := w.store.View(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) host(id inventory.HostID) (h inventory.Host) {
	w.t.Helper()
	w.look(func(tx *inventory.Tx) (err error) { h, err = tx.Host(id); return err })
	return h
}

func (w *world) byMAC(n int) (h inventory.Host) {
	w.t.Helper()
	w.look(func(tx *inventory.Tx) (err error) { h, err = tx.HostByMAC(mac(n)); return err })
	return h
}

func (w *world) known(n int) bool {
	w.t.Helper()
	err := w.store.View(func(tx *inventory.Tx) error { _, err := tx.HostByMAC(mac(n)); return err })
	if err != nil && !errors.Is(err, inventory.ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) job(id inventory.JobID) (j inventory.Job) {
	w.t.Helper()
	w.look(func(tx *inventory.Tx) (err error) { j, err = tx.Job(id); return err })
	return j
}

func (w *world) openJobs() (jobs []inventory.Job) {
	w.t.Helper()
	w.look(func(tx *inventory.Tx) (err error) { jobs, err = tx.OpenJobs(); return err })
	return jobs
}

func contact(n int) inventory.Contact { return inventory.Contact{MAC: mac(n), IP: ip(n), DHCP: true} }

func (w *world) discover(n int) (h inventory.Host) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Discover(tx, contact(n), w.now); return err })
	return h
}

// fetch fetches the script of MAC n; nonce is the word whose "hash" it is here.
func (w *world) fetch(n int, nonce string) (h inventory.Host, target inventory.Target) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) (err error) {
		h, target, _, err = inventory.FetchScript(tx, contact(n), inventory.DiscoveryOnce, nonce, w.now)
		return err
	})
	return h, target
}

// report is what machine n says: one interface, one blank disk, its own UUID.
func report(n int, nonce, key string) inventory.Report {
	return inventory.Report{NonceHash: nonce, HostKey: key, BootID: "boot-" + key, From: ip(n), Facts: inventory.Facts{Arch: "x86_64", Firmware: "uefi",
		UUID: uuid(n), Serial: fmt.Sprint("SN", n), NICs: []inventory.NIC{{Name: "eth0", MAC: mac(n)}},
		Disks: []inventory.Disk{{ID: "ata-x", SizeBytes: 1 << 34}}}}
}

func (w *world) try(r inventory.Report) (h inventory.Host, err error) {
	err = w.do(func(tx *inventory.Tx) error { h, err = inventory.CheckIn(tx, r, w.now); return err })
	return h, err
}

func (w *world) checkIn(r inventory.Report) inventory.Host {
	w.t.Helper()
	h, err := w.try(r)
	if err != nil {
		w.t.Fatalf("check-in: %v", err)
	}
	return h
}

// boot takes machine n from power-on to a check-in with the key.
func (w *world) boot(n int, key string) inventory.Host {
	w.t.Helper()
	w.pass(time.Minute)
	w.discover(n)
	nonce := fmt.Sprint("nonce-", n, "-", w.now.UnixNano())
	if _, target := w.fetch(n, nonce); target != inventory.TargetStage0 {
		w.t.Fatalf("machine %d: sent to %s, want stage-0", n, target)
	}
	w.pass(time.Minute)
	return w.checkIn(report(n, nonce, key))
}

func (w *world) assign(id inventory.HostID, role string) (h inventory.Host, j *inventory.Job) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) (err error) {
		h, j, err = inventory.Assign(tx, id, inventory.Assignment{Role: &role}, "admin", false, w.now)
		return err
	})
	return h, j
}

func (w *world) apply(id inventory.HostID, events ...inventory.Event) (h inventory.Host) {
	w.t.Helper()
	for _, e := range events {
		w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Apply(tx, id, e); return err })
	}
	return h
}

// jobState sets the state of the host's job, as the runner does.
func (w *world) jobState(id inventory.HostID, s inventory.JobState) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) error {
		h, err := tx.Host(id)
		if err != nil {
			return err
		}
		j, err := tx.Job(h.JobID)
		if err != nil {
			return err
		}
		j.State = s
		_, err = tx.PutJob(j)
		return err
	})
}

// install takes a queued host through its job up to the given end.
func (w *world) install(id inventory.HostID, until inventory.Event) inventory.Host {
	w.t.Helper()
	w.jobState(id, inventory.JobRunning)
	w.apply(id, inventory.StepStarted{Step: "install", No: 1, Of: 3})
	all := []inventory.Event{inventory.WriteStarted{}, inventory.NetbootFlipped{}, inventory.Verified{System: "/nix/store/x", At: w.now}}
	for _, e := range all {
		w.apply(id, e)
		if e.EventName() == until.EventName() {
			break
		}
	}
	if until.EventName() == "Verified" {
		w.jobState(id, inventory.JobDone)
	}
	return w.host(id)
}

// installed makes machine n an installed host.
func (w *world) installed(n int) inventory.Host {
	w.t.Helper()
	h := w.boot(n, fmt.Sprint("key", n))
	h, _ = w.assign(h.ID, "worker")
	return w.install(h.ID, inventory.Verified{})
}

func (w *world) target(id inventory.HostID) inventory.Target {
	w.t.Helper()
	h := w.host(id)
	t, _ := inventory.BootTarget(&h, inventory.DiscoveryOnce, w.now)
	return t
}

// wantState checks a host's state.
func (w *world) wantState(id inventory.HostID, want inventory.State) {
	w.t.Helper()
	if got := w.host(id).State; got != want {
		w.t.Errorf("state: got %s, want %s", got, want)
	}
}
