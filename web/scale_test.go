package web

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// thousand stores n machines that checked in.
func (b *box) thousand(n int) {
	b.t.Helper()
	b.hive()
	b.more(n)
}

// more stores n further machines, of the kinds that a site collects over the years.
func (b *box) more(n int) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		counts, err := tx.Counts()
		if err != nil {
			return err
		}
		from := counts[inventory.StateInstalled]
		for i := from; i < from+n; i++ {
			f := facts()
			f.UUID, f.Serial = "", fmt.Sprintf("SN-%d", i)
			f.CPU.Cores, f.MemoryBytes = 2<<(i%5), 4<<30<<(i%6)
			f.Disks[0].SizeBytes, f.Disks[1].SizeBytes = 128e9<<(i%4), 1e12<<(i%5)
			m := inventory.MAC{0x52, 0x54, byte(i * 7), byte(i * 31), byte(i >> 8), byte(i)}
			h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, IP: netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}), Name: fmt.Sprintf("node%d", i),
				Role: []string{"worker", "server", "storage"}[i%3], State: inventory.StateInstalled, EverFlipped: true, Facts: &f, InstalledAt: t0.Add(-time.Duration(i) * 5 * time.Hour),
				LastSeen: time.Now().Add(-time.Duration(i*i%100000) * time.Second)}
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestPageOfAThousandMachinesIsSmallOnTheWire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make func(h *inventory.Host)
	}{
		{"all installed", func(*inventory.Host) {}},
		{"all new, without names", func(h *inventory.Host) {
			h.State, h.EverFlipped, h.InstalledAt, h.Name, h.Role = inventory.StateReady, false, time.Time{}, "", ""
			h.LastSeen, h.ReportedAt = time.Now(), time.Now()
		}},
		{"all failed, each in its own way", func(h *inventory.Host) {
			h.State, h.EverFlipped = inventory.StateFailed, false
			h.Error, h.Hint = "Host "+h.Name+" was silent for 5 min in step install while "+h.MAC.String()+" was written.", "Look at its screen, then retry."
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, nil)
			b.thousand(maxRows + 3)
			b.update(func(tx *inventory.Tx) error {
				hosts, _, err := tx.Hosts("", 2*maxRows)
				for _, h := range hosts {
					if c.make(&h); err == nil {
						_, err = tx.PutHost(h)
					}
				}
				return err
			})
			b.signIn()
			raw, page := b.zipped("/")
			if n := strings.Count(page, "<tr id="); n != maxRows || !strings.Contains(page, "1000 of 1003 machines") {
				t.Errorf("got %d rows, want %d and a word about the rest", n, maxRows)
			}
			t.Logf("%d bytes on the wire, %d unpacked", raw, len(page))
			if raw > 100_000 {
				t.Errorf("the page is %d bytes on the wire, want at most 100,000", raw)
			}
		})
	}
}

