package boltdb

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

const (
	bucketLeases       inventory.Bucket = "leases"       // address → lease.Lease
	bucketReservations inventory.Bucket = "reservations" // hardware address → lease.Reservation
)

// maxLeaseBatch bounds how many lease writes share one commit.
const maxLeaseBatch = 1024

// leaseWrite is one write that waits for the shared commit.
type leaseWrite struct {
	key   string
	value []byte // nil = delete
	done  chan error
}

// CommitLease writes the lease of an address and returns when it is on disk. Writes that gather
// while another commit runs share the next one. When ctx ends first the lease may still be
// written: the caller sends no ACK then, which harms nobody.
func (d *DB) CommitLease(ctx context.Context, l lease.Lease) error {
	if !l.IP.IsValid() {
		return fmt.Errorf("lease for %s: it has no address", l.HW)
	}
	v, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("lease of %s for %s: %w", l.IP, l.HW, err)
	}
	if err := d.writeLease(ctx, leaseWrite{key: l.IP.String(), value: v}); err != nil {
		return fmt.Errorf("lease of %s for %s: %w", l.IP, l.HW, err)
	}
	return nil
}

// DeleteLease removes the lease of an address; none there is no error. It keeps its order with CommitLease.
func (d *DB) DeleteLease(ctx context.Context, ip netip.Addr) error {
	if err := d.writeLease(ctx, leaseWrite{key: ip.String()}); err != nil {
		return fmt.Errorf("delete the lease of %s: %w", ip, err)
	}
	return nil
}

func (d *DB) writeLease(ctx context.Context, w leaseWrite) error {
	w.done = make(chan error, 1)
	if err := d.sendLease(ctx, w); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendLease hands w to the committer; the lock keeps Close from closing the channel meanwhile.
func (d *DB) sendLease(ctx context.Context, w leaseWrite) error {
	d.leaseMu.RLock()
	defer d.leaseMu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	select {
	case d.leases <- w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitLeases is the one committer: it takes whatever has gathered and commits it at once.
func (d *DB) commitLeases() {
	defer close(d.done)
	for w := range d.leases {
		batch := append(make([]leaseWrite, 0, 16), w)
	gather:
		for len(batch) < maxLeaseBatch {
			select {
			case w, ok := <-d.leases:
				if !ok {
					break gather
				}
				batch = append(batch, w)
			default:
				break gather
			}
		}
		err := d.Update(func(tx *inventory.Tx) error {
			for _, w := range batch {
				if err := w.apply(tx); err != nil {
					return err
				}
			}
			return nil
		})
		for _, w := range batch {
			w.done <- err
		}
	}
}

func (w *leaseWrite) apply(tx *inventory.Tx) error {
	if w.value == nil {
		return tx.Delete(bucketLeases, w.key)
	}
	return tx.Put(bucketLeases, w.key, w.value)
}

// Leases reads all leases, in no useful order.
func (d *DB) Leases() ([]lease.Lease, error) { return all[lease.Lease](d, bucketLeases) }

// Reservations reads all reservations, in order of the hardware address.
func (d *DB) Reservations() ([]lease.Reservation, error) {
	return all[lease.Reservation](d, bucketReservations)
}

// PutReservation writes the fixed address of a hardware address.
// inventory.ErrConflict when the address is reserved for another one.
func (d *DB) PutReservation(r lease.Reservation) error {
	return d.Update(func(tx *inventory.Tx) error {
		err := tx.Scan(bucketReservations, "", "", func(k string, v []byte) (bool, error) {
			var other lease.Reservation
			if err := json.Unmarshal(v, &other); err != nil {
				return false, fmt.Errorf("reservation %s: %w", k, err)
			}
			if other.IP == r.IP && other.HW != r.HW {
				return false, fmt.Errorf("address %s is reserved for %s already: %w", r.IP, other.HW, inventory.ErrConflict)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		return tx.PutJSON(bucketReservations, r.HW.String(), r)
	})
}

// DeleteReservation removes the fixed address of a hardware address. inventory.ErrNotFound.
func (d *DB) DeleteReservation(hw lease.HW) error {
	return d.Update(func(tx *inventory.Tx) error {
		v, err := tx.Get(bucketReservations, hw.String())
		if err != nil {
			return err
		}
		if v == nil {
			return fmt.Errorf("a reservation for %s is %w", hw, inventory.ErrNotFound)
		}
		return tx.Delete(bucketReservations, hw.String())
	})
}

// all decodes every record of a bucket.
func all[T any](d *DB, b inventory.Bucket) ([]T, error) {
	var out []T
	err := d.bolt.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(b))
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			var x T
			if err := json.Unmarshal(v, &x); err != nil {
				return fmt.Errorf("record %s/%s: %w", b, k, err)
			}
			out = append(out, x)
			return nil
		})
	})
	if err != nil {
		return nil, d.explain("read", err)
	}
	return out, nil
}
