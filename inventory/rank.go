package inventory

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// Rank orders hosts as people need them: 0 needs somebody, 1 newcomers, 2 busy, 3 not here yet, 4 at rest, 5 ignored.
func (h *Host) Rank() int {
	switch {
	case h.Attention != "", h.State == StateFailed:
		return 0
	case h.Upkeep != "":
		return 2
	case h.State == StateInstalled && h.Error != "":
		return 0
	case h.State == StateReady:
		return 1
	case h.in(StateBooting, StateInstalling, StateQueued):
		return 2
	case h.in(StateSeen, StateExpected):
		return 3
	case h.State == StateIgnored:
		return 5
	}
	return 4
}

// rankPrefix begins the index keys that hold all hosts in the order of their rank: "rank/RANK/STATE/LABEL/ID".
const (
	rankPrefix  = "rank/"
	rankEnd     = 6 // ranks are below it
	rankIgnored = rankPrefix + "5/"
)

// rankCursor is what a cursor of [Tx.Ranked] looks like: an index key without its prefix.
var rankCursor = regexp.MustCompile(`^[0-5]/[a-z]+/[^/]{0,300}/[0-9a-zA-Z-]{1,64}$`)

func rankKey(h *Host) string {
	label := h.Name
	if label == "" {
		label = "~" + h.MAC.String() // behind the names
	}
	return fmt.Sprintf("%s%d/%s/%s/%s", rankPrefix, h.Rank(), h.State, label, h.ID)
}

// orderKeys are the host's places in the orders that lists are read in: by rank, by rank within its role, and among those of
// its role that lag behind the hive ("lag/ROLE/ID").
func orderKeys(h *Host) []string {
	rank := rankKey(h)
	keys := []string{rank}
	if h.Role != "" {
		keys = append(keys, rolePrefix(h.Role)+rank[len(rankPrefix):])
		if h.Lags() {
			keys = append(keys, lagPrefix(h.Role)+string(h.ID))
		}
	}
	return keys
}

func rolePrefix(role string) string { return "role/" + role + "/" }
func lagPrefix(role string) string  { return "lag/" + role + "/" }

// Lags reports whether a deploy would bring the host to something newer, as far as is known.
func (h *Host) Lags() bool {
	return h.State == StateInstalled && h.Behind != 0 && h.Upkeep == "" && h.Role != "" && (h.InstalledRole == "" || h.InstalledRole == h.Role)
}

// keyCounts is the record of how many hosts are in each state, keyRoleCounts of how many have each role.
const (
	keyCounts     = "host_counts"
	keyRoleCounts = "role_counts"
)

// RoleCount is how many hosts have a role.
type RoleCount struct {
	Hosts   int `json:"hosts"`
	Lagging int `json:"lagging"` // of these behind the hive, see Host.Lags
}

// RoleCounts is how many hosts have each role.
func (tx *Tx) RoleCounts() (map[string]RoleCount, error) {
	counts := map[string]RoleCount{}
	_, err := tx.GetJSON(BucketMeta, keyRoleCounts, &counts)
	return counts, err
}

// OfRole reads up to limit hosts that have the role, in order of rank, state and name. It costs what it returns.
func (tx *Tx) OfRole(role string, limit int) ([]Host, error) {
	return tx.listed(rolePrefix(role), limit)
}

// Lagging reads the hosts of a role that lag behind the hive, in order of id. It costs what it returns.
func (tx *Tx) Lagging(role string) ([]Host, error) { return tx.listed(lagPrefix(role), math.MaxInt) }

// Counts is how many hosts are in each state.
func (tx *Tx) Counts() (map[State]int, error) {
	counts := map[State]int{}
	_, err := tx.GetJSON(BucketMeta, keyCounts, &counts)
	return counts, err
}

// count takes a host over from one state to another; nil = it was, or will be, no host.
func (tx *Tx) count(from, to *Host) error {
	if err := tx.countRoles(from, to); err != nil {
		return err
	}
	if from != nil && to != nil && from.State == to.State {
		return nil
	}
	counts, err := tx.Counts()
	if err != nil {
		return err
	}
	if from != nil {
		if counts[from.State]--; counts[from.State] == 0 {
			delete(counts, from.State)
		}
	}
	if to != nil {
		counts[to.State]++
	}
	return tx.PutJSON(BucketMeta, keyCounts, counts)
}

