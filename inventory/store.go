package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Errors of the store that callers branch on.
var (
	// ErrNotFound says that no record has that key.
	ErrNotFound = errors.New("not known")
	// ErrConflict says that the record was changed since it was read, or that a MAC, name, UUID or serial is another host's.
	ErrConflict = errors.New("conflict")
)

// Bucket names one kind of record.
type Bucket string

// The buckets of the inventory itself. Other packages keep records of their own
// kind in further buckets through Tx.Get, Put and Scan.
const (
	BucketHosts    Bucket = "hosts"      // host id → Host
	BucketIndex    Bucket = "host_index" // "mac/…", "uuid/…", "serial/…", "name/…", "ip/…", "rank/…", "role/…", "lag/…", "address/…" → host id
	BucketJobs     Bucket = "jobs"       // job id → Job
	BucketOpenJobs Bucket = "open_jobs"  // job id → host id
	BucketHostJobs Bucket = "host_jobs"  // host id/job id → job id
	BucketDiary    Bucket = "diary"      // host id/seq → Entry
	BucketNonces   Bucket = "nonces"     // hash → Nonce
	BucketMeta     Bucket = "meta"       // single values
)

// RawTx is one transaction of a store: keys and values, sorted by key inside a bucket.
// Returned values are the caller's own. Put and Delete fail in a read transaction.
type RawTx interface {
	Get(b Bucket, key string) ([]byte, error) // nil, nil when absent
	Put(b Bucket, key string, value []byte) error
	Delete(b Bucket, key string) error
	// Scan calls fn for each key that has the prefix and sorts after `after` (which includes the
	// prefix; "" = from the start), in order, until fn returns false or an error.
	Scan(b Bucket, prefix, after string, fn func(key string, value []byte) (bool, error)) error
	// ScanBack is Scan from the last key downwards; before = "" starts at the end.
	ScanBack(b Bucket, prefix, before string, fn func(key string, value []byte) (bool, error)) error
	// NextSeq is a number that rises with every call, over restarts too.
	NextSeq() (uint64, error)
	// NewID is a fresh random id of 16 lower-case hex digits.
	NewID() string
}

// Roomer is what a store's transaction implements when it knows whether its disk has room for new work.
type Roomer interface {
	// Room is the error that says in a sentence why nothing new may begin; nil = it may.
	Room() error
}

// Store keeps the inventory. All stores pass inventorytest.TestStore.
// Safe for concurrent use; a transaction is used by one goroutine and not after it ended.
type Store interface {
	// View runs fn on a consistent snapshot.
	View(fn func(*Tx) error) error
	// Update runs fn and makes all it wrote durable before it returns, or nothing when fn fails.
	Update(fn func(*Tx) error) error
	// Watch sends every change committed from now on until ctx ends, then closes. A reader that
	// falls 1024 changes behind loses the oldest and is told by Change.Lost on the next one.
	Watch(ctx context.Context) <-chan Change
}

// ChangeKind is what a Change is about.
type ChangeKind string

// The kinds of change.
const (
	HostChanged   ChangeKind = "host"
	HostForgotten ChangeKind = "host-forgotten"
	JobChanged    ChangeKind = "job"
	DiaryGrew     ChangeKind = "diary"
)

// Change is one committed change.
type Change struct {
	Kind  ChangeKind
	Host  HostID
	Job   JobID
	Entry *Entry // of DiaryGrew; not to be written to
	Lost  int    // how many changes this reader missed before this one
}

// Tx is a typed transaction on the inventory.
type Tx struct {
	RawTx
	changes []Change
}

// NewTx wraps a store's raw transaction. Only stores call it.
func NewTx(raw RawTx) *Tx { return &Tx{RawTx: raw} }

// Changes are what the transaction changed, in order. Only stores call it, after the commit.
func (tx *Tx) Changes() []Change { return tx.changes }

// Room reports whether new work may begin: a full disk must not keep machines from booting, nor running jobs from
// ending, for the sake of more of them.
func (tx *Tx) Room() error {
	if r, ok := tx.RawTx.(Roomer); ok {
		return r.Room()
	}
	return nil
}

// GetJSON reads one record into v; it reports false when there is none.
func (tx *Tx) GetJSON(b Bucket, key string, v any) (bool, error) {
	raw, err := tx.Get(b, key)
	if err != nil || raw == nil {
		return false, err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("record %s/%s: %w", b, key, err)
	}
	return true, nil
}

// PutJSON writes one record.
func (tx *Tx) PutJSON(b Bucket, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %s/%s: %w", b, key, err)
	}
	return tx.Put(b, key, raw)
}

