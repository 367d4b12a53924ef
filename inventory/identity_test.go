package inventory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func (w *world) expect(a inventory.Announce) (h inventory.Host) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Expect(tx, a, w.now); return err })
	return h
}

// fetchAs fetches the script of MAC n, which tells UUID and serial number too.
func (w *world) fetchAs(n int, uuid, serial, nonce string) (h inventory.Host) {
	w.t.Helper()
	c := contact(n)
	c.DHCP, c.UUID, c.Serial = false, uuid, serial
	w.must(func(tx *inventory.Tx) (err error) {
		h, _, _, err = inventory.FetchScript(tx, c, inventory.DiscoveryOnce, nonce, w.now)
		return err
	})
	return h
}

// TestAnnouncedMachineIsFoundWhereverItTells boots announced machines the way real ones do: firmware's DHCP tells the
// MAC and now and then the UUID, iPXE's script the rest, and some firmware nothing before stage-0 itself reports.
func TestAnnouncedMachineIsFoundWhereverItTells(t *testing.T) {
	t.Parallel()
	byUUID, bySerial, byMAC := inventory.Announce{UUID: uuid(1)}, inventory.Announce{Serial: "sn1"}, inventory.Announce{MAC: mac(1)}
	second := inventory.Announce{MAC: mac(9)}
	type tells struct{ dhcpUUID, scriptUUID, scriptSerial string }
	for _, c := range []struct {
		name  string
		known inventory.Announce
		tells tells
		ask   string // part of the sentence that stops automation, "" = it goes on
	}{
		{"MAC", byMAC, tells{}, ""},
		{"UUID told by DHCP", byUUID, tells{uuid(1), uuid(1), "SN1"}, ""},
		{"UUID told by the script", byUUID, tells{"", uuid(1), ""}, ""},
		{"UUID told by stage-0 alone", byUUID, tells{}, ""},
		{"UUID without hyphens, in capitals", inventory.Announce{UUID: strings.ToUpper(strings.ReplaceAll(uuid(1), "-", ""))}, tells{uuid(1), uuid(1), ""}, ""},
		{"serial told by the script, the UUID by DHCP", bySerial, tells{uuid(1), uuid(1), "SN1"}, ""},
		{"serial told by stage-0 alone", bySerial, tells{}, ""},
		{"serial told by stage-0 alone, filler before", bySerial, tells{"", "03000200-0400-0500-0006-000700080009", "Default string"}, ""},
		{"serial and UUID", inventory.Announce{UUID: uuid(1), Serial: "SN1"}, tells{"", uuid(1), "SN1"}, ""},
		{"serial of this machine, UUID of another", inventory.Announce{UUID: uuid(7), Serial: "SN1"}, tells{uuid(1), uuid(1), "SN1"}, "is known with UUID"},
		{"MAC that it has but does not boot with", second, tells{}, "boots with another MAC"},
		{"that MAC and its UUID", inventory.Announce{MAC: mac(9), UUID: uuid(1)}, tells{}, ""},
		{"MAC that it does not have, and its UUID", inventory.Announce{MAC: mac(8), UUID: uuid(1)}, tells{uuid(1), uuid(1), ""}, "does not have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.known.Name, c.known.Role = "alpha", "worker"
			want := w.expect(c.known)
			w.pass(time.Minute)
			w.must(func(tx *inventory.Tx) error {
				d := contact(1)
				d.UUID = c.tells.dhcpUUID
				h, err := inventory.Discover(tx, d, w.now)
				return errors.Join(err, tx.Note(inventory.Entry{Time: w.now, HostID: h.ID, Kind: "dhcp.discover", Text: "It asked DHCP."}))
			})
			boot := func(key string) inventory.Host {
				t.Helper()
				w.pass(time.Minute)
				w.fetchAs(1, c.tells.scriptUUID, c.tells.scriptSerial, key)
				r := report(1, key, key)
				r.Facts.NICs = append(r.Facts.NICs, inventory.NIC{Name: "eth1", MAC: mac(9)})
				first := w.checkIn(r)
				if again := w.checkIn(r); again.ID != first.ID || again.Attention != first.Attention { // its reply was lost
					t.Errorf("the same check-in again: got host %s, attention %q", again.ID, again.Attention)
				}
				return first
			}
			h := boot("k1")
			if h.ID != want.ID || h.Name != "alpha" || h.MAC != mac(1) || w.byMAC(1).ID != want.ID {
				t.Fatalf("checked in: got host %s %q, want %s", h.ID, h.Name, want.ID)
			}
			var all []inventory.Host
			var diary []inventory.Entry
			w.look(func(tx *inventory.Tx) (err error) {
				all, _, err = tx.Hosts("", 10)
				if err == nil {
					diary, err = tx.Diary(want.ID, 0, 10)
				}
				return err
			})
			if len(all) != 1 || len(diary) == 0 || diary[0].Text != "It asked DHCP." {
				t.Errorf("got %d hosts, want one that has the whole story: %v", len(all), diary)
			}
			if c.ask != "" {
				for _, h := range []inventory.Host{h, boot("k2")} { // booting again settles nothing
					if !strings.Contains(h.Attention, c.ask) || h.State != inventory.StateReady || len(w.openJobs()) != 0 {
						t.Fatalf("got %s, attention %q, want nothing done and %q", h.State, h.Attention, c.ask)
					}
				}
				w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Approve(tx, h.ID, w.now); return err })
			}
			if h.Attention != "" || h.State != inventory.StateQueued || len(w.openJobs()) != 1 {
				t.Errorf("got %s, attention %q, want its job", h.State, h.Attention)
			}
			if h = boot("k3"); h.Attention != "" {
				t.Errorf("its next boot: got attention %q", h.Attention)
			}
		})
	}
}

