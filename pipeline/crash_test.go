package pipeline

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// TestCrashAtEveryUpdate kills the appliance after each of its durable updates in turn, starts it again, and
// holds the invariants: an honest end, a retry that completes, no write that is not recorded before, none
// after the flip, never two installs at once (the machine itself watches the last three).
func TestCrashAtEveryUpdate(t *testing.T) {
	t.Parallel()
	const updates = 28 // of one install; a run that needs fewer is simply done
	ends := make([]string, updates)
	t.Run("matrix", func(t *testing.T) {
		for k := range updates {
			t.Run(fmt.Sprintf("after update %d", k), func(t *testing.T) {
				t.Parallel()
				ends[k] = crashAfter(t, k)
			})
		}
	})
	all := strings.Join(ends, "; ")
	for _, want := range []string{"went on", "interrupted", "done before"} {
		if !strings.Contains(all, want) {
			t.Errorf("no crash point ended as %q: %s", want, all)
		}
	}
	t.Log(all)
}

func crashAfter(t *testing.T, k int) string {
	r := newRig(t)
	m := r.machine(1)
	m.powerOn()
	r.assign(m, "node1", "plain")
	shown := &neverBack{Store: r.store, t: t, far: map[string]inventory.Job{}}
	f := &frozen{Store: shown, left: k, done: make(chan struct{})}
	live := r.cfg
	live.Store = shown
	r.cfg.Store = f
	r.start()
	r.until(m, "came to the crash", func(h inventory.Host) bool { return f.hit() || h.State == inventory.StateInstalled })
	r.stop()
	step := r.job(m).Step
	r.cfg = live
	r.start()
	h := r.until(m, "came to an end", func(h inventory.Host) bool {
		return h.State == inventory.StateInstalled || h.State == inventory.StateFailed
	})
	how := fmt.Sprintf("%s: went on", step)
	switch {
	case h.State == inventory.StateFailed:
		if !strings.Contains(h.Error, "interrupted") && h.Step != StepStage0 {
			t.Errorf("crash in step %s: failed in %s: %s", step, h.Step, h.Error)
		}
		how = fmt.Sprintf("%s: interrupted", step)
		if m.restarted() {
			t.Errorf("a machine in another stage-0 before the retry")
		}
		r.retry(m)
		r.untilState(m, inventory.StateInstalled)
	case !f.hit():
		how = "done before"
	}
	if h := r.host(m); h.InstalledSystem != "/nix/store/system-node1" || !h.EverFlipped {
		t.Errorf("host at the end: %+v", h)
	}
	return how
}

// neverBack is a store that sees after each update how far every running job is shown to be: it may not go back while its
// attempt lasts, over a restart either, and host and job must show the same.
type neverBack struct {
	inventory.Store
	t   *testing.T
	mu  sync.Mutex
	far map[string]inventory.Job // by job and attempt
}

