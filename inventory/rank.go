package inventory

import (
	"fmt"
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
	rankIgnored = rankPrefix + "5/"
)

func rankKey(h *Host) string {
	label := h.Name
	if label == "" {
		label = "~" + h.MAC.String() // behind the names
	}
	return fmt.Sprintf("%s%d/%s/%s/%s", rankPrefix, h.Rank(), h.State, label, h.ID)
}

// keyCounts is the record of how many hosts are in each state.
const keyCounts = "host_counts"

// Counts is how many hosts are in each state.
func (tx *Tx) Counts() (map[State]int, error) {
	counts := map[State]int{}
	_, err := tx.GetJSON(BucketMeta, keyCounts, &counts)
	return counts, err
}

// count takes a host over from one state to another; nil = it was, or will be, no host.
func (tx *Tx) count(from, to *Host) error {
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

// Ranked reads up to limit hosts that are not ignored and as many that are, in order of rank, state and name. It
// costs what it returns, however many hosts there are.
func (tx *Tx) Ranked(limit int) (hosts, ignored []Host, err error) {
	if hosts, err = tx.ranked(rankPrefix, limit); err != nil {
		return nil, nil, err
	}
	ignored, err = tx.ranked(rankIgnored, limit)
	return hosts, ignored, err
}

// ranked reads up to limit hosts whose index key has the prefix; ignored ones only when they are asked for.
func (tx *Tx) ranked(prefix string, limit int) ([]Host, error) {
	var ids []HostID
	if limit <= 0 {
		return nil, nil
	}
	err := tx.Scan(BucketIndex, prefix, "", func(k string, id []byte) (bool, error) {
		if prefix != rankIgnored && strings.HasPrefix(k, rankIgnored) { // they come last
			return false, nil
		}
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

// rankAll adds the ranks of all hosts to the index, and counts them.
func (tx *Tx) rankAll() error {
	counts := map[State]int{}
	for after := HostID(""); ; {
		hosts, next, err := tx.Hosts(after, 500)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			counts[h.State]++
			if err := tx.Put(BucketIndex, rankKey(&h), []byte(h.ID)); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return tx.PutJSON(BucketMeta, keyCounts, counts)
		}
	}
}
