package boltdb

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/staged-hive/hatchery/inventory"
)

var errEnded = errors.New("transaction has ended")

// rawTx implements inventory.RawTx. Nothing it returns points into the file.
type rawTx struct {
	tx    *bbolt.Tx
	wrote int // writes so far: a cursor is not valid across one
	sums  map[inventory.Bucket]*sum
	spare *reserve // nil in a migration
	ended bool
}

func (r *rawTx) Get(b inventory.Bucket, key string) ([]byte, error) {
	if r.ended {
		return nil, errEnded
	}
	bucket := r.tx.Bucket([]byte(b))
	if bucket == nil {
		return nil, nil
	}
	v := bucket.Get([]byte(key))
	if v == nil {
		return nil, nil
	}
	return copyOf(v), nil
}

// copyOf never returns nil: nil means "absent".
func copyOf(v []byte) []byte { return append([]byte{}, v...) }

func (r *rawTx) Put(b inventory.Bucket, key string, value []byte) error {
	if r.ended {
		return errEnded
	}
	bucket, err := r.tx.CreateBucketIfNotExists([]byte(b))
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", b, key, err)
	}
	r.wrote++
	was := bucket.Get([]byte(key))
	if was != nil {
		r.sumOf(b).drop(string(b), key, was)
	}
	if err := bucket.Put([]byte(key), copyOf(value)); err != nil {
		if was != nil {
			r.sumOf(b).add(string(b), key, was)
		}
		return fmt.Errorf("write %s/%s: %w", b, key, err)
	}
	r.sumOf(b).add(string(b), key, value)
	return nil
}

func (r *rawTx) Delete(b inventory.Bucket, key string) error {
	if r.ended {
		return errEnded
	}
	bucket := r.tx.Bucket([]byte(b))
	if bucket == nil {
		return nil
	}
	was := bucket.Get([]byte(key))
	if was == nil {
		return nil
	}
	r.wrote++
	r.sumOf(b).drop(string(b), key, was)
	if err := bucket.Delete([]byte(key)); err != nil {
		r.sumOf(b).add(string(b), key, was)
		return fmt.Errorf("delete %s/%s: %w", b, key, err)
	}
	return nil
}

func (r *rawTx) Scan(b inventory.Bucket, prefix, after string, fn func(string, []byte) (bool, error)) error {
	if r.ended {
		return errEnded
	}
	bucket := r.tx.Bucket([]byte(b))
	if bucket == nil {
		return nil
	}
	c, wrote := bucket.Cursor(), r.wrote
	k, v := c.Seek([]byte(prefix))
	if after != "" && after >= prefix {
		k, v = seekAfter(c, []byte(after))
	}
	return r.walk(b, prefix, cursor{c, wrote, k, v}, (*bbolt.Cursor).Next, seekAfter, fn)
}

// cursor is where a scan stands, and what had been written by then.
type cursor struct {
	*bbolt.Cursor
	wrote int
	k, v  []byte
}

// walk calls fn for the key at c and those that step leads to, as long as they have the prefix; after a write of fn's
// the place is found anew with seek.
func (r *rawTx) walk(b inventory.Bucket, prefix string, c cursor, step func(*bbolt.Cursor) (k, v []byte), seek func(c *bbolt.Cursor, key []byte) (k, v []byte), fn func(string, []byte) (bool, error)) error {
	for c.k != nil && bytes.HasPrefix(c.k, []byte(prefix)) {
		key := string(c.k)
		if more, err := fn(key, copyOf(c.v)); err != nil || !more {
			return err
		}
		if r.ended {
			return errEnded
		}
		if r.wrote == c.wrote {
			c.k, c.v = step(c.Cursor)
			continue
		}
		bucket := r.tx.Bucket([]byte(b))
		if bucket == nil {
			return nil
		}
		c = cursor{Cursor: bucket.Cursor(), wrote: r.wrote}
		c.k, c.v = seek(c.Cursor, []byte(key))
	}
	return nil
}

// seekAfter moves to the first key that sorts after key.
func seekAfter(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if k, v = c.Seek(key); bytes.Equal(k, key) && k != nil {
		return c.Next()
	}
	return k, v
}

// seekBefore moves to the last key that sorts before key.
func seekBefore(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if k, _ = c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// pastPrefix is the first key that sorts after all keys with the prefix; nil when there is none.
func pastPrefix(prefix string) []byte {
	p := []byte(prefix)
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			p[i]++
			return p[:i+1]
		}
	}
	return nil
}

func (r *rawTx) ScanBack(b inventory.Bucket, prefix, before string, fn func(string, []byte) (bool, error)) error {
	if r.ended {
		return errEnded
	}
	bucket := r.tx.Bucket([]byte(b))
	if bucket == nil {
		return nil
	}
	end := pastPrefix(prefix)
	if before != "" && (end == nil || before < string(end)) {
		end = []byte(before)
	}
	c, wrote := bucket.Cursor(), r.wrote
	k, v := c.Last()
	if end != nil {
		k, v = seekBefore(c, end)
	}
	return r.walk(b, prefix, cursor{c, wrote, k, v}, (*bbolt.Cursor).Prev, seekBefore, fn)
}

// Room implements inventory.Roomer.
func (r *rawTx) Room() error {
	if r.ended {
		return errEnded
	}
	if r.spare == nil {
		return nil
	}
	return r.spare.room(r.tx.Size())
}

func (r *rawTx) NextSeq() (uint64, error) {
	if r.ended {
		return 0, errEnded
	}
	meta, err := r.tx.CreateBucketIfNotExists([]byte(inventory.BucketMeta))
	if err != nil {
		return 0, fmt.Errorf("next sequence number: %w", err)
	}
	r.wrote++
	n, err := meta.NextSequence()
	if err != nil {
		return 0, fmt.Errorf("next sequence number: %w", err)
	}
	r.sumOf(inventory.BucketMeta).seq = n
	return n, nil
}

func (r *rawTx) NewID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return hex.EncodeToString(b[:])
}