// Host reads a host by its id. ErrNotFound.
func (tx *Tx) Host(id HostID) (Host, error) {
	var h Host
	ok, err := tx.GetJSON(BucketHosts, string(id), &h)
	if err == nil && !ok {
		err = fmt.Errorf("host %s is %w", id, ErrNotFound)
	}
	return h, err
}

func (tx *Tx) byIndex(key string) (Host, error) {
	id, err := tx.Get(BucketIndex, key)
	if err != nil {
		return Host{}, err
	}
	if id == nil {
		_, val, _ := strings.Cut(key, "/")
		return Host{}, fmt.Errorf("host %s is %w", val, ErrNotFound)
	}
	return tx.Host(HostID(id))
}

// HostByMAC reads the host that has the MAC, booting or not. ErrNotFound.
func (tx *Tx) HostByMAC(m MAC) (Host, error) { return tx.byIndex("mac/" + m.String()) }

// MACs calls fn for every MAC of every host, without reading the hosts.
func (tx *Tx) MACs(fn func(MAC)) error {
	return tx.Scan(BucketIndex, "mac/", "", func(k string, _ []byte) (bool, error) {
		m, err := ParseMAC(strings.TrimPrefix(k, "mac/"))
		if err == nil {
			fn(m)
		}
		return true, err
	})
}

// HostByUUID reads the host with that SMBIOS UUID, in either byte order. ErrNotFound, also for fillers.
func (tx *Tx) HostByUUID(u string) (h Host, err error) {
	for _, k := range uuidKeys(u) {
		if h, err = tx.byIndex(k); !errors.Is(err, ErrNotFound) {
			break
		}
	}
	return h, err
}

// HostBySerial reads the host with that serial number, in capitals or not. ErrNotFound, also for fillers.
func (tx *Tx) HostBySerial(s string) (Host, error) { return tx.byIndex(serialKey(s)) }

// HostByName reads the host of that name. ErrNotFound.
func (tx *Tx) HostByName(n string) (Host, error) { return tx.byIndex("name/" + n) }

// HostByIP reads the host that was last heard at the address. ErrNotFound.
func (tx *Tx) HostByIP(a netip.Addr) (Host, error) { return tx.byIndex("ip/" + a.String()) }

// FindHost reads a host by what a person calls it: id, any MAC, name or UUID. A serial number is none of these: a machine that
// says a name or an id as its own would be meant by who names a host that was renamed or forgotten. ErrNotFound.
func (tx *Tx) FindHost(ref string) (h Host, err error) {
	if m, err := ParseMAC(ref); err == nil {
		return tx.HostByMAC(m)
	}
	for _, find := range []func() (Host, error){
		func() (Host, error) { return tx.Host(HostID(ref)) },
		func() (Host, error) { return tx.HostByName(ref) },
		func() (Host, error) {
			if len(ref) != uuidLen {
				return Host{}, fmt.Errorf("host %s is %w", ref, ErrNotFound)
			}
			return tx.HostByUUID(ref)
		},
	} {
		if h, err = find(); !errors.Is(err, ErrNotFound) {
			return h, err
		}
	}
	return h, err
}

// Hosts reads up to limit hosts in order of id, from the one after `after` ("" = first);
// next is "" at the end.
func (tx *Tx) Hosts(after HostID, limit int) (hosts []Host, next HostID, err error) {
	limit = max(limit, 1)
	err = tx.Scan(BucketHosts, "", string(after), func(key string, v []byte) (bool, error) {
		if len(hosts) == limit {
			next = hosts[limit-1].ID
			return false, nil
		}
		var h Host
		if err := json.Unmarshal(v, &h); err != nil {
			return false, fmt.Errorf("host %s: %w", key, err)
		}
		hosts = append(hosts, h)
		return true, nil
	})
	return hosts, next, err
}

func indexKeys(h *Host) []string {
	var keys []string
	for _, m := range h.MACs {
		keys = append(keys, "mac/"+m.String())
	}
	if !Filler(h.UUID) {
		keys = append(keys, uuidKeys(h.UUID)[0])
	}
	if !Filler(h.Serial) {
		keys = append(keys, serialKey(h.Serial))
	}
	if h.Name != "" {
		keys = append(keys, "name/"+h.Name)
	}
	if h.Address != nil {
		keys = append(keys, "address/"+h.Address.IP.String())
	}
	if h.IP.IsValid() {
		keys = append(keys, "ip/"+h.IP.String())
	}
	if h.ID != "" {
		keys = append(keys, orderKeys(h)...)
	}
	return keys
}

