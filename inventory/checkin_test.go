package inventory_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func TestNonce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.try(report(1, "never", "k")); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("a nonce nobody issued: got %v, want ErrNonce", err)
	}
	w.fetch(1, "n1")
	w.pass(time.Minute)
	first := w.checkIn(report(1, "n1", "k1"))
	again := w.checkIn(report(1, "n1", "k1"))
	if again.State != inventory.StateReady || again.ID != first.ID || again.Attention != "" {
		t.Errorf("a repeat with the same key: got %+v", again)
	}
	if _, err := w.try(report(1, "n1", "k2")); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("another key: got %v, want ErrNonce", err)
	}
	if got := w.host(first.ID); got.HostKey != "k1" || got.Attention != "" {
		t.Errorf("after another key tried: got key %s, attention %q", got.HostKey, got.Attention)
	}
	w.pass(2 * time.Hour)
	if _, err := w.try(report(1, "n1", "k1")); err != nil {
		t.Errorf("a bound nonce after two hours: %v", err)
	}
	w.fetch(1, "n2")
	w.pass(inventory.NonceLife)
	if _, err := w.try(report(1, "n2", "k1")); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("an unbound nonce after an hour: got %v, want ErrNonce", err)
	}
	w.pass(inventory.BoundNonceLife)
	if _, err := w.try(report(1, "n1", "k1")); !errors.Is(err, inventory.ErrNonce) {
		t.Errorf("a bound nonce after its life: got %v, want ErrNonce", err)
	}
}

func TestUnboundNoncesAreFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.boot(1, "k0") // its bound nonce stays
	bound := fmt.Sprint("nonce-1-", t0.Add(time.Minute).UnixNano())
	h := w.byMAC(1)
	w.must(func(tx *inventory.Tx) error {
		_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Role: ptr("r")}, "admin", false, w.now)
		return err
	})
	for i := range 20 {
		w.must(func(tx *inventory.Tx) error {
			_, err := inventory.IssueJoinNonce(tx, contact(1), fmt.Sprint("j", i), w.now)
			return err
		})
	}
	var valid []string
	w.must(func(tx *inventory.Tx) error {
		for _, n := range append([]string{bound}, strings.Fields("j0 j1 j2 j3 j4 j5 j6 j7 j8 j9 j10 j11 j12 j13 j14 j15 j16 j17 j18 j19")...) {
			if _, err := inventory.LookupNonce(tx, n, w.now); err == nil {
				valid = append(valid, n)
			}
		}
		return nil
	})
	if diff := cmp.Diff([]string{bound, "j16", "j17", "j18", "j19"}, valid); diff != "" {
		t.Errorf("valid nonces (-want +got):\n%s", diff)
	}
}

func TestASecondLiveMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot(1, "k1")
	w.assign(h.ID, "r")
	w.fetch(1, "n2") // somebody boots with its MAC
	w.pass(time.Second)
	heard := func(key string) (h inventory.Host, err error) {
		id := w.byMAC(1).ID
		err = w.do(func(tx *inventory.Tx) error {
			h, err = inventory.Heard(tx, id, key, "boot-"+key, ip(1), w.now)
			if errors.Is(err, inventory.ErrNonce) {
				return nil
			}
			return err
		})
		return h, err
	}
	if _, err := heard("k1"); err != nil { // the first is alive
		t.Fatal(err)
	}
	w.pass(time.Second)
	r := report(1, "n2", "k2")
	r.From, r.Facts.NICs = ip(99), append(r.Facts.NICs, inventory.NIC{Name: "eth1", MAC: mac(77)})
	got := w.checkIn(r)
	if got.Attention == "" || got.HostKey != "k1" || got.IP != ip(1) || got.HasMAC(mac(77)) || got.State != inventory.StateQueued {
		t.Errorf("a second machine: got key %s, ip %s, state %s, attention %q; want the first one kept and attention", got.HostKey, got.IP, got.State, got.Attention)
	}
	w.checkIn(r) // it goes on trying
	if _, err := heard("k2"); err != nil {
		t.Fatal(err)
	}
	if _, err := heard("k1"); err != nil {
		t.Error(err)
	}
	w.must(func(tx *inventory.Tx) (err error) { got, err = inventory.Approve(tx, h.ID, w.now); return err })
	if got.Attention != "" || !got.Approved || got.HostKey != "k1" {
		t.Errorf("approved: got %+v", got)
	}
	if err := w.do(func(tx *inventory.Tx) error { _, err := inventory.Approve(tx, h.ID, w.now); return err }); !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("approved twice: got %v, want ErrBadEvent", err)
	}
}

func TestARebootIsNoSecondMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot(1, "k1")
	if got := w.boot(1, "k2"); got.Attention != "" || got.HostKey != "k2" || got.ID != h.ID {
		t.Errorf("booted again: got key %s, attention %q", got.HostKey, got.Attention)
	}
	var got inventory.Host
	w.must(func(tx *inventory.Tx) error { // the old boot's report comes late
		_, err := inventory.Heard(tx, h.ID, "k1", "boot-k1", ip(1), w.now)
		if !errors.Is(err, inventory.ErrNonce) {
			t.Errorf("report of the old boot: got %v, want ErrNonce", err)
		}
		got, err = tx.Host(h.ID)
		return err
	})
	if got.Attention == "" {
		t.Error("two boots that report: want attention")
	}
}

func TestSuspiciousCheckIns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*inventory.Report)
		want   string // part of the sentence, "" = nothing
	}{
		{"nothing odd", func(*inventory.Report) {}, ""},
		{"another UUID", func(r *inventory.Report) { r.Facts.UUID = uuid(5) }, "UUID"},
		{"another serial", func(r *inventory.Report) { r.Facts.Serial = "other" }, "serial number"},
		{"the UUID in the other byte order", func(r *inventory.Report) { r.Facts.UUID = "11111111-2222-3333" + uuid(1)[18:] }, ""},
		{"a filler serial", func(r *inventory.Report) { r.Facts.Serial = "Default string" }, ""},
		{"no UUID", func(r *inventory.Report) { r.Facts.UUID = "" }, ""},
		{"through a router", func(r *inventory.Report) { r.SourceUnverified = true }, "router"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must(func(tx *inventory.Tx) error {
				_, err := inventory.Expect(tx, inventory.Announce{MAC: mac(1), UUID: uuid(1), Serial: "SN1", Role: "r"}, w.now)
				return err
			})
			w.fetch(1, "n1")
			r := report(1, "n1", "k1")
			r.Facts.NICs = append(r.Facts.NICs, inventory.NIC{Name: "eth1", MAC: mac(2)})
			c.change(&r)
			h := w.checkIn(r)
			if c.want == "" {
				if h.Attention != "" || h.State != inventory.StateQueued || !h.HasMAC(mac(2)) {
					t.Errorf("got %s, attention %q, want its job", h.State, h.Attention)
				}
				return
			}
			if !strings.Contains(h.Attention, c.want) || h.State != inventory.StateReady || len(w.openJobs()) != 0 || h.HasMAC(mac(2)) {
				t.Errorf("got %s, attention %q, MACs %v; want no job, and attention about %q", h.State, h.Attention, h.MACs, c.want)
			}
			w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Approve(tx, h.ID, w.now); return err })
			if h.State != inventory.StateQueued || !h.HasMAC(mac(2)) {
				t.Errorf("approved: got %s, MACs %v, want its job", h.State, h.MACs)
			}
			if again := w.checkIn(r); again.Attention != "" {
				t.Errorf("a repeat after the approval: got attention %q", again.Attention)
			}
		})
	}
}

func TestAPersonsChoiceApprovesTheRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetch(1, "n1")
	r := report(1, "n1", "k1")
	r.SourceUnverified = true
	h := w.checkIn(r)
	if h.Attention == "" {
		t.Fatal("want attention: no rule may act on it")
	}
	w.must(func(tx *inventory.Tx) (err error) {
		h, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Role: ptr("r")}, "admin", false, w.now)
		return err
	})
	if h.Attention != "" || h.State != inventory.StateQueued {
		t.Errorf("assigned by a person: got %s, attention %q", h.State, h.Attention)
	}
}

func TestClonedUUIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.boot(1, "k1")
	w.fetch(2, "n2")
	r := report(2, "n2", "k2")
	r.Facts.UUID = uuid(1)
	h := w.checkIn(r)
	if !strings.Contains(h.Attention, mac(1).String()) || h.ID == w.byMAC(1).ID {
		t.Errorf("the same UUID on another machine: got attention %q", h.Attention)
	}
	w.must(func(tx *inventory.Tx) error { _, err := inventory.Approve(tx, h.ID, w.now); return err })
	w.pass(time.Minute)
	w.fetch(2, "n3")
	r.NonceHash, r.HostKey = "n3", "k3"
	if h = w.checkIn(r); h.Attention != "" {
		t.Errorf("its next boot: got attention %q, want none, a person looked already", h.Attention)
	}
}

func TestAMACIsNeverTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.boot(1, "k1")
	w.fetch(2, "n2")
	r := report(2, "n2", "k2")
	r.Facts.NICs = append(r.Facts.NICs, inventory.NIC{Name: "usb0", MAC: mac(1)})
	second := w.checkIn(r)
	if got := w.byMAC(1); got.ID != first.ID || second.HasMAC(mac(1)) {
		t.Errorf("MAC of the first host: got host %s, want %s; the second has %v", got.ID, first.ID, second.MACs)
	}
	if !strings.Contains(second.Attention, "belongs to host "+mac(1).String()) {
		t.Errorf("attention: got %q, want whose MAC it is", second.Attention)
	}
	w.must(func(tx *inventory.Tx) (err error) {
		if second, err = inventory.Approve(tx, second.ID, w.now); err != nil {
			return err
		}
		diary, err := tx.Diary(second.ID, 0, 100)
		if !slices.ContainsFunc(diary, func(e inventory.Entry) bool { return strings.Contains(e.Text, "belongs to host") && e.Level == "warn" }) {
			t.Errorf("diary: got %v, want a warning", diary)
		}
		return err
	})
	if got := w.byMAC(1); got.ID != first.ID || second.HasMAC(mac(1)) || second.Attention != "" {
		t.Errorf("approved: got host %s, want %s; the second has %v", got.ID, first.ID, second.MACs)
	}
}

func TestAUSBAdapterMovesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	usb := inventory.NIC{Name: "usb0", MAC: mac(50)}
	boot := func(n int, via inventory.MAC, key string, nics ...inventory.NIC) inventory.Host {
		t.Helper()
		w.pass(time.Minute)
		w.must(func(tx *inventory.Tx) error {
			_, _, _, err := inventory.FetchScript(tx, inventory.Contact{MAC: via}, inventory.DiscoveryAlways, key, w.now)
			return err
		})
		w.pass(time.Minute)
		r := report(n, key, key)
		r.Facts.NICs = append(r.Facts.NICs, nics...)
		return w.checkIn(r)
	}
	a := boot(1, usb.MAC, "a1", usb)
	if !a.HasMAC(mac(1)) || !a.HasMAC(mac(50)) {
		t.Fatalf("machine 1: got %v", a.MACs)
	}
	// Machine 2 boots with the adapter: it is taken for machine 1, and nothing of it is believed.
	b := boot(2, usb.MAC, "b1", usb)
	if b.ID != a.ID || b.Attention == "" || b.HasMAC(mac(2)) {
		t.Errorf("machine 2 with the adapter: got host %s, attention %q, MACs %v", b.ID, b.Attention, b.MACs)
	}
	// Machine 1 boots without it: it gives the adapter up, and machine 2 is a host of its own.
	a = boot(1, mac(1), "a2")
	if a.HasMAC(mac(50)) || a.Attention != "" {
		t.Errorf("machine 1 without the adapter: got MACs %v, attention %q", a.MACs, a.Attention)
	}
	b = boot(2, usb.MAC, "b2", usb)
	if b.ID == a.ID || b.Attention != "" || !b.HasMAC(mac(2)) {
		t.Errorf("machine 2: got host %s, attention %q, MACs %v", b.ID, b.Attention, b.MACs)
	}
}

func TestCheckInOfAnIgnoredHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, _ := w.fetch(1, "n1")
	w.apply(h.ID, inventory.IgnoreAsked{})
	if _, err := w.try(report(1, "n1", "k")); !errors.Is(err, inventory.ErrBadEvent) {
		t.Errorf("got %v, want ErrBadEvent", err)
	}
}

