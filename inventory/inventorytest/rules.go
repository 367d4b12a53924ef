package inventorytest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// CheckRules holds everything a store has against the rules that must hold after every committed
// act, whatever happened: index and hosts agree, at most one open job per host, host and job agree,
// nobody sends an installed host to the installer unasked. It joins all it finds.
func CheckRules(tx *inventory.Tx, now time.Time) error {
	hosts, err := allHosts(tx)
	if err != nil {
		return err
	}
	jobs, err := tx.OpenJobs()
	if err != nil {
		return err
	}
	var found []error
	open := map[inventory.HostID]inventory.Job{}
	for _, j := range jobs {
		if other, two := open[j.HostID]; two {
			found = append(found, fmt.Errorf("host %s has two open jobs, %s and %s", j.HostID, other.ID, j.ID))
		}
		open[j.HostID] = j
	}
	owner := map[inventory.MAC]inventory.HostID{}
	for i := range hosts {
		h := &hosts[i]
		for _, m := range h.MACs {
			if owner[m] != "" {
				found = append(found, fmt.Errorf("MAC %s is in hosts %s and %s", m, owner[m], h.ID))
			}
			owner[m] = h.ID
			if by, err := tx.HostByMAC(m); err != nil || by.ID != h.ID {
				found = append(found, fmt.Errorf("MAC %s of host %s finds %q: %w", m, h.ID, by.ID, err))
			}
		}
		j, busy := open[h.ID]
		found = append(found, checkHost(h, j, busy, now))
		delete(open, h.ID)
	}
	for id, j := range open {
		found = append(found, fmt.Errorf("job %s is open for host %s, which is not known", j.ID, id))
	}
	found = append(found, checkIndex(tx, hosts))
	return errors.Join(found...)
}

func allHosts(tx *inventory.Tx) (all []inventory.Host, err error) {
	var after inventory.HostID
	for {
		page, next, err := tx.Hosts(after, 200)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); next == "" {
			return all, nil
		}
		after = next
	}
}

// checkHost holds a host against its open job, if any.
func checkHost(h *inventory.Host, j inventory.Job, has bool, now time.Time) error {
	busy := h.State == inventory.StateQueued || h.State == inventory.StateInstalling || h.Upkeep != ""
	switch {
	case has != busy:
		return fmt.Errorf("host %s is %s, and has an open job: %v", h.ID, h.State, has)
	case has && h.Name == "" && h.Role != "":
		return fmt.Errorf("host %s has role %s and an open job, but no name", h.ID, h.Role)
	case has && j.ID != h.JobID:
		return fmt.Errorf("host %s has job %s, but %s is open", h.ID, h.JobID, j.ID)
	case has && (j.Kind != h.Upkeep) == j.Kind.Upkeep():
		return fmt.Errorf("host %s has upkeep %q, its open job %s is of kind %s", h.ID, h.Upkeep, j.ID, j.Kind)
	case h.Upkeep != "" && (h.State == inventory.StateQueued || h.State == inventory.StateInstalling):
		return fmt.Errorf("host %s is %s with an open %s", h.ID, h.State, h.Upkeep)
	case has && h.Upkeep == "" && (j.State == inventory.JobRunning) != (h.State == inventory.StateInstalling):
		return fmt.Errorf("host %s is %s, its job %s is %s", h.ID, h.State, j.ID, j.State)
	case h.State == inventory.StateQueued && h.BlockedOn == "":
		return fmt.Errorf("host %s is queued and does not say what it waits for", h.ID)
	case has && j.Auto && h.Held:
		return fmt.Errorf("host %s is held and has the automatic job %s", h.ID, j.ID)
	case h.EverFlipped && has && j.Kind == inventory.JobInstall && !j.Flipped:
		return fmt.Errorf("host %s is installed and has the open install job %s", h.ID, j.ID)
	case h.State == inventory.StateInstalled && !h.EverFlipped:
		return fmt.Errorf("host %s is installed but was never flipped", h.ID)
	}
	failed := h.State == inventory.StateFailed && !h.Flipped
	if t, why := inventory.BootTarget(h, inventory.DiscoveryAlways, now); t == inventory.TargetStage0 && h.EverFlipped && !failed &&
		!(has && j.Kind == inventory.JobReinstall) && !now.Before(h.StageZeroUntil) {
		return fmt.Errorf("installed host %s (%s) is sent to stage-0: %s", h.ID, h.State, why)
	}
	return nil
}

