package boltdb

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// samePages demands that the pages together are the list, once each and in order.
func samePages(t testing.TB, d *DB, list []lease.Lease) {
	t.Helper()
	var got []string
	for after, more := (netip.Addr{}), true; more; more = after.IsValid() {
		page, next, err := d.LeasePage(after, 7, func(*lease.Lease) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page {
			got = append(got, l.IP.String()+" "+l.Hostname)
		}
		after = next
	}
	var want []string
	for _, l := range list {
		want = append(want, l.IP.String()+" "+l.Hostname)
	}
	slices.Sort(want) // a space sorts before what an address is made of
	if !slices.Equal(got, want) {
		t.Errorf("pages of leases: got %q, want %q", got, want)
	}
}

// TestALeasePageLooksAtABoundedNumber: leases that nobody wants to see cost no more than a page does.
func TestALeasePageLooksAtABoundedNumber(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	var list []lease.Lease
	for i := range pageLooks + 100 {
		list = append(list, numbered(i, 0))
	}
	if err := d.CommitLeases(list...); err != nil {
		t.Fatal(err)
	}
	looked := 0
	page, next, err := d.LeasePage(netip.Addr{}, 50, func(*lease.Lease) bool { looked++; return false })
	if err != nil || len(page) != 0 || !next.IsValid() || looked != pageLooks {
		t.Errorf("the first page: %d leases, next %s, %d looked at, %v; want none of %d, and a next page", len(page), next, looked, err, pageLooks)
	}
	page, next, err = d.LeasePage(next, 500, func(*lease.Lease) bool { return true })
	if err != nil || len(page) != 100 || next.IsValid() {
		t.Errorf("the second: %d leases, next %s, %v; want the last 100", len(page), next, err)
	}
}

func TestReservationPages(t *testing.T) {
	t.Parallel()
	d := fresh(t)
	for i := range 10 {
		l := numbered(i, 0)
		if err := d.PutReservation(lease.Reservation{HW: l.HW, IP: l.IP}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for after, more := "", true; more; more = after != "" {
		page, next, err := d.ReservationPage(after, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.HW.String())
		}
		after = next
	}
	if len(got) != 10 || !slices.IsSorted(got) || !strings.HasSuffix(got[9], ":09") {
		t.Errorf("pages: got %q, want all ten in order", got)
	}
	if r, err := d.Reservation(lease.HW{2, 0, 0, 0, 0, 5}); err != nil || r.IP != numbered(5, 0).IP {
		t.Errorf("one reservation: got %+v, %v", r, err)
	}
	if _, err := d.Reservation(lease.HW{9}); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("a reservation that is not there: got %v, want ErrNotFound", err)
	}
}
