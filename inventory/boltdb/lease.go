package boltdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb/journal"
)

const (
	bucketLeases       inventory.Bucket = "leases"       // address → lease.Lease
	bucketReservations inventory.Bucket = "reservations" // hardware address → lease.Reservation
)

// journalSize is the length of each of the two journal files: some 8,000 leases.
const journalSize = 2 << 20

// foldAtOnce is how many leases one update moves from the journal into the database, so that hosts and jobs are
// written in between.
const foldAtOnce = 2048

// keyFolded is the record of the last generation of the journal that is in the database as a whole.
const keyFolded = "leases/folded"

// leaseLog is the way of a lease: an append to the journal makes it durable, and when a journal file is full
// its leases are moved into the database, where later ones of the same address replace them. What is in
// the journal is newer than what is in the database.
type leaseLog struct {
	mu      sync.Mutex
	closed  bool
	journal *journal.Journal
	pending []uint64   // full ones that are not in the database yet, oldest first
	folding chan error // the result of the move of pending[0]; nil while none runs
}

// openLeases opens the journal and moves what an earlier run left in it into the database. When that fails, as on
// a full disk, the leases stay where they are, and the next commit tries again.
func (d *DB) openLeases() error {
	j, err := journal.Open(d.cfg.Path+journalSuffix, d.cfg.journalSize)
	if err != nil {
		return fmt.Errorf("open the journal of leases: %w", err)
	}
	d.leases.journal = j
	if d.cfg.Reserve > 0 { // its space is kept, too, before another needs it
		if err := j.Make(); err != nil {
			d.cfg.Log.Warn("the journal of leases cannot be made yet", "err", err)
		}
	}
	folded, err := d.folded()
	if err != nil {
		return errors.Join(err, j.Close())
	}
	for _, g := range j.Generations() {
		if g > folded {
			d.leases.pending = append(d.leases.pending, g)
		}
	}
	if err := d.settle(); err != nil {
		d.cfg.Log.Warn("leases stay in their journal: they cannot be moved into the database", "err", err)
	}
	return nil
}

const journalSuffix = ".leases"

// JournalNames are the files beside a database at path that belong to it: the newest leases are in them.
func JournalNames(path string) []string { return journal.Names(path + journalSuffix) }

// folded is the last generation of the journal that is in the database as a whole.
func (d *DB) folded() (g uint64, err error) {
	err = d.View(func(tx *inventory.Tx) error {
		_, err := tx.GetJSON(inventory.BucketMeta, keyFolded, &g)
		return err
	})
	return g, err
}

// CommitLeases writes the leases of addresses and returns when all are on disk; after an error
// none may be taken for written, though some may be found after a restart. They share one sync: whoever has many to
// write hands them over at once. Not to be called inside an update. ErrClosed, ErrDisk.
func (d *DB) CommitLeases(list ...lease.Lease) error {
	records := make([][]byte, len(list))
	for i := range list {
		r, err := leaseRecord(&list[i])
		if err != nil {
			return err
		}
		records[i] = r
	}
	d.leases.mu.Lock()
	defer d.leases.mu.Unlock()
	if d.leases.closed {
		return ErrClosed
	}
	if err := d.broken.Load(); err != nil {
		return *err
	}
	err := d.leases.journal.Append(records)
	if errors.Is(err, journal.ErrFull) {
		if err = d.turn(); err != nil {
			return err
		}
		err = d.leases.journal.Append(records)
	}
	if err != nil {
		return d.commitFailed(err)
	}
	return nil
}

// leaseRecord is a lease in the journal: its key's length, key and value in the database.
func leaseRecord(l *lease.Lease) ([]byte, error) {
	if !l.IP.IsValid() {
		return nil, fmt.Errorf("lease for %s: it has no address", l.HW)
	}
	r := l.IP.AppendTo(make([]byte, 1, 384))
	r[0] = byte(len(r) - 1)
	return l.AppendJSON(r), nil
}

// turn begins a new generation of the journal, and has the full one moved into the database meanwhile.
// The caller holds the lock.
func (d *DB) turn() error {
	l := &d.leases
	if err := d.settle(); err != nil { // the file that comes next must have nothing to lose
		return err
	}
	folded, err := d.folded()
	if err != nil {
		return err
	}
	full := l.end()
	if err := l.journal.Next(folded); err != nil {
		return d.explain("make the journal of", err)
	}
	if full != 0 {
		l.folding = make(chan error, 1)
		go func(done chan<- error) { done <- d.fold(full) }(l.folding)
	}
	return nil
}

