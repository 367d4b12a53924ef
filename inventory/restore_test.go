package inventory_test

import (
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func TestRestoredFailsOpenJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := w.installed(1)
	queued, _ := w.assign(w.boot(2, "k2").ID, "r")
	running, _ := w.assign(w.boot(3, "k3").ID, "r")
	w.jobState(running.ID, inventory.JobRunning)
	w.apply(running.ID, inventory.StepStarted{Step: "install"})
	w.must(func(tx *inventory.Tx) error { return inventory.Restored(tx, t0, w.now) })
	for id, want := range map[inventory.HostID]inventory.State{done.ID: inventory.StateInstalled, queued.ID: inventory.StateFailed, running.ID: inventory.StateFailed} {
		w.wantState(id, want)
	}
	if n := len(w.openJobs()); n != 0 {
		t.Errorf("open jobs: got %d, want 0", n)
	}
	if h := w.host(running.ID); h.Error == "" || h.Hint == "" || w.job(h.JobID).State != inventory.JobFailed {
		t.Errorf("the running one: got %+v", h)
	}
	w.pass(time.Minute)
	w.must(func(tx *inventory.Tx) error { _, _, err := inventory.Retry(tx, running.ID, "admin", w.now); return err })
	w.wantState(running.ID, inventory.StateQueued)
}
