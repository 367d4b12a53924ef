package inventorytest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

var (
	errReadOnly = errors.New("write in a read transaction")
	errEnded    = errors.New("transaction has ended")
	errKey      = errors.New("a record needs a key")
)

// Store is an inventory.Store in memory.
type Store struct {
	write sync.Mutex // one update at a time; held until its changes are published
	now   atomic.Pointer[snapshot]
	feed  inventory.Feed
}

var _ inventory.Store = (*Store)(nil)

// snapshot is one committed state; never written to once it is published.
type snapshot struct {
	buckets map[inventory.Bucket]table
	seq     uint64
}

// table is one bucket: its keys in order, and their values.
type table struct {
	keys   []string
	values map[string][]byte
}

// NewStore returns an empty store that lives as long as the test.
func NewStore(t testing.TB) *Store {
	t.Helper()
	s := &Store{}
	s.now.Store(&snapshot{})
	t.Cleanup(s.feed.Close)
	return s
}

// View implements inventory.Store.
func (s *Store) View(fn func(*inventory.Tx) error) error {
	raw := &memTx{snapshot: *s.now.Load()}
	defer func() { raw.ended = true }()
	return fn(inventory.NewTx(raw))
}

// Update implements inventory.Store.
func (s *Store) Update(fn func(*inventory.Tx) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	old := s.now.Load()
	raw := &memTx{snapshot: snapshot{buckets: maps.Clone(old.buckets), seq: old.seq}, own: map[inventory.Bucket]bool{}, writable: true}
	if raw.buckets == nil {
		raw.buckets = map[inventory.Bucket]table{}
	}
	defer func() { raw.ended = true }()
	tx := inventory.NewTx(raw)
	if err := fn(tx); err != nil {
		return err
	}
	s.now.Store(&snapshot{buckets: raw.buckets, seq: raw.seq})
	s.feed.Publish(tx.Changes())
	return nil
}

// Watch implements inventory.Store.
func (s *Store) Watch(ctx context.Context) <-chan inventory.Change { return s.feed.Watch(ctx) }

// memTx is a transaction: a snapshot whose buckets are copied before the first write to them.
type memTx struct {
	snapshot
	own             map[inventory.Bucket]bool // buckets copied already
	writable, ended bool
}

func (tx *memTx) Get(b inventory.Bucket, key string) ([]byte, error) {
	if tx.ended {
		return nil, errEnded
	}
	v, ok := tx.buckets[b].values[key]
	if !ok {
		return nil, nil
	}
	return copyOf(v), nil
}

// copyOf never returns nil: nil means "absent".
func copyOf(v []byte) []byte { return append([]byte{}, v...) }

// open returns the bucket as one that may be written to.
func (tx *memTx) open(b inventory.Bucket) (table, error) {
	switch {
	case tx.ended:
		return table{}, errEnded
	case !tx.writable:
		return table{}, errReadOnly
	}
	t := tx.buckets[b]
	if !tx.own[b] {
		t = table{keys: slices.Clone(t.keys), values: maps.Clone(t.values)}
		if t.values == nil {
			t.values = map[string][]byte{}
		}
		tx.own[b], tx.buckets[b] = true, t
	}
	return t, nil
}

func (tx *memTx) Put(b inventory.Bucket, key string, value []byte) error {
	t, err := tx.open(b)
	if err != nil {
		return err
	}
	if key == "" {
		return errKey
	}
	if i, found := slices.BinarySearch(t.keys, key); !found {
		t.keys = slices.Insert(t.keys, i, key)
	}
	t.values[key] = copyOf(value)
	tx.buckets[b] = t
	return nil
}

func (tx *memTx) Delete(b inventory.Bucket, key string) error {
	t, err := tx.open(b)
	if err != nil {
		return err
	}
	if i, found := slices.BinarySearch(t.keys, key); found {
		t.keys = slices.Delete(t.keys, i, i+1)
		delete(t.values, key)
		tx.buckets[b] = t
	}
	return nil
}

func (tx *memTx) Scan(b inventory.Bucket, prefix, after string, fn func(string, []byte) (bool, error)) error {
	from, exclusive := prefix, false
	if after >= prefix && after != "" {
		from, exclusive = after, true
	}
	for {
		if tx.ended {
			return errEnded
		}
		keys := tx.buckets[b].keys // read anew: fn may write
		i, found := slices.BinarySearch(keys, from)
		if found && exclusive {
			i++
		}
		if i == len(keys) || !strings.HasPrefix(keys[i], prefix) {
			return nil
		}
		from, exclusive = keys[i], true
		if more, err := fn(from, copyOf(tx.buckets[b].values[from])); err != nil || !more {
			return err
		}
	}
}

func (tx *memTx) ScanBack(b inventory.Bucket, prefix, before string, fn func(string, []byte) (bool, error)) error {
	last := before
	for {
		if tx.ended {
			return errEnded
		}
		keys := tx.buckets[b].keys
		i := len(keys)
		if last != "" {
			i, _ = slices.BinarySearch(keys, last)
		}
		for i > 0 && keys[i-1] > prefix && !strings.HasPrefix(keys[i-1], prefix) {
			i--
		}
		if i == 0 || !strings.HasPrefix(keys[i-1], prefix) {
			return nil
		}
		last = keys[i-1]
		if more, err := fn(last, copyOf(tx.buckets[b].values[last])); err != nil || !more {
			return err
		}
	}
}

func (tx *memTx) NextSeq() (uint64, error) {
	switch {
	case tx.ended:
		return 0, errEnded
	case !tx.writable:
		return 0, errReadOnly
	}
	tx.seq++
	return tx.seq, nil
}

func (tx *memTx) NewID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	return hex.EncodeToString(b[:])
}
