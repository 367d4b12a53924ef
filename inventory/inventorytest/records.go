package inventorytest

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// cmpAddr lets go-cmp compare addresses.
func cmpAddr() cmp.Option {
	return cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
}

func mac(n byte) inventory.MAC { return inventory.MAC{0x52, 0x54, 0, 0, 0, n} }

func testHosts(t *testing.T, s inventory.Store) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	want := inventory.Host{ID: "h1", MAC: mac(1), MACs: []inventory.MAC{mac(1), mac(2)}, Name: "alpha", UUID: "aa-bb", Serial: "S1",
		IP: netip.MustParseAddr("10.0.0.5"), State: inventory.StateSeen, FirstSeen: now,
		Facts: &inventory.Facts{Arch: "x86_64", Disks: []inventory.Disk{{ID: "ata-X", SizeBytes: 1 << 40}}}}
	update(t, s, func(tx *inventory.Tx) (err error) {
		want, err = tx.PutHost(want)
		return err
	})
	view(t, s, func(tx *inventory.Tx) error {
		for name, find := range map[string]func() (inventory.Host, error){
			"id":                                func() (inventory.Host, error) { return tx.Host("h1") },
			"other MAC":                         func() (inventory.Host, error) { return tx.HostByMAC(mac(2)) },
			"UUID":                              func() (inventory.Host, error) { return tx.HostByUUID("AA-BB") },
			"serial":                            func() (inventory.Host, error) { return tx.HostBySerial("S1") },
			"name":                              func() (inventory.Host, error) { return tx.HostByName("alpha") },
			"IP":                                func() (inventory.Host, error) { return tx.HostByIP(want.IP) },
			"reference":                         func() (inventory.Host, error) { return tx.FindHost("52-54-00-00-00-01") },
			"a reference that is its other MAC": func() (inventory.Host, error) { return tx.FindHost("52:54:00:00:00:02") },
			"a reference that is its id":        func() (inventory.Host, error) { return tx.FindHost("h1") },
			"a reference that is its name":      func() (inventory.Host, error) { return tx.FindHost("alpha") },
		} {
			got, err := find()
			if diff := cmp.Diff(want, got, cmpAddr()); err != nil || diff != "" {
				t.Errorf("host by %s: %v (-want +got):\n%s", name, err, diff)
			}
		}
		if _, err := tx.FindHost("s1"); !errors.Is(err, inventory.ErrNotFound) {
			t.Errorf("host by what may be another one's name and is its serial number: got %v, want ErrNotFound", err)
		}
		if _, err := tx.HostByMAC(inventory.MAC{}); !errors.Is(err, inventory.ErrNotFound) {
			t.Errorf("host by the zero MAC: got %v, want ErrNotFound", err)
		}
		return nil
	})
	stale := want
	stale.Revision--
	err := s.Update(func(tx *inventory.Tx) error { _, err := tx.PutHost(stale); return err })
	if !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("put of an old revision: got %v, want ErrConflict", err)
	}
	err = s.Update(func(tx *inventory.Tx) error {
		_, err := tx.PutHost(inventory.Host{ID: "h2", MAC: mac(2), MACs: []inventory.MAC{mac(2)}})
		return err
	})
	if !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("put of another host's MAC: got %v, want ErrConflict", err)
	}
	update(t, s, func(tx *inventory.Tx) error {
		want.Name = "beta"
		_, err := tx.PutHost(want)
		return err
	})
	view(t, s, func(tx *inventory.Tx) error {
		if _, err := tx.HostByName("alpha"); !errors.Is(err, inventory.ErrNotFound) {
			t.Errorf("host by its old name: got %v, want ErrNotFound", err)
		}
		_, err := tx.HostByName("beta")
		return err
	})
}

