package boltdb

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// benchHosts is the size of a large site.
const benchHosts = 10000

// site fills a database with so many hosts (in hundreds) as they are after an install, each with a diary of so many lines.
func site(tb testing.TB, path string, hosts, lines int) *DB {
	tb.Helper()
	d := open(tb, path)
	d.bolt.NoSync = true // only while it is filled
	defer func() { d.bolt.NoSync = false }()
	for from := 0; from < hosts; from += 100 {
		if err := d.Update(func(tx *inventory.Tx) error {
			for i := from; i < from+100; i++ {
				if err := putSiteHost(tx, i, lines); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			tb.Fatal(err)
		}
	}
	return d
}

func siteMAC(i int) inventory.MAC {
	return inventory.MAC{0x52, 0x54, 0, byte(i >> 16), byte(i >> 8), byte(i)}
}

func putSiteHost(tx *inventory.Tx, i, lines int) error {
	id := inventory.HostID(fmt.Sprintf("%016x", i))
	f := &inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "Example", Product: "Server 1", MemoryBytes: 64 << 30,
		NICs: []inventory.NIC{{Name: "eno1", MAC: siteMAC(i), Addrs: []string{"10.0.0.1/16"}}, {Name: "eno2"}}}
	for k := range 4 {
		f.Disks = append(f.Disks, inventory.Disk{ID: fmt.Sprintf("ata-DISK_%d_%d", i, k), ByID: []string{fmt.Sprintf("wwn-0x%016x", i*4+k)},
			Name: "sda", Serial: fmt.Sprintf("S%d-%d", i, k), Model: "Disk", SizeBytes: 1 << 40, Type: "ssd", Transport: "sata",
			Signatures: []string{"gpt"}, Partitions: []inventory.Partition{{Number: 1, FS: "vfat"}, {Number: 2, FS: "ext4"}}})
	}
	if _, err := tx.PutHost(inventory.Host{ID: id, MAC: siteMAC(i), MACs: []inventory.MAC{siteMAC(i)}, Name: fmt.Sprintf("node-%d", i), Role: "worker",
		UUID: fmt.Sprintf("11111111-2222-3333-4444-%012x", i), Serial: fmt.Sprint("SN", i), State: inventory.StateInstalled, EverFlipped: true, Facts: f,
		IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), LastSeen: time.Now()}); err != nil {
		return err
	}
	if _, err := tx.PutJob(inventory.Job{ID: inventory.JobID(fmt.Sprintf("j%015x", i)), HostID: id, Kind: inventory.JobInstall, State: inventory.JobDone, Role: "worker"}); err != nil {
		return err
	}
	for range lines {
		if err := tx.Note(inventory.Entry{HostID: id, Kind: "job.step", By: "pipeline", Text: "copying the system: 412 of 900 MB"}); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkSite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "hatchery.db")
	d := site(b, path, benchHosts, 20)
	b.Run("page of 50", func(b *testing.B) {
		for b.Loop() {
			if err := d.View(func(tx *inventory.Tx) error {
				page, _, err := tx.Hosts(inventory.HostID(fmt.Sprintf("%016x", benchHosts/2)), 50)
				if len(page) != 50 {
					b.Errorf("page of %d", len(page))
				}
				return err
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("host by MAC", func(b *testing.B) {
		for b.Loop() {
			if err := d.View(func(tx *inventory.Tx) error { _, err := tx.HostByMAC(siteMAC(77)); return err }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("update of one host with a diary line", func(b *testing.B) {
		for b.Loop() {
			if err := d.Update(oneUpdate); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("the same without fsync", func(b *testing.B) {
		d.bolt.NoSync = true
		defer func() { d.bolt.NoSync = false }()
		for b.Loop() {
			if err := d.Update(oneUpdate); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("256 leases at once", func(b *testing.B) {
		for b.Loop() {
			list := make([]lease.Lease, 256)
			for i := range list {
				list[i] = lease.Lease{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), HW: lease.HW{2, 0, 0, 0, 0, byte(i)}}
			}
			if err := d.CommitLeases(list...); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(256*b.N)/b.Elapsed().Seconds(), "leases/s")
	})
	closed(b, d)
	b.Run("open and check", func(b *testing.B) {
		var heap uint64
		for b.Loop() {
			d, err := Open(Config{Path: path})
			if err != nil {
				b.Fatal(err)
			}
			heap = heapInUse()
			closed(b, d)
		}
		b.ReportMetric(float64(heap)/(1<<20), "heap-MB")
	})
}

// heapInUse is the memory that is in use after all that can be let go was.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

func oneUpdate(tx *inventory.Tx) error {
	h, err := tx.HostByMAC(siteMAC(77))
	if err != nil {
		return err
	}
	h.LastSeen = time.Now()
	if _, err = tx.PutHost(h); err != nil {
		return err
	}
	return tx.Note(inventory.Entry{HostID: h.ID, Kind: "progress", Text: "still here"})
}

// reads are what a packet, page or check-in asks of the database, with the most allocations it may cost:
// they do not depend on the machine's load.
func reads(d *DB) []struct {
	name string
	most float64
	fn   func() error
} {
	return []struct {
		name string
		most float64
		fn   func() error
	}{
		{"a page of 50", 50 * 200, func() error {
			return d.View(func(tx *inventory.Tx) error { _, _, err := tx.Hosts("", 50); return err })
		}},
		{"the first 50 that need somebody", 50 * 200, func() error {
			return d.View(func(tx *inventory.Tx) error {
				_, _, err := tx.Ranked(inventory.RankQuery{Limit: 50})
				_, err2 := tx.Counts()
				return errors.Join(err, err2)
			})
		}},
		{"a host by its MAC", 250, func() error {
			return d.View(func(tx *inventory.Tx) error { _, err := tx.HostByMAC(siteMAC(77)); return err })
		}},
		{"the first 50 of a role, and all counted by role", 50 * 200, func() error {
			return d.View(func(tx *inventory.Tx) error {
				_, err := tx.OfRole("worker", 50)
				_, err2 := tx.RoleCounts()
				return errors.Join(err, err2)
			})
		}},
		{"the jobs of a host", 300, func() error {
			return d.View(func(tx *inventory.Tx) error {
				n := 0
				err := tx.JobsBack(inventory.HostID(fmt.Sprintf("%016x", 77)), "", func(inventory.Job) (bool, error) { n++; return true, nil })
				if err == nil && n != 1 {
					err = fmt.Errorf("%d jobs", n)
				}
				return err
			})
		}},
		{"a page of 50 leases", 50 * 40, func() error {
			page, _, err := d.LeasePage(netip.Addr{}, 50, func(*lease.Lease) bool { return true })
			if err == nil && len(page) != 50 {
				err = fmt.Errorf("%d leases", len(page))
			}
			return err
		}},
		{"a page of 50 reservations", 50 * 40, func() error { _, _, err := d.ReservationPage("", 50); return err }},
		{"an update of one host", 2000, func() error { return d.Update(oneUpdate) }},
	}
}

// leased gives n addresses away and reserves as many, and has all of it in the database: what the journal holds is bounded by its size.
func leased(tb testing.TB, d *DB, n int) {
	tb.Helper()
	list := make([]lease.Lease, n)
	for i := range list {
		list[i] = lease.Lease{IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), HW: lease.HW(siteMAC(i))}
	}
	d.leases.mu.Lock()
	err := d.foldAll()
	d.leases.mu.Unlock()
	for from := 0; from < n && err == nil; from += 50 {
		err = d.CommitLeases(list[from : from+50]...)
	}
	d.leases.mu.Lock()
	err = errors.Join(err, d.foldAll())
	d.leases.mu.Unlock()
	if err := errors.Join(err, d.Update(func(tx *inventory.Tx) error {
		for _, l := range list {
			if err := tx.PutJSON(bucketReservations, l.HW.String(), lease.Reservation{HW: l.HW, IP: l.IP}); err != nil {
				return err
			}
		}
		return nil
	})); err != nil {
		tb.Fatal(err)
	}
}

// TestSizeCostsNothing: what a packet, page or check-in costs does not grow with the number of hosts,
// and holding a large site open takes no memory of its own.
func TestSizeCostsNothing(t *testing.T) { // not parallel: it counts allocations
	if testing.Short() {
		t.Skip("fills a database with 10,000 hosts; left out by -short")
	}
	small, large := site(t, filepath.Join(t.TempDir(), "hatchery.db"), 100, 2), site(t, filepath.Join(t.TempDir(), "hatchery.db"), benchHosts, 2)
	small.bolt.NoSync, large.bolt.NoSync = true, true // the disk is not what is measured
	leased(t, small, 100)
	leased(t, large, benchHosts)
	few := reads(small)
	for i, c := range reads(large) {
		count := func(fn func() error) float64 {
			return testing.AllocsPerRun(20, func() {
				if err := fn(); err != nil {
					t.Error(err)
				}
			})
		}
		got, base := count(c.fn), count(few[i].fn)
		t.Logf("%s: %.0f allocations of 100 hosts, %.0f of %d", c.name, base, got, benchHosts)
		if got > c.most || got > 1.25*base {
			t.Errorf("%s of %d hosts: got %.0f allocations, want at most %.0f, and a quarter more than the %.0f of 100 hosts",
				c.name, benchHosts, got, c.most, base)
		}
	}
	if got := heapInUse(); got > 64<<20 {
		t.Errorf("heap with %d hosts: got %d MB, want at most 64", benchHosts, got>>20)
	}
}