// end ends the present generation, which is pending then, and returns it; 0 when there is none.
func (l *leaseLog) end() uint64 {
	g := l.journal.Present()
	if g != 0 {
		l.journal.End()
		l.pending = append(l.pending, g)
	}
	return g
}

// settle waits until no full generation is left that is not in the database. The caller holds the lock.
func (d *DB) settle() error {
	l := &d.leases
	if l.folding != nil {
		if err := <-l.folding; err == nil { // else it is tried again
			l.pending = l.pending[1:]
		}
		l.folding = nil
	}
	for ; len(l.pending) > 0; l.pending = l.pending[1:] {
		if err := d.fold(l.pending[0]); err != nil {
			return err
		}
	}
	return nil
}

// fold moves the leases of a full generation into the database. Done twice, it does no harm.
func (d *DB) fold(generation uint64) error {
	newest := map[string][]byte{}
	if err := d.leases.journal.Read(generation, func(r []byte) error { return addRecord(newest, r) }); err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(newest)) // neighbours share pages
	for {
		n := min(foldAtOnce, len(keys))
		if err := d.Update(func(tx *inventory.Tx) error {
			for _, k := range keys[:n] {
				if err := tx.Put(bucketLeases, k, newest[k]); err != nil {
					return err
				}
			}
			if n < len(keys) {
				return nil
			}
			return tx.PutJSON(inventory.BucketMeta, keyFolded, generation)
		}); err != nil {
			return err
		}
		if keys = keys[n:]; len(keys) == 0 {
			return nil
		}
	}
}

// addRecord takes a record of the journal in.
func addRecord(newest map[string][]byte, r []byte) error {
	n := 1 + int(r[0])
	if n > len(r) {
		return fmt.Errorf("%w: a record of %d bytes in the journal of leases", ErrCorrupt, len(r))
	}
	newest[string(r[1:n])] = slices.Clone(r[n:])
	return nil
}

// foldAll moves all leases into the database. The caller holds the lock.
func (d *DB) foldAll() error {
	if err := d.settle(); err != nil {
		return err
	}
	d.leases.end()
	return d.settle()
}

// closeLeases ends commits and moves all leases into the database, if it takes them: then the journal holds
// nothing that counts.
func (d *DB) closeLeases() error {
	d.leases.mu.Lock()
	defer d.leases.mu.Unlock()
	d.leases.closed = true
	if err := d.foldAll(); err != nil {
		d.cfg.Log.Warn("leases stay in their journal: they cannot be moved into the database", "err", err)
	}
	return d.leases.journal.Close()
}

// Leases reads all leases, in no useful order.
func (d *DB) Leases() ([]lease.Lease, error) {
	btx, newest, err := d.leaseSnapshot()
	if err != nil {
		return nil, err
	}
	defer func() { _ = btx.Rollback() }() // of a read transaction: fails only when ended already
	var out []lease.Lease
	add := func(k, v []byte) error {
		var l lease.Lease
		if err := json.Unmarshal(v, &l); err != nil {
			return fmt.Errorf("record %s/%s: %w", bucketLeases, k, err)
		}
		out = append(out, l)
		return nil
	}
	for k, v := range newest {
		if err := add([]byte(k), v); err != nil {
			return nil, err
		}
	}
	if b := btx.Bucket([]byte(bucketLeases)); b != nil {
		err = b.ForEach(func(k, v []byte) error {
			if _, newer := newest[string(k)]; newer {
				return nil
			}
			return add(k, v)
		})
	}
	return out, err
}

// leaseSnapshot is the database and what the journal adds to it, both of one moment.
func (d *DB) leaseSnapshot() (*bbolt.Tx, map[string][]byte, error) {
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, ErrClosed
	}
	btx, err := d.bolt.Begin(false)
	if err != nil {
		return nil, nil, d.explain("read", err)
	}
	newest := map[string][]byte{}
	gens := slices.Clone(l.pending)
	if g := l.journal.Present(); g != 0 {
		gens = append(gens, g)
	}
	for _, g := range gens {
		if err := l.journal.Read(g, func(r []byte) error { return addRecord(newest, r) }); err != nil {
			return nil, nil, errors.Join(d.explain("read the journal of", err), btx.Rollback())
		}
	}
	return btx, newest, nil
}

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