// zipped reads a page as browsers ask for it: how many bytes came, and what they are.
func (b *box) zipped(path string) (size int, page string) {
	b.t.Helper()
	a := b.send("GET", path, nil, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	zr, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(a.body), string(raw)
}

// BenchmarkMachinesPage is the budget of docs/performance.md: a page with 1,000 machines within 100 ms of server time. It
// reports the processor time of server and client together too, which the neighbours of a busy box do not change; "anew" is a
// page none of whose rows was drawn before, "search" one that looks through 10,000 machines for words.
func BenchmarkMachinesPage(b *testing.B) {
	x := start(b, nil)
	x.thousand(1000)
	x.signIn()
	run := func(b *testing.B, path string, before func()) {
		began := cpuTime(b)
		for b.Loop() {
			before()
			x.page(path)
		}
		b.ReportMetric(float64((cpuTime(b)-began).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	}
	b.Run("again", func(b *testing.B) { run(b, "/", func() {}) })
	b.Run("anew", func(b *testing.B) { run(b, "/", func() { x.drawn.young, x.drawn.old = nil, nil }) })
	for range 9 {
		x.more(1000)
	}
	b.Run("search", func(b *testing.B) { run(b, "/?q=node9999+worker", func() {}) })
}

// cpuTime is what this process has had of the processors.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestMachinesPageCostsItsOwnRows: what is read for the page and for its live counts does not grow with the site.
func TestMachinesPageCostsItsOwnRows(t *testing.T) { // not parallel: it counts allocations
	b := start(t, nil)
	count := func(read func(*machinesPage, *inventory.Tx) error) float64 {
		return testing.AllocsPerRun(3, func() {
			p := b.newMachinesPage(base{Now: time.Now()}, tableQuery{})
			if err := b.store.View(func(tx *inventory.Tx) error { return read(p, tx) }); err != nil {
				t.Error(err)
			}
		})
	}
	b.thousand(maxRows)
	page, sums := count((*machinesPage).read), count((*machinesPage).readSums)
	b.update(func(tx *inventory.Tx) error {
		for i := range 4 * maxRows {
			m := inventory.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}
			if _, err := tx.PutHost(inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, Name: fmt.Sprintf("zz%d", i),
				State: inventory.StateInstalled, EverFlipped: true}); err != nil {
				return err
			}
		}
		return nil
	})
	page5, sums5 := count((*machinesPage).read), count((*machinesPage).readSums)
	t.Logf("the page: %.0f allocations with %d machines, %.0f with five times as many; its counts: %.0f and %.0f", page, maxRows, page5, sums, sums5)
	if page5 > 1.25*page || sums5 > 1.25*sums {
		t.Errorf("with five times the machines: got %.0f and %.0f allocations, want no more than a quarter above %.0f and %.0f", page5, sums5, page, sums)
	}
}

// TestListsCostTheirOwnPage: nothing that a page or a list of the API shows grows with what it does not show.
func TestListsCostTheirOwnPage(t *testing.T) { // not parallel: it counts allocations
	b := start(t, nil)
	s, made := b.Server, 0
	size := func(n int) {
		b.update(func(tx *inventory.Tx) error {
			for i := range n {
				id := tx.NewID()
				made++
				m := inventory.MAC{2, 1, 0, 0, byte(made >> 8), byte(made)}
				h := inventory.Host{ID: inventory.HostID(id), MAC: m, MACs: []inventory.MAC{m}, Name: "n-" + id, Role: "worker", State: inventory.StateInstalled, EverFlipped: true, Behind: 1}
				if i%2 == 0 {
					h.Facts = &inventory.Facts{Arch: "x86_64", Vendor: "ACME", MemoryBytes: 8 << 30}
				}
				if _, err := tx.PutHost(h); err != nil {
					return err
				}
				for k := range 2 {
					j := inventory.Job{ID: inventory.JobID(fmt.Sprintf("%08x%08x", made, k)), HostID: h.ID, State: inventory.JobDone, Role: "worker"}
					if _, err := tx.PutJob(j); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	b.hive()
	var one inventory.HostID
	reads := map[string]func() error{
		"the roles page":               func() error { return b.store.View((&rolesPage{}).read) },
		"a page of the rules' dry run": func() error { _, _, err := s.rulesPreview("", 50); return err },
		"the activity page, nothing found": func() error {
			return b.store.View(func(tx *inventory.Tx) error { return (&activityPage{Filter: ActivityIn{By: "nobody"}}).read(tx, 0, "") })
		},
		"the strip of tasks": func() error {
			return b.store.View(func(tx *inventory.Tx) error { _, err := readStrip(tx, &lookup{job: tx.Job}, t0); return err })
		},
		"a machine's jobs": func() error {
			return b.store.View(func(tx *inventory.Tx) error { _, err := jobsOf(tx, one, t0); return err })
		},
		"the jobs of a host": func() error {
			_, err := s.listJobs(t.Context(), &jobsIn{PageIn: PageIn{Limit: 50}, Host: string(one)})
			return err
		},
		"jobs in a state that none is in": func() error {
			_, err := s.listJobs(t.Context(), &jobsIn{PageIn: PageIn{Limit: 50}, State: "failed"})
			return err
		},
		"hosts in a state that none is in": func() error {
			_, err := s.listHosts(t.Context(), &hostsIn{PageIn: PageIn{Limit: 50}, State: "failed"})
			return err
		},
		"which hosts of a role lag, counted": func() error {
			return b.store.View(func(tx *inventory.Tx) error { _, err := tx.RoleCounts(); return err })
		},
	}
	count := func() map[string]float64 {
		out := map[string]float64{}
		for name, fn := range reads {
			for range 5 { // the least: the server's own work behind it counts, too
				n := testing.AllocsPerRun(1, func() {
					if err := fn(); err != nil {
						t.Error(err)
					}
				})
				if least, counted := out[name]; !counted || n < least {
					out[name] = n
				}
			}
		}
		return out
	}
	size(2 * maxLooks)
	b.update(func(tx *inventory.Tx) error {
		hosts, _, err := tx.Hosts("", 1)
		one = hosts[0].ID
		return err
	})
	few := count()
	size(6 * maxLooks)
	tooMany := func(name string, n float64) bool { return n > 1.25*few[name]+20 }
	many := count()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); { // the server still reads what was just made: that counts, too
		over := false
		for name, n := range count() {
			many[name] = min(many[name], n)
			over = over || tooMany(name, many[name])
		}
		if !over {
			break
		}
	}
	for name, n := range many {
		t.Logf("%s: %.0f allocations with %d hosts, %.0f with four times as many", name, few[name], 2*maxLooks, n)
		if tooMany(name, n) {
			t.Errorf("%s: got %.0f allocations with four times the hosts, want no more than a quarter above %.0f", name, n, few[name])
		}
	}
}

// TestListsAreWholeByTheirPages: following the cursors shows everything once, whatever the size of a page.
func TestListsAreWholeByTheirPages(t *testing.T) {
	t.Parallel()
	f := newFakeSite()
	f.leased = 60
	b := start(t, f.config)
	b.hive()
	const n = maxLooks + 70
	b.update(func(tx *inventory.Tx) error {
		for i := range n {
			m := inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
			h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, Name: fmt.Sprintf("node%d", i), State: inventory.StateReady}
			if i%10 == 0 {
				h.State, h.Facts = inventory.StateFailed, &inventory.Facts{Arch: "x86_64", Vendor: "ACME", MemoryBytes: 8 << 30}
			}
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
			j := inventory.Job{ID: inventory.JobID(fmt.Sprintf("%016x", i)), HostID: h.ID, State: inventory.JobDone}
			if i%10 == 0 {
				j.State = inventory.JobFailed
			}
			if _, err := tx.PutJob(j); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 60 {
		b.api("PUT", fmt.Sprintf("/reservations/02:00:00:00:01:%02x", i+1), map[string]string{"ip": fmt.Sprintf("192.168.2.%d", i+1)}, 200, nil)
	}
	for path, want := range map[string]int{"/hosts": n, "/hosts?state=failed": n / 10, "/jobs": n, "/jobs?state=failed": n / 10, "/jobs?state=open": 0,
		"/jobs?host=node7": 1, "/rules/preview": n / 10, "/leases": 60, "/reservations": 60} {
		for _, limit := range []int{7, 50, 500} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			seen, pages := map[string]bool{}, 0
			for next := ""; pages == 0 || next != ""; pages++ {
				var page struct {
					Items []map[string]any `json:"items"`
					Next  string           `json:"next"`
				}
				b.api("GET", fmt.Sprintf("%s%slimit=%d&cursor=%s", path, sep, limit, url.QueryEscape(next)), nil, 200, &page)
				if len(page.Items) > limit || pages > n {
					t.Fatalf("%s: page %d has %d items, want at most %d", path, pages, len(page.Items), limit)
				}
				for _, it := range page.Items {
					key := fmt.Sprint(it["id"], it["host_id"], it["ip"])
					if seen[key] {
						t.Errorf("%s by %d: %s is there twice", path, limit, key)
					}
					seen[key] = true
				}
				next = page.Next
			}
			if len(seen) != want {
				t.Errorf("%s by %d: got %d in %d pages, want %d", path, limit, len(seen), pages, want)
			}
		}
	}
	for _, path := range []string{"/leases?cursor=x", "/reservations?cursor=x"} {
		b.api("GET", path, nil, 422, nil)
	}
	b.signIn()
	if p := b.page("/roles"); !strings.Contains(p, "The following machines") || strings.Contains(p, "From the first") {
		t.Error("the roles page does not lead to the rest of the dry run")
	}
	if p := b.page("/roles?after=zzzz"); !strings.Contains(p, "From the first") || !strings.Contains(p, "No rule matches any of these") {
		t.Error("the end of the dry run does not lead back to its beginning")
	}
}