// PutHost writes a host whose Revision is the one that was read (0 = new) and
// returns it with the next one. ErrConflict when somebody wrote in between, or
// when a MAC, name or fixed address is another host's. A UUID or serial that another host
// has is kept on this one but does not find it (cloned boards: seen often).
func (tx *Tx) PutHost(h Host) (Host, error) {
	for _, m := range h.MACs { // one that cannot be read back would make the record unreadable
		if err := CheckMAC(m); err != nil {
			return h, err
		}
	}
	old, err := tx.Host(h.ID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return h, err
	}
	if old.Revision != h.Revision {
		return h, fmt.Errorf("host %s was changed by somebody else: %w", h.Label(), ErrConflict)
	}
	want := map[string]bool{}
	for _, k := range indexKeys(&h) {
		owner, err := tx.Get(BucketIndex, k)
		if err != nil {
			return h, err
		}
		if owner != nil && HostID(owner) != h.ID {
			kind, val, _ := strings.Cut(k, "/")
			switch kind {
			case "uuid", "serial":
				continue
			case "ip": // addresses move on: the last one heard there has it
				if err := tx.Put(BucketIndex, k, []byte(h.ID)); err != nil {
					return h, err
				}
				want[k] = true
				continue
			}
			return h, fmt.Errorf("%s %s belongs to host %s: %w", kind, val, owner, ErrConflict)
		}
		want[k] = true
		if owner == nil {
			if err := tx.Put(BucketIndex, k, []byte(h.ID)); err != nil {
				return h, err
			}
		}
	}
	if err := tx.dropIndex(&old, want); err != nil {
		return h, err
	}
	was := &old
	if old.ID == "" {
		was = nil
	}
	if err := tx.count(was, &h); err != nil {
		return h, err
	}
	h.Revision++
	tx.changes = append(tx.changes, Change{Kind: HostChanged, Host: h.ID})
	return h, tx.PutJSON(BucketHosts, string(h.ID), h)
}

// dropIndex removes the index keys of old that are not in keep and that are its own.
func (tx *Tx) dropIndex(old *Host, keep map[string]bool) error {
	for _, k := range indexKeys(old) {
		if keep[k] {
			continue
		}
		owner, err := tx.Get(BucketIndex, k)
		if err != nil {
			return err
		}
		if HostID(owner) == old.ID {
			if err := tx.Delete(BucketIndex, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// DeleteHost removes a host, its index and its diary. ErrNotFound.
func (tx *Tx) DeleteHost(id HostID) error {
	h, err := tx.Host(id)
	if err != nil {
		return err
	}
	if err := errors.Join(tx.dropIndex(&h, nil), tx.count(&h, nil)); err != nil {
		return err
	}
	var keys []string
	if err := tx.Scan(BucketDiary, string(id)+"/", "", func(k string, _ []byte) (bool, error) {
		keys = append(keys, k)
		return true, nil
	}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := tx.Delete(BucketDiary, k); err != nil {
			return err
		}
	}
	tx.changes = append(tx.changes, Change{Kind: HostForgotten, Host: id})
	return tx.Delete(BucketHosts, string(id))
}

func diaryKey(id HostID, seq uint64) string { return fmt.Sprintf("%s/%016x", id, seq) }

// Note appends an entry to the diary; it sets Seq.
func (tx *Tx) Note(e Entry) error {
	seq, err := tx.NextSeq()
	if err != nil {
		return err
	}
	e.Seq = seq
	if err := tx.PutJSON(BucketDiary, diaryKey(e.HostID, seq), e); err != nil {
		return err
	}
	tx.changes = append(tx.changes, Change{Kind: DiaryGrew, Host: e.HostID, Entry: &e})
	// Trim now and then, not at every line; spread, or hosts whose lines always fall between would grow.
	if seq*0x9e3779b97f4a7c15>>58 != 0 {
		return nil
	}
	return trimByNumber(tx, e.HostID)
}

// Diary reads up to limit entries of one host ("" = the appliance's own) after seq, oldest first.
func (tx *Tx) Diary(id HostID, after uint64, limit int) ([]Entry, error) {
	var out []Entry
	from := ""
	if after > 0 {
		from = diaryKey(id, after)
	}
	err := tx.Scan(BucketDiary, string(id)+"/", from, func(k string, v []byte) (bool, error) {
		var e Entry
		if err := json.Unmarshal(v, &e); err != nil {
			return false, fmt.Errorf("diary %s: %w", k, err)
		}
		out = append(out, e)
		return len(out) < limit, nil
	})
	return out, err
}