// TestAnnouncedHostIsNotTakenTwice: once a machine was heard as the announced host, no other one slips into it.
func TestAnnouncedHostIsNotTakenTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := w.expect(inventory.Announce{Serial: "SN1", Role: "worker"})
	w.fetchAs(1, "", "SN1", "n1")
	w.discover(2)
	w.fetchAs(2, "", "SN1", "n2")
	r := report(2, "n2", "k2")
	r.Facts.Serial = "SN1"
	h := w.checkIn(r)
	if h.ID == want.ID || !strings.Contains(h.Attention, "same UUID or serial") {
		t.Errorf("the second machine with the serial: got host %s, attention %q", h.ID, h.Attention)
	}
	if h = w.checkIn(report(1, "n1", "k1")); h.ID != want.ID {
		t.Errorf("the first: got host %s, want %s", h.ID, want.ID)
	}
}

// TestTwoAnnouncedHostsForOneMachine: it is nobody's before a person says which of the two it is.
func TestTwoAnnouncedHostsForOneMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.expect(inventory.Announce{Serial: "SN1", Role: "worker", Name: "alpha"})
	w.expect(inventory.Announce{UUID: uuid(1), Role: "worker", Name: "beta"})
	w.discover(1)
	w.fetchAs(1, uuid(1), "SN1", "n1")
	if h := w.checkIn(report(1, "n1", "k1")); h.Name != "" || h.Attention == "" || len(w.openJobs()) != 0 {
		t.Errorf("got host %q, attention %q, want a nameless one that asks", h.Name, h.Attention)
	}
}

