package boltdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb/journal"
)

const (
	bucketLeases       inventory.Bucket = "leases"       // address → lease.Lease
	bucketReservations inventory.Bucket = "reservations" // hardware address → lease.Reservation
)

// journalSize is the length of each of the two journal files: some 40,000 leases.
const journalSize = 2 << 20

// foldAtOnce is how many leases one update moves from the journal into the database, so that hosts and jobs are
// written in between.
const foldAtOnce = 512

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
	bytes   []byte     // what records returned last
	list    [][]byte
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
	d.leases.mu.Lock()
	defer d.leases.mu.Unlock()
	if d.leases.closed {
		return ErrClosed
	}
	if err := d.broken.Load(); err != nil {
		return *err
	}
	records, err := d.leases.records(list)
	if err != nil {
		return err
	}
	began := time.Now()
	err = d.leases.journal.Append(records)
	if errors.Is(err, journal.ErrFull) {
		if err = d.turn(); err != nil {
			return err
		}
		err = d.leases.journal.Append(records)
	}
	if err != nil {
		return d.commitFailed(err)
	}
	d.cfg.Committed(true, time.Since(began))
	return nil
}

// records are the leases as the journal keeps them, good until the next call.
func (l *leaseLog) records(list []lease.Lease) ([][]byte, error) {
	l.bytes, l.list = l.bytes[:0], l.list[:0]
	for i := range list {
		start := len(l.bytes)
		var err error
		if l.bytes, err = appendRecord(l.bytes, &list[i]); err != nil {
			return nil, err
		}
		l.list = append(l.list, l.bytes[start:]) // still whole when bytes moves on
	}
	return l.list, nil
}

// binaryForm begins a record of the journal that is a lease's binary form. The others begin with the length of their key in the
// database, then key and value: so all were written at first, and so are leases that have no binary form.
const binaryForm = 0

