package boltdb

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/inventory"
)

// bucketSums holds what the records of every other bucket come to: bbolt checks the order of its pages, not
// what is in them. Kept in the same transaction as the records, held against them at every start.
const bucketSums = "sums"

// sum is what a bucket's records come to, whatever their order.
type sum struct {
	crc   uint32 // the exclusive or of all records' CRC-32C
	count uint64 // of records
	seq   uint64 // the bucket's own sequence number
}

const sumSize = 4 + 8 + 8

func (s sum) encode() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, sumSize), s.crc)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.count), s.seq)
}

// storedSum is what the sums say of a bucket, zero when nothing.
func storedSum(tx *bbolt.Tx, name string) (s sum) {
	b := tx.Bucket([]byte(bucketSums))
	if b == nil {
		return s
	}
	if v := b.Get([]byte(name)); len(v) == sumSize {
		s = sum{binary.BigEndian.Uint32(v), binary.BigEndian.Uint64(v[4:]), binary.BigEndian.Uint64(v[12:])}
	}
	return s
}

// add takes a record in.
func (s *sum) add(name, key string, value []byte) {
	s.count, s.crc = s.count+1, s.crc^crc(name, key, value)
}

// drop takes a record that was added out again.
func (s *sum) drop(name, key string, value []byte) {
	s.count, s.crc = s.count-1, s.crc^crc(name, key, value)
}

// take takes in the records that another sum is of.
func (s *sum) take(more sum) { s.count, s.crc = s.count+more.count, s.crc^more.crc }

func crc(name, key string, value []byte) uint32 {
	return recordCRC(prefixOf(name), []byte(key), value)
}

// prefixOf is what the sums of a bucket's records begin with.
func prefixOf(name string) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	return crc32.Update(crc32.Checksum([]byte(name), table), table, []byte{0})
}

// recordCRC goes on from prefixOf: with the key, a zero, and the value. It allocates nothing.
func recordCRC(prefix uint32, key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	c := ^crc32.Update(prefix, table, key)
	return crc32.Update(^(table[byte(c)] ^ c>>8), table, value)
}

// countUp reads all of a bucket.
func countUp(name string, b *bbolt.Bucket) (s sum, err error) {
	s.seq = b.Sequence()
	err = b.ForEach(func(k, v []byte) error {
		s.add(name, string(k), v)
		return nil
	})
	return s, err
}

// checkSums holds what the buckets came to against their sums. ErrCorrupt.
func checkSums(tx *bbolt.Tx, buckets []bucketCheck) error {
	for _, b := range buckets {
		switch want := storedSum(tx, b.name); {
		case b.name == bucketSums || b.sum == want:
		case b.sum.count == want.count:
			return fmt.Errorf("%w: among the %d records of %q is one that is not as it was written", ErrCorrupt, want.count, b.name)
		default:
			return fmt.Errorf("%w: %d records of %q are there of %d", ErrCorrupt, b.sum.count, b.name, want.count)
		}
	}
	sums := tx.Bucket([]byte(bucketSums))
	if sums == nil {
		return nil
	}
	return sums.ForEach(func(name, _ []byte) error {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: the records of %q are gone", ErrCorrupt, name)
		}
		return nil
	})
}

// sumOf is the sum of a bucket that the transaction writes to.
func (r *rawTx) sumOf(b inventory.Bucket) *sum {
	s := r.sums[b]
	if s == nil {
		stored := storedSum(r.tx, string(b))
		if s = &stored; r.sums == nil {
			r.sums = map[inventory.Bucket]*sum{}
		}
		r.sums[b] = s
	}
	return s
}

// finish writes the sums of what the transaction changed. Nothing may be written after it.
func (r *rawTx) finish() error {
	if len(r.sums) == 0 {
		return nil
	}
	bucket, err := r.tx.CreateBucketIfNotExists([]byte(bucketSums))
	if err != nil {
		return fmt.Errorf("write the sums: %w", err)
	}
	for b, s := range r.sums {
		if err := bucket.Put([]byte(b), s.encode()); err != nil {
			return fmt.Errorf("write the sum of %s: %w", b, err)
		}
	}
	return nil
}
