package web

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// thousand stores n machines that checked in.
func (b *box) thousand(n int) {
	b.t.Helper()
	b.hive()
	b.update(func(tx *inventory.Tx) error {
		for i := range n {
			f := facts()
			f.UUID, f.Serial = "", fmt.Sprintf("SN-%d", i)
			m := inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
			h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, Name: fmt.Sprintf("node%d", i), Role: "worker",
				State: inventory.StateInstalled, EverFlipped: true, Facts: &f, InstalledAt: t0, LastSeen: time.Now()}
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestPageOfAThousandMachinesIsSmallOnTheWire(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.thousand(maxRows + 3)
	b.signIn()
	req, err := http.NewRequest("GET", b.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "<tr id="); n != maxRows || !strings.Contains(string(page), "3 more machines are not shown") {
		t.Errorf("got %d rows, want %d and a word about the rest", n, maxRows)
	}
	if len(raw) > 100_000 {
		t.Errorf("the page is %d bytes on the wire, want at most 100,000", len(raw))
	}
}

// BenchmarkMachinesPage is the budget of docs: a page with 1,000 machines within 100 ms of server time.
func BenchmarkMachinesPage(b *testing.B) {
	x := start(b, nil)
	x.thousand(1000)
	x.signIn()
	for b.Loop() {
		x.page("/")
	}
}

// TestMachinesPageCostsItsOwnRows: what is read for the page and for its live counts does not grow with the site.
func TestMachinesPageCostsItsOwnRows(t *testing.T) { // not parallel: it counts allocations
	b := start(t, nil)
	count := func(read func(*machinesPage, *inventory.Tx) error) float64 {
		return testing.AllocsPerRun(3, func() {
			p := &machinesPage{base: base{Now: time.Now()}}
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
