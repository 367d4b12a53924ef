package meter

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fill runs fn on a store that a Meter reads, and then one more line, until that was counted too.
func fill(t *testing.T, fn func(store inventory.Store, host inventory.HostID)) *Meter {
	t.Helper()
	store := inventorytest.NewStore(t)
	m := New(store)
	var host, last inventory.HostID
	update(t, store, func(tx *inventory.Tx) error {
		for i, id := range []*inventory.HostID{&host, &last} {
			h, err := inventory.Discover(tx, inventory.Contact{MAC: inventory.MAC{2, 0, 0, 0, 0, byte(i)}}, time.Now())
			if err != nil {
				return err
			}
			*id = h.ID
		}
		return nil
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	// The feed begins when Run watches it: lines before that are nobody's.
	waitFor(t, m, "offer", func() {
		update(t, store, note(inventory.Entry{HostID: last, Kind: "dhcp.offer", By: "firmware", Time: time.Now()}))
	})
	fn(store, host)
	waitFor(t, m, "stall", func() {
		update(t, store, note(inventory.Entry{HostID: last, Kind: "dhcp.discover", By: "firmware", Level: "warn", Time: time.Now()}))
	})
	return m
}

// waitFor repeats a line until it is counted.
func waitFor(t *testing.T, m *Meter, step string, line func()) {
	t.Helper()
	counter := m.bootSteps.WithLabelValues("offer", resultOK)
	if step == "stall" {
		counter = m.bootSteps.WithLabelValues("dhcp", resultFailed)
	}
	for until := time.Now().Add(20 * time.Second); testutil.ToFloat64(counter) == 0; {
		if time.Now().After(until) {
			t.Fatalf("the line of step %s was never counted", step)
		}
		line()
		time.Sleep(5 * time.Millisecond)
	}
}

func note(e inventory.Entry) func(*inventory.Tx) error {
	return func(tx *inventory.Tx) error { return tx.Note(e) }
}

func update(t *testing.T, s inventory.Store, fn func(*inventory.Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func TestABootIsCountedAndTimedByItsMilestones(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Minute)
	m := fill(t, func(s inventory.Store, h inventory.HostID) {
		for _, e := range []inventory.Entry{
			{Kind: "dhcp.discover", By: "firmware", Time: began},
			{Kind: "tftp.file", By: "firmware", Time: began.Add(4 * time.Second)},
			{Kind: "tftp.file", By: "ipxe", Time: began.Add(4 * time.Second)}, // autoexec: no step of its own
			{Kind: "http.script", By: "ipxe", Time: began.Add(6 * time.Second)},
			{Kind: "http.file", By: "ipxe", Time: began.Add(7 * time.Second)},
			{Kind: "http.file", By: "ipxe", Time: began.Add(9 * time.Second)},
			{Kind: "checkin", By: "stage-0", Time: began.Add(30 * time.Second)},
			{Kind: "dhcp.discover", By: "host", Time: began.Add(31 * time.Second)}, // the running system: no boot
			{Kind: "dhcp.discover", By: "firmware", Time: began.Add(40 * time.Second)},
			{Kind: "stall", Level: "warn", Time: began.Add(50 * time.Second)},
		} {
			e.HostID = h
			update(t, s, note(e))
		}
	})
	want := `# HELP hatchery_boot_duration_seconds Time from a machine's first request to its check-in.
# TYPE hatchery_boot_duration_seconds histogram
hatchery_boot_duration_seconds_bucket{le="5"} 0
hatchery_boot_duration_seconds_bucket{le="10"} 0
hatchery_boot_duration_seconds_bucket{le="20"} 0
hatchery_boot_duration_seconds_bucket{le="30"} 1
hatchery_boot_duration_seconds_bucket{le="45"} 1
hatchery_boot_duration_seconds_bucket{le="60"} 1
hatchery_boot_duration_seconds_bucket{le="90"} 1
hatchery_boot_duration_seconds_bucket{le="120"} 1
hatchery_boot_duration_seconds_bucket{le="180"} 1
hatchery_boot_duration_seconds_bucket{le="300"} 1
hatchery_boot_duration_seconds_bucket{le="600"} 1
hatchery_boot_duration_seconds_bucket{le="+Inf"} 1
hatchery_boot_duration_seconds_sum 30
hatchery_boot_duration_seconds_count 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "hatchery_boot_duration_seconds"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		step, result string
		want         float64
	}{{"dhcp", resultOK, 2}, {"boot file", resultOK, 1}, {"script", resultOK, 1}, {"image", resultOK, 2}, {"check-in", resultOK, 1}, {"dhcp", resultStalled, 1}} {
		if got := testutil.ToFloat64(m.bootSteps.WithLabelValues(c.step, c.result)); got != c.want {
			t.Errorf("%s %s: got %v, want %v", c.step, c.result, got, c.want)
		}
	}
}

func TestAJobsStepsAndItsEndAreCounted(t *testing.T) {
	t.Parallel()
	store := inventorytest.NewStore(t)
	m := New(store)
	j := inventory.Job{ID: "job", Kind: inventory.JobInstall, CreatedAt: time.Now()}
	update(t, store, func(tx *inventory.Tx) error {
		h, err := inventory.Discover(tx, inventory.Contact{MAC: inventory.MAC{2, 0, 0, 0, 0, 1}}, time.Now())
		j.HostID = h.ID
		return err
	})
	for _, to := range []struct {
		state inventory.JobState
		step  string
	}{{inventory.JobQueued, ""}, {inventory.JobRunning, "build"}, {inventory.JobRunning, "build"}, {inventory.JobRunning, "install"}, {inventory.JobFailed, "install"}, {inventory.JobFailed, "install"}} {
		j.State, j.Step = to.state, to.step
		update(t, store, func(tx *inventory.Tx) (err error) {
			j, err = tx.PutJob(j)
			return err
		})
		m.job(j.ID)
	}
	if got := testutil.ToFloat64(m.jobs.WithLabelValues("install", "failed")); got != 1 {
		t.Errorf("failed installs: got %v, want 1", got)
	}
	for _, labels := range [][]string{{"install", "build", resultOK}, {"install", "install", resultFailed}} {
		if !m.jobSteps.DeleteLabelValues(labels...) {
			t.Errorf("%q was not timed", labels)
		}
	}
	if n := testutil.CollectAndCount(m.jobSteps); n != 0 {
		t.Errorf("%d other kinds of steps were timed", n)
	}
}
