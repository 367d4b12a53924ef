package meter

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/staged-hive/hatchery/inventory"
)

// Bounds of what is remembered of boots and jobs under way, and after which pause a milestone begins another boot.
const (
	maxUnderWay = 4096
	sameBoot    = 15 * time.Minute
)

// The results of a step.
const (
	resultOK      = "ok"
	resultFailed  = "failed"  // it broke off, or there was nothing to give
	resultStalled = "stalled" // the next milestone never came
)

// Meter counts boots and jobs. Register it; [Meter.Run] feeds it.
type Meter struct {
	store inventory.Store

	bootSteps *prometheus.CounterVec
	bootTook  *prometheus.HistogramVec
	boots     prometheus.Histogram
	jobSteps  *prometheus.HistogramVec
	jobs      *prometheus.CounterVec

	// Used by Run alone.
	booting map[inventory.HostID]boot
	running map[inventory.JobID]step
}

// boot is a host's boot under way.
type boot struct {
	began, last time.Time
	step        string
}

// step is the step that an open job is in.
type step struct {
	name  string // "" while it waits
	since time.Time
}

// New makes a Meter of a store; it counts nothing before Run.
func New(store inventory.Store) *Meter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hatchery", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "hatchery", Name: name, Help: help, Buckets: buckets}, labels)
	}
	return &Meter{
		store:     store,
		bootSteps: counter("boot_steps_total", "Milestones of netboots, by step and result.", "step", "result"),
		bootTook: histogram("boot_step_duration_seconds", "Time from a boot's milestone before to this one.",
			[]float64{.01, .05, .25, 1, 2.5, 5, 10, 20, 40, 80, 160, 320}, "step"),
		boots: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "hatchery", Name: "boot_duration_seconds",
			Help: "Time from a machine's first request to its check-in.", Buckets: []float64{5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600}}),
		jobSteps: histogram("job_step_duration_seconds", "How long the steps of jobs took.",
			[]float64{.1, .5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600}, "kind", "step", "result"),
		jobs:    counter("jobs_ended_total", "Jobs that ended, by kind and how.", "kind", "result"),
		booting: map[inventory.HostID]boot{}, running: map[inventory.JobID]step{},
	}
}

func (m *Meter) parts() []prometheus.Collector {
	return []prometheus.Collector{m.bootSteps, m.bootTook, m.boots, m.jobSteps, m.jobs}
}

// Describe implements prometheus.Collector.
func (m *Meter) Describe(out chan<- *prometheus.Desc) {
	for _, p := range m.parts() {
		p.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m *Meter) Collect(out chan<- prometheus.Metric) {
	for _, p := range m.parts() {
		p.Collect(out)
	}
}

// Run counts until ctx ends, and returns nil.
func (m *Meter) Run(ctx context.Context) error {
	for c := range m.store.Watch(ctx) {
		if c.Entry != nil && c.Entry.HostID != "" {
			m.line(*c.Entry)
		}
		if c.Kind == inventory.JobChanged {
			m.job(c.Job)
		}
	}
	return nil
}

// milestone is the boot's step that a diary's line tells of, and its result; "" for none.
func milestone(e inventory.Entry) (name, result string) {
	result = resultOK
	if e.Level != "" {
		result = resultFailed
	}
	switch e.Kind {
	case "dhcp.discover":
		if e.By == "firmware" {
			return "dhcp", result
		}
	case "dhcp.offer", "dhcp.proxy-offer":
		if e.By == "firmware" {
			return "offer", result
		}
	case "tftp.file", "http.file":
		if e.By == "firmware" {
			return "boot file", result
		}
		if e.Kind == "http.file" {
			return "image", result
		}
	case "http.script":
		return "script", result
	case "checkin":
		return "check-in", result
	case "stall":
		return "stall", resultStalled
	}
	return "", ""
}

// line takes in one line of a boot diary.
func (m *Meter) line(e inventory.Entry) {
	name, result := milestone(e)
	if name == "" {
		return
	}
	b, known := m.booting[e.HostID]
	if name == "stall" { // the verdict is about the milestone before
		if known {
			m.bootSteps.WithLabelValues(b.step, result).Inc()
			delete(m.booting, e.HostID)
		}
		return
	}
	m.bootSteps.WithLabelValues(name, result).Inc()
	if fresh := name == "dhcp"; !known || fresh || e.Time.Sub(b.last) > sameBoot {
		if len(m.booting) >= maxUnderWay {
			clear(m.booting)
		}
		m.booting[e.HostID] = boot{began: e.Time, last: e.Time, step: name}
		return
	}
	m.bootTook.WithLabelValues(name).Observe(max(0, e.Time.Sub(b.last).Seconds()))
	b.last, b.step = e.Time, name
	m.booting[e.HostID] = b
	if name == "check-in" {
		m.boots.Observe(max(0, e.Time.Sub(b.began).Seconds()))
		delete(m.booting, e.HostID)
	}
}

// job takes in that a job changed.
func (m *Meter) job(id inventory.JobID) {
	var j inventory.Job
	err := m.store.View(func(tx *inventory.Tx) (err error) {
		j, err = tx.Job(id)
		return err
	})
	if err != nil { // trimmed meanwhile, or the store is closed
		if errors.Is(err, inventory.ErrNotFound) {
			delete(m.running, id)
		}
		return
	}
	now := time.Now()
	was, known := m.running[id]
	if known && was.name != "" && (was.name != j.Step || j.State != inventory.JobRunning) {
		result := resultOK
		if j.State != inventory.JobRunning && j.State != inventory.JobDone {
			result = string(j.State)
		}
		m.jobSteps.WithLabelValues(string(j.Kind), was.name, result).Observe(now.Sub(was.since).Seconds())
	}
	if !j.Open() {
		if known {
			m.jobs.WithLabelValues(string(j.Kind), string(j.State)).Inc()
		}
		delete(m.running, id)
		return
	}
	if !known && len(m.running) >= maxUnderWay {
		clear(m.running)
	}
	next := step{since: now}
	if j.State == inventory.JobRunning {
		next.name = j.Step
	}
	if known && next.name == was.name {
		next.since = was.since
	}
	m.running[id] = next
}