func testPages(t *testing.T, s inventory.Store) {
	update(t, s, func(tx *inventory.Tx) error {
		for i := range 7 {
			if _, err := tx.PutHost(inventory.Host{ID: inventory.HostID(fmt.Sprintf("h%d", i)), State: inventory.StateSeen}); err != nil {
				return err
			}
		}
		return nil
	})
	var got []string
	view(t, s, func(tx *inventory.Tx) error {
		var after inventory.HostID
		for {
			page, next, err := tx.Hosts(after, 3)
			if err != nil {
				return err
			}
			line := ""
			for _, h := range page {
				line += string(h.ID) + " "
			}
			got = append(got, line)
			if next == "" {
				return nil
			}
			after = next
		}
	})
	if diff := cmp.Diff([]string{"h0 h1 h2 ", "h3 h4 h5 ", "h6 "}, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func testJobs(t *testing.T, s inventory.Store) {
	j := inventory.Job{ID: "j1", HostID: "h1", Kind: inventory.JobInstall, State: inventory.JobQueued, Data: []byte("x")}
	open := func(want int) {
		t.Helper()
		view(t, s, func(tx *inventory.Tx) error {
			jobs, err := tx.OpenJobs()
			if len(jobs) != want {
				t.Errorf("open jobs: got %d, want %d", len(jobs), want)
			}
			return err
		})
	}
	update(t, s, func(tx *inventory.Tx) (err error) { j, err = tx.PutJob(j); return err })
	open(1)
	err := s.Update(func(tx *inventory.Tx) error {
		_, err := tx.PutJob(inventory.Job{ID: "j1", State: inventory.JobDone})
		return err
	})
	if !errors.Is(err, inventory.ErrConflict) {
		t.Errorf("put of an old revision: got %v, want ErrConflict", err)
	}
	open(1)
	j.State = inventory.JobDone
	update(t, s, func(tx *inventory.Tx) (err error) { j, err = tx.PutJob(j); return err })
	open(0)
	view(t, s, func(tx *inventory.Tx) error {
		got, err := tx.Job("j1")
		if diff := cmp.Diff(j, got); diff != "" {
			t.Errorf("job (-want +got):\n%s", diff)
		}
		return err
	})
}

func testJobsOfHosts(t *testing.T, s inventory.Store) {
	update(t, s, func(tx *inventory.Tx) error {
		for i := range 30 {
			j := inventory.Job{ID: inventory.JobID(fmt.Sprintf("j%02d", i)), HostID: inventory.HostID([]string{"h", "h1", "h2"}[i%3]), State: inventory.JobDone}
			if _, err := tx.PutJob(j); err != nil {
				return err
			}
		}
		return nil
	})
	list := func(host inventory.HostID, before inventory.JobID, limit int) (got []inventory.JobID) {
		t.Helper()
		view(t, s, func(tx *inventory.Tx) error {
			return tx.JobsBack(host, before, func(j inventory.Job) (bool, error) {
				got = append(got, j.ID)
				return len(got) < limit, nil
			})
		})
		return got
	}
	for _, c := range []struct {
		host   inventory.HostID
		before inventory.JobID
		want   []inventory.JobID
	}{
		{"h1", "", []inventory.JobID{"j28", "j25", "j22"}},
		{"h1", "j22", []inventory.JobID{"j19", "j16", "j13"}},
		{"h1", "j04", []inventory.JobID{"j01"}},
		{"h1", "j01", nil},
		{"h", "", []inventory.JobID{"j27", "j24", "j21"}},
		{"nobody", "", nil},
		{"", "", []inventory.JobID{"j29", "j28", "j27"}},
		{"", "j01", []inventory.JobID{"j00"}},
	} {
		if diff := cmp.Diff(c.want, list(c.host, c.before, 3)); diff != "" {
			t.Errorf("jobs of host %q before %q (-want +got):\n%s", c.host, c.before, diff)
		}
	}
	view(t, s, func(tx *inventory.Tx) error { return checkJobs(tx) })
	update(t, s, func(tx *inventory.Tx) error { // written again it is still found once
		j, err := tx.Job("j05")
		if err == nil {
			j.HostID = "h1"
			_, err = tx.PutJob(j)
		}
		return err
	})
	view(t, s, func(tx *inventory.Tx) error { return checkJobs(tx) })
}

func testRoles(t *testing.T, s inventory.Store) {
	put := func(id, name, role string, change func(*inventory.Host)) {
		t.Helper()
		update(t, s, func(tx *inventory.Tx) error {
			h, err := tx.Host(inventory.HostID(id))
			if errors.Is(err, inventory.ErrNotFound) {
				h, err = inventory.Host{ID: inventory.HostID(id), State: inventory.StateInstalled, EverFlipped: true}, nil
			}
			h.Name, h.Role = name, role
			if change != nil {
				change(&h)
			}
			if err == nil {
				_, err = tx.PutHost(h)
			}
			return err
		})
		view(t, s, func(tx *inventory.Tx) error {
			hosts, err := allHosts(tx)
			return errors.Join(err, checkRoles(tx, hosts))
		})
	}
	put("a", "zoe", "worker", nil)
	put("b", "ann", "worker", func(h *inventory.Host) { h.Behind = 2 })
	put("c", "bob", "work", func(h *inventory.Host) { h.Behind = -1 })
	put("d", "dan", "", func(h *inventory.Host) { h.Behind = 3 })
	put("e", "eve", "worker", func(h *inventory.Host) { h.State = inventory.StateFailed })
	view(t, s, func(tx *inventory.Tx) error {
		counts, err := tx.RoleCounts()
		if diff := cmp.Diff(map[string]inventory.RoleCount{"worker": {Hosts: 3, Lagging: 1}, "work": {Hosts: 1, Lagging: 1}}, counts); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		first, err2 := tx.OfRole("worker", 2)
		if len(first) != 2 || first[0].Name != "eve" || first[1].Name != "ann" {
			t.Errorf("the first two of the role: got %+v, want the failed one and then by name", first)
		}
		return errors.Join(err, err2)
	})
	put("b", "ann", "worker", func(h *inventory.Host) { h.Upkeep = inventory.JobDeploy }) // busy with it
	put("a", "zoe", "work", nil)
	put("b", "ann", "worker", func(h *inventory.Host) { h.Upkeep, h.InstalledRole = "", "work" })
	put("d", "dan", "work", nil)
	put("c", "bob", "", nil)
	update(t, s, func(tx *inventory.Tx) error { return tx.DeleteHost("e") })
	put("b", "ann", "", nil)
}

func testDiary(t *testing.T, s inventory.Store) {
	const rounds = 10
	for i := range rounds {
		update(t, s, func(tx *inventory.Tx) error {
			for j := range 100 {
				e := inventory.Entry{HostID: "h1", Kind: "state", Text: fmt.Sprint(i*100 + j)}
				if err := tx.Note(e); err != nil {
					return err
				}
			}
			return tx.Note(inventory.Entry{Kind: "admin", Text: "of the appliance"})
		})
	}
	view(t, s, func(tx *inventory.Tx) error {
		all, err := tx.Diary("h1", 0, 10000)
		if err != nil {
			return err
		}
		if len(all) < inventory.DiaryKeep || len(all) > inventory.DiaryKeep+128 {
			t.Errorf("kept entries: got %d, want %d to %d", len(all), inventory.DiaryKeep, inventory.DiaryKeep+128)
		}
		if got := all[len(all)-1].Text; got != fmt.Sprint(rounds*100-1) {
			t.Errorf("newest entry: got %q", got)
		}
		page, err := tx.Diary("h1", all[9].Seq, 5)
		if diff := cmp.Diff(all[10:15], page, cmpAddr()); diff != "" {
			t.Errorf("a page of the diary (-want +got):\n%s", diff)
		}
		if own, err := tx.Diary("", 0, 100); err != nil || len(own) != rounds {
			t.Errorf("the appliance's own diary: got %d entries, %v, want %d", len(own), err, rounds)
		}
		return err
	})
}
