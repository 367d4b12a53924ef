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
