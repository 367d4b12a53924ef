package inventory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

// notes writes n entries into a diary, one an hour, up to now.
func (w *world) notes(id inventory.HostID, n int) {
	w.t.Helper()
	w.must(func(tx *inventory.Tx) error {
		for i := range n {
			at := w.now.Add(-time.Duration(n-i) * time.Hour)
			if err := tx.Note(inventory.Entry{Time: at, HostID: id, Kind: "progress", Text: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) diary(id inventory.HostID) (out []inventory.Entry) {
	w.t.Helper()
	w.look(func(tx *inventory.Tx) (err error) { out, err = tx.Diary(id, 0, 20000); return err })
	return out
}

// trim trims all diaries, one bounded step after another, and counts the steps.
func (w *world) trim() (dropped, steps int) {
	w.t.Helper()
	for after := ""; ; {
		n := 0
		w.must(func(tx *inventory.Tx) (err error) {
			after, n, err = inventory.TrimDiaries(tx, after, w.now)
			return err
		})
		dropped += n
		if steps++; after == "" {
			return dropped, steps
		}
	}
}

func TestDiariesAreTrimmedByAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quiet, busy := w.discover(1), w.discover(2)
	w.notes(quiet.ID, 300)
	w.notes("", 300)
	w.notes("0000000000000000", 10) // of a host that nobody knows any more
	if n, _ := w.trim(); n != 0 {
		t.Errorf("while all is young: %d entries dropped", n)
	}
	w.pass(inventory.DiaryAge - 100*time.Hour)
	w.notes(busy.ID, 60)
	if n, _ := w.trim(); n != 200 {
		t.Errorf("dropped: got %d, want the 200 that are over their age", n)
	}
	got := w.diary(quiet.ID)
	if len(got) != 100 || got[0].Text != "200" || got[99].Text != "299" {
		t.Fatalf("left: got %d entries from %q, want the newest 100", len(got), got[0].Text)
	}
	w.pass(10 * inventory.DiaryAge)
	w.trim()
	for name, c := range map[string]struct {
		id   inventory.HostID
		want int
	}{"a quiet host": {quiet.ID, inventory.DiaryFloor}, "another one": {busy.ID, inventory.DiaryFloor},
		"the appliance": {"", inventory.DiaryFloor}, "a host that is not known any more": {"0000000000000000", 0}} {
		if got := len(w.diary(c.id)); got != c.want {
			t.Errorf("%s, years later: got %d entries, want %d", name, got, c.want)
		}
	}
	if got := w.diary(quiet.ID); got[len(got)-1].Text != "299" {
		t.Errorf("newest entry: got %q", got[len(got)-1].Text)
	}
}

func TestTheAppliancesOwnDiaryIsKeptLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.notes("", 300)
	w.pass(2 * inventory.DiaryAge)
	if n, _ := w.trim(); n != 0 {
		t.Errorf("after half a year: %d entries dropped", n)
	}
	w.pass(inventory.DiaryAgeActivity)
	if n, _ := w.trim(); n != 250 {
		t.Errorf("after more than a year: got %d dropped, want 250", n)
	}
}

func TestTrimmingIsDoneInBoundedSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const hosts = 250
	for i := range hosts {
		w.notes(w.discover(i+1).ID, 52)
	}
	w.pass(2 * inventory.DiaryAge)
	if dropped, steps := w.trim(); dropped != 2*hosts || steps != 3 {
		t.Errorf("got %d entries in %d steps, want %d in 3", dropped, steps, 2*hosts)
	}
	if dropped, _ := w.trim(); dropped != 0 {
		t.Errorf("once more: %d entries dropped, want 0", dropped)
	}
}

// TestInstallRecordsAreNeverLost: who asked for what, when, and what came of it survives diaries, retries,
// time and the host itself.
func TestInstallRecordsAreNeverLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, j := w.assign(w.boot(1, "k").ID, "worker")
	fail := func(cause string) {
		w.must(func(tx *inventory.Tx) error {
			job, err := tx.Job(j.ID)
			if err != nil {
				return err
			}
			job.State, job.Step, job.Error, job.StartedAt, job.EndedAt = inventory.JobFailed, "build", cause, w.now, w.now.Add(time.Minute)
			if _, err := tx.PutJob(job); err != nil {
				return err
			}
			_, err = inventory.Apply(tx, h.ID, inventory.StepFailed{Step: "build", Cause: cause})
			return err
		})
	}
	retry := func(by string) {
		w.must(func(tx *inventory.Tx) error { _, _, err := inventory.Retry(tx, h.ID, by, w.now); return err })
	}
	fail("First cause.")
	retry("bob")
	want := []inventory.Attempt{{No: 1, By: "admin", Role: "worker", Step: "build", Error: "First cause.", StartedAt: w.now, EndedAt: w.now.Add(time.Minute)}}
	if diff := cmp.Diff(want, w.job(j.ID).Past); diff != "" {
		t.Errorf("earlier attempts (-want +got):\n%s", diff)
	}
	for i := range 30 {
		fail(fmt.Sprintf("Cause %d.", i+2))
		retry("bob")
	}
	past := w.job(j.ID).Past
	if len(past) != inventory.MaxPast || past[0].No != 1 || past[1].No != 13 || past[inventory.MaxPast-1].Error != "Cause 31." {
		t.Errorf("many attempts: got %d, from %+v to %+v", len(past), past[0], past[len(past)-1])
	}
	w.install(h.ID, inventory.Verified{})
	w.notes(h.ID, 2000)
	w.pass(10 * inventory.DiaryAge)
	w.trim()
	w.must(func(tx *inventory.Tx) error { return inventory.Forget(tx, h.ID, w.now) })
	w.trim()
	got := w.job(j.ID)
	if got.State != inventory.JobDone || got.By != "bob" || got.Host != "worker-000001" || got.Attempt != 32 || got.CreatedAt.IsZero() {
		t.Errorf("the record, years later and without its host: %+v", got)
	}
}
