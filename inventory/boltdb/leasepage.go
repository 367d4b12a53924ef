package boltdb

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// pageLooks is how many leases one page looks at: those that ended count, too.
const pageLooks = 2000

// LeasePage reads up to limit leases that keep wants, in order of their address as text, from the one after `after` (the
// zero Addr = from the first). next is where the following page goes on after, the zero Addr at the end. A page looks at a
// bounded number of leases, so it may hold fewer than limit, even none, and have a next one all the same. Beside that it
// costs a look through the journal, whose size is fixed.
func (d *DB) LeasePage(after netip.Addr, limit int, keep func(*lease.Lease) bool) (page []lease.Lease, next netip.Addr, err error) {
	btx, newest, err := d.leaseSnapshot()
	if err != nil {
		return nil, next, err
	}
	defer func() { _ = btx.Rollback() }() // of a read transaction: fails only when ended already
	from := ""
	if after.IsValid() {
		from = after.String()
	}
	young := newest.after(from)
	var stored, value []byte
	advance := func() ([]byte, []byte) { return nil, nil }
	if b := btx.Bucket([]byte(bucketLeases)); b != nil {
		c := b.Cursor()
		if stored, value = c.Seek([]byte(from)); string(stored) == from && stored != nil {
			stored, value = c.Next()
		}
		advance = c.Next
	}
	for looked := 0; stored != nil || len(young) > 0; looked++ {
		if len(page) == max(limit, 1) || looked == pageLooks {
			return page, after, nil
		}
		var l lease.Lease
		key := string(stored)
		if len(young) > 0 && (stored == nil || young[0] <= key) {
			if young[0] == key {
				stored, value = advance() // the newer one counts
			}
			l, err = newest.lease(netip.MustParseAddr(young[0]))
			young = young[1:]
		} else {
			if err = json.Unmarshal(value, &l); err != nil {
				err = fmt.Errorf("record %s/%s: %w", bucketLeases, key, err)
			}
			stored, value = advance()
		}
		if err != nil {
			return nil, next, err
		}
		if after = l.IP; keep(&l) {
			page = append(page, l)
		}
	}
	return page, next, nil
}

// after lists the addresses whose text sorts after `from`, in that order.
func (n *newest) after(from string) (out []string) {
	var buf [64]byte
	for ip := range n.at {
		if text := address(ip).AppendTo(buf[:0]); string(text) > from {
			out = append(out, string(text))
		}
	}
	slices.Sort(out)
	return out
}

// ReservationPage reads up to limit reservations in order of the hardware address as text, after that of `after` ("" =
// from the first). next is "" at the end.
func (d *DB) ReservationPage(after string, limit int) (page []lease.Reservation, next string, err error) {
	err = d.View(func(tx *inventory.Tx) error {
		return tx.Scan(bucketReservations, "", after, func(k string, v []byte) (bool, error) {
			if len(page) == max(limit, 1) {
				next = page[len(page)-1].HW.String()
				return false, nil
			}
			var r lease.Reservation
			if err := json.Unmarshal(v, &r); err != nil {
				return false, fmt.Errorf("reservation %s: %w", k, err)
			}
			page = append(page, r)
			return true, nil
		})
	})
	return page, next, err
}

// Reservation reads the fixed address of a hardware address. inventory.ErrNotFound.
func (d *DB) Reservation(hw lease.HW) (r lease.Reservation, err error) {
	err = d.View(func(tx *inventory.Tx) error {
		found, err := tx.GetJSON(bucketReservations, hw.String(), &r)
		if err == nil && !found {
			err = fmt.Errorf("a reservation for %s is %w", hw, inventory.ErrNotFound)
		}
		return err
	})
	return r, err
}