func TestBootTarget(t *testing.T) {
	t.Parallel()
	blank := &inventory.Facts{Disks: []inventory.Disk{{ID: "a"}}}
	windows := &inventory.Facts{Disks: []inventory.Disk{{ID: "a", Bootable: true}}}
	stick := &inventory.Facts{Disks: []inventory.Disk{{ID: "a", Bootable: true, Boot: true}}}
	const s0, disk = inventory.TargetStage0, inventory.TargetDisk
	for _, c := range []struct {
		name              string
		host              *inventory.Host
		once, always, off inventory.Target
	}{
		{"a machine never heard of", nil, s0, s0, disk},
		{"seen but never checked in", &inventory.Host{State: inventory.StateSeen}, s0, s0, disk},
		{"ready with nothing bootable", &inventory.Host{State: inventory.StateReady, Facts: blank}, s0, s0, disk},
		{"ready with something bootable", &inventory.Host{State: inventory.StateReady, Facts: windows}, disk, s0, disk},
		{"ready with only the stick bootable", &inventory.Host{State: inventory.StateReady, Facts: stick}, s0, s0, disk},
		{"expected", &inventory.Host{State: inventory.StateExpected}, s0, s0, s0},
		{"queued", &inventory.Host{State: inventory.StateQueued, Facts: windows}, s0, s0, s0},
		{"installing", &inventory.Host{State: inventory.StateInstalling, Facts: windows}, s0, s0, s0},
		{"failed before the flip", &inventory.Host{State: inventory.StateFailed, Facts: windows}, s0, s0, s0},
		{"failed after the flip", &inventory.Host{State: inventory.StateFailed, Flipped: true, EverFlipped: true}, disk, disk, disk},
		{"queued to verify again", &inventory.Host{State: inventory.StateQueued, Flipped: true, EverFlipped: true}, disk, disk, disk},
		{"a reinstall that waits", &inventory.Host{State: inventory.StateQueued, EverFlipped: true}, s0, s0, s0},
		{"installed", &inventory.Host{State: inventory.StateInstalled, EverFlipped: true, Facts: blank}, disk, disk, disk},
		{"installed, somebody asked for stage-0", &inventory.Host{State: inventory.StateInstalled, EverFlipped: true, StageZeroUntil: t0.Add(1)}, s0, s0, s0},
		{"installed, nobody asks any more", &inventory.Host{State: inventory.StateInstalled, EverFlipped: true, StageZeroUntil: t0}, disk, disk, disk},
		{"ignored", &inventory.Host{State: inventory.StateIgnored, StageZeroUntil: t0.Add(1)}, inventory.TargetSilent, inventory.TargetSilent, inventory.TargetSilent},
		{"held by the loop guard", &inventory.Host{State: inventory.StateQueued, Fetches: inventory.HoldAfter}, inventory.TargetHold, inventory.TargetHold, inventory.TargetHold},
	} {
		var got [3]inventory.Target
		for i, d := range []inventory.Discovery{inventory.DiscoveryOnce, inventory.DiscoveryAlways, inventory.DiscoveryOff} {
			var why string
			if got[i], why = inventory.BootTarget(c.host, d, t0); why == "" {
				t.Errorf("%s, %s: no reason", c.name, d)
			}
		}
		if want := [3]inventory.Target{c.once, c.always, c.off}; got != want {
			t.Errorf("%s (once, always, off): got %q, want %q", c.name, got, want)
		}
	}
}

// TestFirmwareMayStutter: what iPXE said of a machine that nobody announced is no word against its own report.
func TestFirmwareMayStutter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(func(tx *inventory.Tx) error {
		c := contact(1)
		c.UUID, c.Serial = uuid(9), "garbled"
		_, _, _, err := inventory.FetchScript(tx, c, inventory.DiscoveryOnce, "n1", w.now)
		return err
	})
	h := w.checkIn(report(1, "n1", "k1"))
	if h.Attention != "" || h.UUID != uuid(1) || h.Serial != "SN1" {
		t.Errorf("first check-in: got UUID %s, serial %s, attention %q", h.UUID, h.Serial, h.Attention)
	}
	w.pass(time.Minute)
	w.fetch(1, "n2")
	r := report(1, "n2", "k2")
	r.Facts.UUID = uuid(9)
	if h = w.checkIn(r); h.Attention == "" || h.UUID != uuid(1) {
		t.Errorf("another UUID than at the check-in before: got UUID %s, attention %q", h.UUID, h.Attention)
	}
}