func (s *neverBack) Update(fn func(*inventory.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.Store.Update(fn)
	if err == nil {
		err = s.View(s.look)
	}
	return err
}

func (s *neverBack) look(tx *inventory.Tx) error {
	jobs, err := tx.OpenJobs()
	for _, j := range jobs {
		if j.State != inventory.JobRunning {
			continue
		}
		key := fmt.Sprintf("%s attempt %d", j.ID, j.Attempt)
		if was, ok := s.far[key]; ok && (j.StepNo < was.StepNo || j.StepOf != was.StepOf || j.StepNo > j.StepOf) {
			s.t.Errorf("%s went from step %d of %d, %s, to step %d of %d, %s", key, was.StepNo, was.StepOf, was.StepText(), j.StepNo, j.StepOf, j.StepText())
		}
		s.far[key] = j
		h, err := tx.Host(j.HostID)
		if err != nil {
			return err
		}
		if h.StepNo != j.StepNo || h.StepOf != j.StepOf || !strings.HasPrefix(h.Step, j.StepText()) {
			s.t.Errorf("%s is in step %d of %d, %s; its host says step %d of %d, %s", key, j.StepNo, j.StepOf, j.StepText(), h.StepNo, h.StepOf, h.Step)
		}
	}
	return err
}

// TestAStepThatIsDoneAgainSaysSo kills the appliance while it builds: the steps before that are done again, in words, and
// how far the job is stays what it was.
func TestAStepThatIsDoneAgainSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	m := r.machine(1)
	m.powerOn()
	hold := make(chan struct{})
	r.hive.hold = hold
	r.assign(m, "node1", "plain")
	r.start()
	r.until(m, "built", func(h inventory.Host) bool { return h.Step == StepBuild })
	r.stop()
	before := r.job(m)
	r.start()
	h := r.until(m, "built again", func(h inventory.Host) bool { return strings.HasPrefix(h.Step, StepBuild+inventory.StepAgain) })
	if j := r.job(m); h.StepNo != before.StepNo || j.StepNo != before.StepNo || !j.StepAgain {
		t.Errorf("step %d and %d, want %d", h.StepNo, j.StepNo, before.StepNo)
	}
	close(hold)
	r.untilState(m, inventory.StateInstalled)
	diary := strings.Join(r.diary(h.ID), "\n")
	for _, want := range []string{"Step 1 of 10, stage-0, again after the appliance was restarted: ", "Step 5 of 10, build, again after the appliance was restarted: ", "Step 6 of 10, install: "} {
		if strings.Count(diary, want) != 1 {
			t.Errorf("the diary does not say once %q:\n%s", want, diary)
		}
	}
	if j := r.job(m); j.StepAgain {
		t.Errorf("at its end the job is still doing a step again: %+v", j)
	}
}

func (f *frozen) hit() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func (m *machine) restarted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mode == "stage-0" && m.boots > 1
}

func TestResume(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		job  inventory.Job
		rec  record
		want resumption
	}{
		{"before anything was written all steps run again", inventory.Job{Step: StepBuild}, record{Plan: &hive.Plan{}}, resumeStart},
		{"in the install it fails", inventory.Job{Step: StepInstall, Wrote: true}, record{Writing: true}, resumeFail},
		{"in a second attempt that has not written it runs again", inventory.Job{Step: StepBuild, Wrote: true}, record{}, resumeStart},
		{"behind the install it goes on", inventory.Job{Step: StepInstall, Wrote: true}, record{Writing: true, Installed: true}, resumeMounts},
		{"behind the flip it verifies", inventory.Job{Step: StepNetboot, Wrote: true, Flipped: true}, record{Writing: true, Installed: true}, resumeVerify},
		{"a cancel that was asked for is finished", inventory.Job{Wrote: true, Flipped: true, CancelAsked: true}, record{}, resumeCancel},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := resume(&c.job, &c.rec); got != c.want {
				t.Errorf("resume: got %d, want %d", got, c.want)
			}
		})
	}
}

// TestLeftovers kills what an appliance that was killed left running, grandchildren in sessions of their own too.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	mark := t.TempDir() + ":job"
	cmd := exec.Command("sh", "-c", "setsid sleep 300 & sleep 300")
	cmd.Env = append(os.Environ(), jobVar+"="+mark)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan error, 1)
	go func() { reaped <- cmd.Wait() }()
	for deadline := time.Now().Add(60 * time.Second); ; {
		pids, err := marked(thread{}, []byte(jobVar+"="+mark))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the programs do not start: %v, %v", pids, err)
		}
		if len(pids) >= 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if n, err := endLeftovers(t.Context(), thread{}, mark); err != nil || n < 3 {
		t.Errorf("ended %d programs, %v, want 3", n, err)
	}
	<-reaped
	pids, err := marked(thread{}, []byte(jobVar+"="+mark))
	if diff := cmp.Diff([]int(nil), pids); diff != "" || err != nil {
		t.Errorf("left: %v %v", pids, err)
	}
}