// appendRecord appends a lease as the journal keeps it.
func appendRecord(b []byte, l *lease.Lease) ([]byte, error) {
	if !l.IP.Is4() {
		return nil, fmt.Errorf("lease for %s: it has no IPv4 address", l.HW)
	}
	start := len(b)
	b = append(b, binaryForm)
	if b, ok := l.AppendBinary(b); ok {
		return b, nil
	}
	b = l.IP.AppendTo(b)
	b[start] = byte(len(b) - start - 1)
	return l.AppendJSON(b), nil
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
	newest := &newest{at: map[uint32]uint32{}}
	damage, err := d.leases.journal.Read(generation, newest.add)
	if err != nil {
		return err
	}
	said := d.setAside(generation, damage)
	keys := newest.numbers()
	var value []byte
	for {
		n := min(foldAtOnce, len(keys))
		if err := d.Update(func(tx *inventory.Tx) (err error) {
			for _, k := range keys[:n] {
				ip := address(k)
				if value, err = newest.appendValue(value[:0], ip); err != nil {
					return err
				}
				if err := tx.Put(bucketLeases, ip.String(), value); err != nil {
					return err
				}
			}
			if n < len(keys) {
				return nil
			}
			if said != "" {
				if err := tx.Note(inventory.Entry{Time: d.cfg.Now(), Kind: "admin.network", By: "appliance", Level: "error", Text: said}); err != nil {
					return err
				}
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

// newest is the newest record of each address in the journal, which can have tens of thousands: in few pieces, and found by
// the addresses' numbers, because making room for them was what the whole appliance needed most memory for.
type newest struct {
	at     map[uint32]uint32 // an address's record: the number of its piece, and from pieceShift down where in that
	pieces [][]byte          // records, each behind its length in two bytes
}

// pieceSize is how long a piece is, unless a single record is longer; 1 << pieceShift is more than any is.
const (
	pieceSize  = 64 << 10
	pieceShift = 20
)

// numbers are the addresses' numbers, in order: neighbours share pages of the database.
func (n *newest) numbers() []uint32 {
	out := slices.AppendSeq(make([]uint32, 0, len(n.at)), maps.Keys(n.at))
	slices.Sort(out)
	return out
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func number(ip netip.Addr) uint32 {
	b := ip.As4()
	return binary.BigEndian.Uint32(b[:])
}

// add takes a record of the journal in; those of one address come oldest first.
func (n *newest) add(r []byte) error {
	ip, err := recordIP(r)
	if err != nil {
		return fmt.Errorf("%w: a record of %d bytes in the journal of leases", ErrCorrupt, len(r))
	}
	key := number(ip)
	if old, ok := n.at[key]; ok && len(n.record(old)) == len(r) { // most are as long as the one before
		copy(n.record(old), r)
		return nil
	}
	k := len(n.pieces) - 1
	if k < 0 || cap(n.pieces[k])-len(n.pieces[k]) < 2+len(r) {
		k++
		n.pieces = append(n.pieces, make([]byte, 0, max(pieceSize, 2+len(r))))
	}
	n.at[key] = uint32(k)<<pieceShift | uint32(len(n.pieces[k]))
	n.pieces[k] = append(binary.LittleEndian.AppendUint16(n.pieces[k], uint16(len(r)-1)), r...)
	return nil
}

func (n *newest) record(at uint32) []byte {
	b := n.pieces[at>>pieceShift][at&(1<<pieceShift-1):]
	return b[2 : 2+int(binary.LittleEndian.Uint16(b))+1]
}

// recordIP is the address that a record of the journal is about.
func recordIP(r []byte) (netip.Addr, error) {
	if r[0] == binaryForm {
		return lease.BinaryIP(r[1:])
	}
	if 1+int(r[0]) > len(r) {
		return netip.Addr{}, lease.ErrNoLease
	}
	ip, err := netip.ParseAddr(string(r[1 : 1+int(r[0])]))
	if err == nil && !ip.Is4() {
		err = lease.ErrNoLease
	}
	return ip, err
}

// appendValue appends what the database has of an address whose newest record this is.
func (n *newest) appendValue(b []byte, ip netip.Addr) ([]byte, error) {
	r := n.record(n.at[number(ip)])
	if r[0] != binaryForm {
		return append(b, r[1+int(r[0]):]...), nil
	}
	l, err := lease.DecodeBinary(r[1:])
	if err != nil {
		return b, fmt.Errorf("%w: the record of %s in the journal of leases", ErrCorrupt, ip)
	}
	return l.AppendJSON(b), nil
}

// lease is the newest one of an address.
func (n *newest) lease(ip netip.Addr) (l lease.Lease, err error) {
	r := n.record(n.at[number(ip)])
	if r[0] == binaryForm {
		l, err = lease.DecodeBinary(r[1:])
	} else {
		err = json.Unmarshal(r[1+int(r[0]):], &l)
	}
	if err != nil {
		err = fmt.Errorf("the record of %s in the journal of leases: %w", ip, err)
	}
	return l, err
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
	for _, n := range newest.numbers() {
		l, err := newest.lease(address(n))
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	if b := btx.Bucket([]byte(bucketLeases)); b != nil {
		err = b.ForEach(func(k, v []byte) error {
			var l lease.Lease
			if err := json.Unmarshal(v, &l); err != nil {
				return fmt.Errorf("record %s/%s: %w", bucketLeases, k, err)
			}
			if _, newer := newest.at[number(l.IP)]; !newer {
				out = append(out, l)
			}
			return nil
		})
	}
	return out, err
}

// leaseSnapshot is the database and what the journal adds to it, both of one moment.
func (d *DB) leaseSnapshot() (*bbolt.Tx, *newest, error) {
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
	newest := &newest{at: map[uint32]uint32{}}
	gens := slices.Clone(l.pending)
	if g := l.journal.Present(); g != 0 {
		gens = append(gens, g)
	}
	for _, g := range gens {
		if _, err := l.journal.Read(g, newest.add); err != nil {
			return nil, nil, errors.Join(d.explain("read the journal of", err), btx.Rollback())
		}
	}
	return btx, newest, nil
}

// ReservationsVersion is another number after every update that may have changed a reservation; in the order of this call, then
// Reservations, nothing is missed.
func (d *DB) ReservationsVersion() uint64 { return d.reserved.Load() }

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