// TestDoubtsOutliveAReboot: what spoke against a machine still does when it boots again, until a person approves.
func TestDoubtsOutliveAReboot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*inventory.Facts)
		want   string
	}{
		{"another host's UUID", func(f *inventory.Facts) { f.UUID = uuid(1) }, "same UUID"},
		{"another host's serial in other letters", func(f *inventory.Facts) { f.Serial = "sn1" }, "same UUID or serial"},
		{"another host's MAC on a USB adapter", func(f *inventory.Facts) { f.NICs = append(f.NICs, inventory.NIC{Name: "usb0", MAC: mac(1)}) }, "usb0 has MAC " + mac(1).String()},
		{"the serial of a forgotten host that was installed", func(f *inventory.Facts) { f.Serial = "SN3" }, "then forgotten"},
		{"the MAC of a forgotten host that was installed", func(f *inventory.Facts) { f.NICs = append(f.NICs, inventory.NIC{Name: "usb0", MAC: mac(3)}) }, "forgotten host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.boot(1, "k1")
			gone := w.installed(3)
			w.must(func(tx *inventory.Tx) error { return inventory.Forget(tx, gone.ID, w.now) })
			boot := func(key string) inventory.Host {
				t.Helper()
				w.pass(time.Minute)
				w.fetch(2, key)
				r := report(2, key, key)
				c.change(&r.Facts)
				return w.checkIn(r)
			}
			for _, key := range []string{"k2", "k3", "k4"} {
				h := boot(key)
				if !strings.Contains(h.Attention, c.want) {
					t.Fatalf("boot %s: got attention %q, want %q", key, h.Attention, c.want)
				}
				if !strings.Contains(h.Attention, "pprove") {
					t.Errorf("attention %q: want what to do", h.Attention)
				}
				w.must(func(tx *inventory.Tx) error { // a rule or a person gives it a role: still nothing starts
					_, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Name: ptr("two")}, "admin", false, w.now)
					return err
				})
			}
			var h inventory.Host
			w.must(func(tx *inventory.Tx) (err error) { h, err = inventory.Approve(tx, w.byMAC(2).ID, w.now); return err })
			if h.Attention != "" || h.HasMAC(mac(1)) || h.HasMAC(mac(3)) {
				t.Errorf("approved: got attention %q, MACs %v; a MAC never changes hands", h.Attention, h.MACs)
			}
			if h = boot("k5"); h.Attention != "" {
				t.Errorf("the next boot: got attention %q, want none: a person looked", h.Attention)
			}
			if first := w.byMAC(1); first.Attention != "" || len(first.MACs) != 1 {
				t.Errorf("the first host: got attention %q, MACs %v", first.Attention, first.MACs)
			}
		})
	}
}

func TestSerialsInAnyLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.boot(1, "k1") // reports SN1
	for _, s := range []string{"SN1", "sn1", " Sn1 "} {
		w.look(func(tx *inventory.Tx) error {
			got, err := tx.HostBySerial(s)
			if got.ID != h.ID {
				t.Errorf("host by serial %q: got %q, %v, want %s", s, got.ID, err, h.ID)
			}
			return nil
		})
	}
	err := w.do(func(tx *inventory.Tx) error {
		_, err := inventory.Expect(tx, inventory.Announce{Serial: "sn1"}, w.now)
		return err
	})
	if !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("announced again in other letters: got %v, want ErrConflict", err)
	}
}

func TestFiller(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", " ", "-", "...", "0", "00000000", "xxxxxxxx", "1234567890", "123456789", "12345678", "0123456789", "0123456789ABCDEF", "987654321",
		"To Be Filled By O.E.M.", "To be filled by O.E.M", "TO BE FILLED BY OEM", "Default string", "Default String ", "None", "NULL", "N/A", "n.a.", "Not Specified", "Not Applicable",
		"Not Available", "System Serial Number", "Chassis Serial Number", "Base Board Serial Number", "SystemSerialNumb", "Serial", "Unknown", "INVALID", "OEM", "O.E.M.", "Empty",
		"No Asset Tag", "SN12345678", "........................",
		"00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "fefefefe-fefe-fefe-fefe-fefefefefefe",
		"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009", "03020100-0504-0706-0809-0a0b0c0d0e0f", "00010203-0405-0607-0809-0a0b0c0d0e0f",
		"12345678-1234-5678-90ab-cddeefaabbcc", "12345678-1234-5678-1234-567812345678", "4C4C4544-0000-2010-8020-80C04F202020"} {
		if !inventory.Filler(s) {
			t.Errorf("%q tells machines apart, it says", s)
		}
	}
	for _, s := range []string{"5CD1234ABC", uuid(1), "CZC1234567", "1234567A", "PF-0123456", "VMware-56 4d 1a", "0000000A", "J2K0453", "SN1", "00000000-0000-0000-0000-ac1f6b000001",
		"4c4c4544-0051-3610-8052-b4c04f303033", "98765432", "日本"} {
		if inventory.Filler(s) {
			t.Errorf("%q is a filler, it says", s)
		}
	}
}