// checkIndex looks for index entries that lead nowhere.
func checkIndex(tx *inventory.Tx, hosts []inventory.Host) error {
	known := map[string]bool{}
	for i := range hosts {
		known[string(hosts[i].ID)] = true
	}
	var found []error
	ranked, _, err := tx.Ranked(inventory.RankQuery{Limit: len(hosts) + 1})
	ignored, _, err1 := tx.Ranked(inventory.RankQuery{State: inventory.StateIgnored, Limit: len(hosts) + 1})
	counts, err2 := tx.Counts()
	if err = errors.Join(err, err1, err2); err != nil || len(ranked)+len(ignored) != len(hosts) {
		found = append(found, fmt.Errorf("%d hosts are ranked of %d: %w", len(ranked)+len(ignored), len(hosts), err))
	}
	for i := range hosts {
		counts[hosts[i].State]--
	}
	for state, n := range counts {
		if n != 0 {
			found = append(found, fmt.Errorf("%d hosts too many are counted as %s", n, state))
		}
	}
	found = append(found, checkRoles(tx, hosts), checkJobs(tx))
	err = tx.Scan(inventory.BucketIndex, "", "", func(k string, v []byte) (bool, error) {
		if !known[string(v)] {
			found = append(found, fmt.Errorf("index %s leads to host %s, which is not known", k, v))
		}
		return true, nil
	})
	return errors.Join(append(found, err)...)
}

// checkRoles holds the lists and counts of each role against the hosts.
func checkRoles(tx *inventory.Tx, hosts []inventory.Host) error {
	has, lag := map[string][]string{}, map[string][]string{}
	for i := range hosts {
		if h := &hosts[i]; h.Role != "" {
			has[h.Role] = append(has[h.Role], string(h.ID))
			if h.Lags() {
				lag[h.Role] = append(lag[h.Role], string(h.ID))
			}
		}
	}
	counts, err := tx.RoleCounts()
	found := []error{err}
	for role := range counts {
		if len(has[role]) == 0 {
			found = append(found, fmt.Errorf("role %s is counted, and no host has it", role))
		}
	}
	for role, want := range has {
		if c := counts[role]; c.Hosts != len(want) || c.Lagging != len(lag[role]) {
			found = append(found, fmt.Errorf("role %s is counted as %+v, want %d and %d", role, c, len(want), len(lag[role])))
		}
		all, err := tx.OfRole(role, len(hosts)+1)
		behind, err2 := tx.Lagging(role)
		found = append(found, err, err2, sameHosts("have role "+role, all, want), sameHosts("lag behind as "+role, behind, lag[role]))
	}
	return errors.Join(found...)
}

// sameHosts holds a list against the ids of the hosts that should be in it.
func sameHosts(what string, list []inventory.Host, want []string) error {
	got := []string{}
	for i := range list {
		got = append(got, string(list[i].ID))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("hosts that %s: got %v, want %v", what, got, want)
	}
	return nil
}

// checkJobs demands that every job is found by its host, and nothing else is.
func checkJobs(tx *inventory.Tx) error {
	all, n := map[inventory.HostID][]inventory.JobID{}, 0
	err := tx.JobsBack("", "", func(j inventory.Job) (bool, error) {
		all[j.HostID], n = append(all[j.HostID], j.ID), n+1
		return true, nil
	})
	found := []error{err}
	for host, want := range all {
		var got []inventory.JobID
		err := tx.JobsBack(host, "", func(j inventory.Job) (bool, error) {
			got = append(got, j.ID)
			return true, nil
		})
		if err != nil || !slices.Equal(got, want) {
			found = append(found, fmt.Errorf("jobs of host %s: got %v, want %v: %w", host, got, want, err))
		}
	}
	err = tx.Scan(inventory.BucketHostJobs, "", "", func(string, []byte) (bool, error) { n--; return true, nil })
	if n != 0 {
		found = append(found, fmt.Errorf("%d jobs too few are found by their host", n))
	}
	return errors.Join(append(found, err)...)
}
