package pipeline

import (
	"context"
	"fmt"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// countBehind counts for every installed host how many commits its system lags behind the hive, and stores what changed.
func (r *Runner) countBehind(ctx context.Context) error {
	history, err := r.cfg.Hive.History(ctx)
	if err != nil {
		return fmt.Errorf("which hosts lag behind the hive: %w", err)
	}
	for after := inventory.HostID(""); ; {
		var page []inventory.Host
		if err := r.cfg.Store.View(func(tx *inventory.Tx) (err error) {
			page, after, err = tx.Hosts(after, 200)
			return err
		}); err != nil {
			return err
		}
		if err := r.storeBehind(history, page); err != nil || after == "" {
			return err
		}
	}
}

// storeBehind stores the counts of some hosts that are not what they were.
func (r *Runner) storeBehind(history []hive.Commit, hosts []inventory.Host) error {
	news := map[inventory.HostID]int{}
	for i := range hosts {
		if h := &hosts[i]; h.EverFlipped && h.InstalledCommit != "" {
			if n := hive.Behind(history, h.InstalledCommit, h.Name); n != h.Behind {
				news[h.ID] = n
			}
		}
	}
	if len(news) == 0 {
		return nil
	}
	return r.cfg.Store.Update(func(tx *inventory.Tx) error {
		for i := range hosts {
			n, due := news[hosts[i].ID]
			if !due {
				continue
			}
			h, err := tx.Host(hosts[i].ID)
			if isNotFound(err) || err == nil && h.InstalledCommit != hosts[i].InstalledCommit {
				continue // forgotten, or deployed to meanwhile
			}
			if err == nil {
				h.Behind = n
				_, err = tx.PutHost(h)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
