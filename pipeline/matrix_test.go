package pipeline

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// TestDisturbanceInEveryStep disturbs a job once in each of its steps: a person cancels, the network is cut
// for a moment, the machine loses its power and is switched on again. Whatever happens, the job
// ends honestly, the machine is never written to against the rules (it watches itself), and a
// retry completes.
func TestDisturbanceInEveryStep(t *testing.T) {
	t.Parallel()
	disturb := map[string]func(r *rig, m *machine){
		"cancel": func(r *rig, m *machine) {
			id := r.host(m).ID
			if err := r.store.Update(func(tx *inventory.Tx) error {
				_, err := inventory.Cancel(tx, id, time.Now())
				return err
			}); err != nil && !errors.Is(err, inventory.ErrBadEvent) { // it was over already
				t.Error(err)
			}
		},
		"network": func(_ *rig, m *machine) {
			m.mu.Lock()
			mode := m.mode
			m.mu.Unlock()
			m.cut("off")
			time.Sleep(50 * time.Millisecond) // the cut itself, nothing is waited for
			m.mu.Lock()
			if m.mode == "off" { // unless it was restarted meanwhile
				m.mode = mode
			}
			m.mu.Unlock()
		},
		"power": func(_ *rig, m *machine) {
			m.cut("off")
			m.powerOn()
		},
	}
	for kind, fn := range disturb {
		for _, s := range Steps(inventory.Host{}, testRole("plain"), plan0, inventory.Job{}) {
			t.Run(kind+" in step "+s.Name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.cfg.Limits.Stage0, r.cfg.Limits.Lost, r.cfg.Limits.Verify = 20*time.Second, 5*time.Second, 20*time.Second
				r.start()
				m := r.machine(1)
				m.keepKey = true
				m.powerOn()
				r.assign(m, "node1", "plain")
				r.until(m, "came to the step", func(h inventory.Host) bool {
					step, _, _ := strings.Cut(h.Step, ":")
					return step == s.Name || h.State == inventory.StateInstalled
				})
				fn(r, m)
				h := r.until(m, "came to an end", func(h inventory.Host) bool {
					return h.State != inventory.StateInstalling && h.State != inventory.StateQueued
				})
				r.afterwards(t, m, kind, h)
			})
		}
	}
}

// TestPowerCutAroundTheFlip has the machine fetch its script before the netboot is flipped and check in after it:
// it is restarted into its own disk.
func TestPowerCutAroundTheFlip(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	m := r.machine(1)
	var cut bool
	m.hook = func(s string) (string, int, bool) {
		if s == "reboot" && !cut { // instead of its own disk it shows up in stage-0 once more
			cut = true
			m.wg.Go(func() {
				m.cut("off")
				m.bootStage0()
			})
			return "", 0, true
		}
		return "", 0, false
	}
	m.powerOn()
	r.assign(m, "node1", "plain")
	r.untilState(m, inventory.StateInstalled)
	if !slices.Contains(m.did(), "disk system") {
		t.Errorf("the machine does not run its own disk: %v", m.did())
	}
}

// afterwards looks at how a disturbed job ended, and completes it.
func (r *rig) afterwards(t *testing.T, m *machine, kind string, h inventory.Host) {
	t.Helper()
	t.Logf("ended as %s in step %q: %s", h.State, h.Step, h.Error)
	switch j := r.job(m); {
	case h.State == inventory.StateInstalled && (j.State == inventory.JobDone || kind == "cancel" && h.EverFlipped):
		return
	case kind == "cancel":
		if h.State != inventory.StateReady || !h.Held || j.State != inventory.JobCancelled {
			t.Fatalf("after the cancel: state %s, held %t, job %s", h.State, h.Held, j.State)
		}
		m.cut("off")
		m.powerOn()
		r.assign(m, "node1", "plain")
	case h.State == inventory.StateFailed:
		if h.Error == "" || h.Hint == "" || h.Step == "" {
			t.Errorf("failed without words: %+v", h)
		}
		m.mu.Lock()
		off := m.mode == "off"
		m.mu.Unlock()
		if off {
			m.powerOn()
		}
		r.retry(m)
	}
	end := r.until(m, "completed", func(h inventory.Host) bool {
		return h.State == inventory.StateInstalled || h.State == inventory.StateFailed
	})
	if end.State != inventory.StateInstalled || r.job(m).State != inventory.JobDone {
		t.Errorf("the second try: state %s, step %s: %s (first: %s %s)\nlog:\n%s", end.State, end.Step, end.Error, h.Step, h.Error, r.logText(m))
	}
}