// countRoles takes a host over from one role to another, and from keeping up to lagging behind.
func (tx *Tx) countRoles(from, to *Host) error {
	was, is := roleTally(from), roleTally(to)
	if was == is {
		return nil
	}
	counts, err := tx.RoleCounts()
	if err != nil {
		return err
	}
	was.add(counts, -1)
	is.add(counts, 1)
	return tx.PutJSON(BucketMeta, keyRoleCounts, counts)
}

// tally is as what a host counts; the zero value: as nothing.
type tally struct {
	role string
	lags bool
}

func roleTally(h *Host) tally {
	if h == nil || h.Role == "" {
		return tally{}
	}
	return tally{h.Role, h.Lags()}
}

func (c tally) add(counts map[string]RoleCount, n int) {
	if c.role == "" {
		return
	}
	r := counts[c.role]
	r.Hosts += n
	if c.lags {
		r.Lagging += n
	}
	if counts[c.role] = r; r == (RoleCount{}) {
		delete(counts, c.role)
	}
}

// RankQuery asks for one page of hosts in order of rank, state and name.
type RankQuery struct {
	State State           // only hosts in that state; "" = all that are not ignored
	After string          // the cursor that came with the page before, "" = from the start
	Limit int             // how many at most; 0 or less = none
	Match func(Host) bool // nil = all; what it refuses is read and left out
}

// Ranked reads one page of hosts; next is the cursor of the page after it, "" = there is none. Without Match it costs
// what it returns, however many hosts there are. ErrInvalid for a cursor that is none.
func (tx *Tx) Ranked(q RankQuery) (hosts []Host, next string, err error) {
	if q.Limit <= 0 {
		return nil, "", nil
	}
	after := ""
	if q.After != "" {
		if after = rankPrefix + q.After; !rankCursor.MatchString(q.After) {
			return nil, "", fmt.Errorf("cursor %q: want the one that came with the page before: %w", Clean(q.After, 40), ErrInvalid)
		}
	}
	prefixes := []string{rankPrefix}
	if q.State != "" {
		prefixes = nil
		for rank := range rankEnd {
			prefixes = append(prefixes, fmt.Sprintf("%s%d/%s/", rankPrefix, rank, q.State))
		}
	}
	last := ""
	for _, prefix := range prefixes {
		if prefix < after && !strings.HasPrefix(after, prefix) { // all of it was on earlier pages
			continue
		}
		err := tx.Scan(BucketIndex, prefix, after, func(key string, id []byte) (bool, error) {
			if q.State == "" && strings.HasPrefix(key, rankIgnored) { // they come last
				return false, nil
			}
			if q.State == "" && strings.HasPrefix(key[len(rankPrefix)+1:], "/"+string(StateIgnored)+"/") { // and wanted somebody before
				return true, nil
			}
			h, err := tx.Host(HostID(id))
			if err != nil || q.Match != nil && !q.Match(h) {
				return err == nil, err
			}
			if len(hosts) == q.Limit {
				next = last
				return false, nil
			}
			hosts, last = append(hosts, h), strings.TrimPrefix(key, rankPrefix)
			return true, nil
		})
		if err != nil || next != "" {
			return hosts, next, err
		}
	}
	return hosts, "", nil
}

// listed reads up to limit hosts whose index key has the prefix.
func (tx *Tx) listed(prefix string, limit int) ([]Host, error) {
	var ids []HostID
	if limit <= 0 {
		return nil, nil
	}
	err := tx.Scan(BucketIndex, prefix, "", func(_ string, id []byte) (bool, error) {
		ids = append(ids, HostID(id))
		return len(ids) < limit, nil
	})
	if err != nil {
		return nil, err
	}
	return tx.hostsOf(ids)
}

func (tx *Tx) hostsOf(ids []HostID) ([]Host, error) {
	hosts := make([]Host, 0, len(ids))
	for _, id := range ids {
		h, err := tx.Host(id)
		if err != nil {
			return hosts, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// rankAll adds all hosts to the orders that lists are read in, and counts them.
func (tx *Tx) rankAll() error {
	counts, roles := map[State]int{}, map[string]RoleCount{}
	for after := HostID(""); ; {
		hosts, next, err := tx.Hosts(after, 500)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			counts[h.State]++
			roleTally(&h).add(roles, 1)
			for _, k := range orderKeys(&h) {
				if err := tx.Put(BucketIndex, k, []byte(h.ID)); err != nil {
					return err
				}
			}
		}
		if after = next; next == "" {
			return errors.Join(tx.PutJSON(BucketMeta, keyCounts, counts), tx.PutJSON(BucketMeta, keyRoleCounts, roles))
		}
	}
}
