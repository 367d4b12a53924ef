package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reading is the appliance's own figures at one moment.
type reading struct {
	after                    time.Duration
	rss, heap, routines, fds float64
}

func (r reading) String() string {
	return fmt.Sprintf("%5.1f min  %5.1f MB resident  %5.1f MB heap in use  %4.0f goroutines  %3.0f open files", r.after.Minutes(), r.rss/1e6, r.heap/1e6, r.routines, r.fds)
}

// read takes them from /metrics.
func (a *appliance) read(began time.Time) (reading, error) {
	res, err := a.http.Get(a.url("/metrics"))
	if err != nil {
		return reading{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return reading{}, err
	}
	value := func(name string) float64 {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(raw)
		if m == nil {
			err = fmt.Errorf("/metrics has no %s", name)
			return 0
		}
		v, perr := strconv.ParseFloat(string(m[1]), 64)
		if perr != nil {
			err = perr
		}
		return v
	}
	r := reading{time.Since(began), value("process_resident_memory_bytes"), value("go_memstats_heap_inuse_bytes"), value("go_goroutines"), value("process_open_fds")}
	return r, err
}

// median of what get says of the readings.
func median(all []reading, get func(reading) float64) float64 {
	v := make([]float64, 0, len(all))
	for _, r := range all {
		v = append(v, get(r))
	}
	for i := range v { // few: by insertion
		for j := i; j > 0 && v[j-1] > v[j]; j-- {
			v[j-1], v[j] = v[j], v[j-1]
		}
	}
	return v[len(v)/2]
}

// soakLoad is the mixed load, each part at a low rate until ctx ends.
type soakLoad struct {
	boots, calls, pages, events, failed atomic.Int64
}

func (l *soakLoad) note(t *testing.T, ctx context.Context, what string, err error) bool {
	if err == nil {
		return true
	}
	if ctx.Err() == nil {
		l.failed.Add(1)
		t.Errorf("%s: %v", what, err)
	}
	return false
}

// every calls fn each interval until ctx ends.
func every(ctx context.Context, d time.Duration, fn func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fn()
		case <-ctx.Done():
			return
		}
	}
}

// fetch gets a page or a part of the API with the admin token.
func (a *appliance) fetch(ctx context.Context, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url(path), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token())
	client := *a.http
	client.Timeout = 0
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err = io.Copy(w, res.Body); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	return err
}

// counted counts the events of a stream.
type counted struct{ n *atomic.Int64 }

func (c counted) Write(p []byte) (int, error) {
	c.n.Add(int64(strings.Count(string(p), "\ndata:")))
	return len(p), nil
}

// keepOpen reads a stream until ctx ends; every minute it is opened anew, as a browser that was closed and opened again.
func (l *soakLoad) keepOpen(ctx context.Context, t *testing.T, a *appliance, path string) {
	for ctx.Err() == nil {
		part, cancel := context.WithTimeout(ctx, time.Minute)
		err := a.fetch(part, path, counted{&l.events})
		if part.Err() == nil {
			l.note(t, ctx, "stream "+path, fmt.Errorf("it ended: %w", err))
			<-part.Done()
		}
		cancel()
	}
}

// run puts the load on until ctx ends and waits for all of it.
func (l *soakLoad) run(ctx context.Context, t *testing.T, a *appliance, sims []*sim) {
	var all sync.WaitGroup
	all.Go(func() {
		n := 0
		every(ctx, 3*time.Second, func() {
			if l.note(t, ctx, "boot", sims[n%len(sims)].boot(ctx)) {
				l.boots.Add(1)
			}
			n++
		})
	})
	all.Go(func() {
		paths := []string{"/api/v1/hosts", "/api/v1/jobs", "/api/v1/leases", "/api/v1/decisions", "/", "/network", "/hosts/" + sims[0].mac, "/healthz"}
		n := 0
		every(ctx, time.Second, func() {
			if l.note(t, ctx, "page", a.fetch(ctx, paths[n%len(paths)], io.Discard)) {
				l.pages.Add(1)
			}
			n++
		})
	})
	all.Go(func() {
		n := 0
		every(ctx, 5*time.Second, func() {
			if _, err := a.host(sims[0].mac); err != nil {
				return
			}
			_, err := a.call(http.MethodPut, "/hosts/"+sims[0].mac, map[string]string{"name": fmt.Sprintf("soak%d", n%2)}, nil)
			if l.note(t, ctx, "rename", err) {
				l.calls.Add(1)
			}
			n++
		})
	})
	for _, path := range []string{"/live", "/live?host=" + sims[0].mac, "/api/v1/events", "/api/v1/events"} {
		all.Go(func() { l.keepOpen(ctx, t, a, path) })
	}
	all.Wait()
}

// TestSoak lets machines boot, programs ask and pages stand open for half an hour (HATCHERY_SOAK, as 30m), and demands
// that the appliance has no more memory, goroutines and open files in its last third than in its second.
func TestSoak(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv("HATCHERY_SOAK"))
	if err != nil {
		t.Skip("takes 30 minutes: make soak, or set HATCHERY_SOAK=30m")
	}
	l := newLAN(t)
	a := startAppliance(t, l, append(serverFlags(l), "--log-level", "info", "--discovery", "always")...)
	sims := newSims(t, a, 0, 12)
	bootAll(t, time.Minute, sims[0])
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var load soakLoad
	var all []reading
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.run(ctx, t, a, sims)
	}()
	every(ctx, long/60, func() {
		r, err := a.read(began)
		if err != nil {
			t.Error(err)
			return
		}
		t.Log(r)
		all = append(all, r)
	})
	<-done
	t.Logf("%d boots, %d pages and API reads, %d changes, %d stream events, %d failures in %s",
		load.boots.Load(), load.pages.Load(), load.calls.Load(), load.events.Load(), load.failed.Load(), long)
	if len(all) < 30 || load.boots.Load() == 0 || load.events.Load() == 0 {
		t.Fatalf("only %d readings, %d boots, %d events: that was no load", len(all), load.boots.Load(), load.events.Load())
	}
	second, last := all[len(all)/3:2*len(all)/3], all[2*len(all)/3:]
	for _, c := range []struct {
		what  string
		get   func(reading) float64
		ratio float64
		more  float64
	}{
		{"resident memory", func(r reading) float64 { return r.rss }, 1.10, 4e6},
		{"heap", func(r reading) float64 { return r.heap }, 1.15, 4e6},
		{"goroutines", func(r reading) float64 { return r.routines }, 1, 8},
		{"open files", func(r reading) float64 { return r.fds }, 1, 8},
	} {
		before, after := median(second, c.get), median(last, c.get)
		t.Logf("%s: median of the second third %.0f, of the last third %.0f", c.what, before, after)
		if after > before*c.ratio+c.more {
			t.Errorf("%s grows: %.0f, then %.0f", c.what, before, after)
		}
	}
}
