package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// watchAgain is how long a watch waits before it asks an appliance again that went away.
const watchAgain = time.Second

// watch prints every machine that changes, a line each, until ctx ends; only "" = all of them, else
// the one of that id. A restart of the appliance is waited for. With --json a line is the API's host.
func (r *remote) watch(c *cobra.Command, only string) error {
	show := r.hostLines(c, func(id string) bool { return only == "" || id == only })
	return r.stay(c.Context(), show, func(map[string]any) error { return nil }, nil)
}

// hostLines prints a line for each machine that wanted says yes to, when the line is another than before.
func (r *remote) hostLines(c *cobra.Command, wanted func(id string) bool) func(map[string]any) error {
	last := map[string]string{}
	return func(h map[string]any) error {
		id := cell(h["id"])
		if !wanted(id) {
			return nil
		}
		line := strings.Join([]string{cell(h["name"]), cell(h["mac"]), cell(h["state"]), cell(h["role"]), progress(h)}, "  ")
		if r.json {
			raw, err := json.Marshal(h)
			if err != nil {
				return err
			}
			line = string(raw)
		} else if last[id] == line {
			return nil
		}
		last[id] = line
		if !r.json {
			line = time.Now().Format(time.TimeOnly) + "  " + line
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), line)
		return err
	}
}

// bindWatch declares --watch for an act that makes a job.
func bindWatch(cmd *cobra.Command, follow *bool) {
	cmd.Flags().BoolVar(follow, "watch", false, fmt.Sprintf("stay until the job has ended, with a line for every step; exit code %d when it fails", exitJob))
}

// jobFailed says that a job that was watched did not do what was asked.
type jobFailed struct{ text string }

// Error implements error.
func (e jobFailed) Error() string { return e.text }

// errAllEnded ends a watch: there is nothing left to wait for.
var errAllEnded = errors.New("all jobs have ended")

// watchJobs prints the progress of jobs (id → host's id) until all have ended; a jobFailed when one of them did not succeed.
func (r *remote) watchJobs(c *cobra.Command, jobs map[string]string) error {
	if len(jobs) == 0 {
		return nil
	}
	var failed error
	watched := map[string]bool{}
	for _, host := range jobs {
		watched[host] = true
	}
	seen := func(j map[string]any) error {
		id := cell(j["id"])
		if _, open := jobs[id]; !open || j["state"] == "queued" || j["state"] == "running" {
			return nil
		}
		delete(jobs, id)
		if j["state"] != "done" {
			failed = errors.Join(failed, jobFailed{strings.TrimSpace(fmt.Sprintf("job of %s %s: %s %s", cell(j["host"]), cell(j["state"]), cell(j["error"]), cell(j["hint"])))})
		}
		if len(jobs) == 0 {
			return errAllEnded
		}
		return nil
	}
	missed := func(ctx context.Context) error { // some may have ended before the stream began
		for id := range jobs {
			var j map[string]any
			if err := r.call(ctx, http.MethodGet, "/jobs/"+id, nil, &j); err != nil {
				return err
			}
			if err := seen(j); err != nil {
				return err
			}
		}
		return nil
	}
	if err := r.stay(c.Context(), r.hostLines(c, func(id string) bool { return watched[id] }), seen, missed); err != nil && !errors.Is(err, errAllEnded) {
		return err
	}
	return failed
}

// stay follows the events until ctx ends or a function fails, over restarts of the appliance.
func (r *remote) stay(ctx context.Context, host, job func(map[string]any) error, missed func(context.Context) error) error {
	for {
		err := r.events(ctx, host, job, missed)
		var refused problem
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused), errors.Is(err, errAllEnded):
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
}

// events follows the appliance's changes and calls host with every host: those that there are, then those that
// change; job with every job that changes; missed (nil = nothing) when jobs may have changed unheard.
func (r *remote) events(ctx context.Context, host, job func(map[string]any) error, missed func(context.Context) error) error {
	res, err := r.do(ctx, http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(make([]byte, 64<<10), 4<<20)
	for name := ""; sc.Scan(); {
		if ev, is := strings.CutPrefix(sc.Text(), "event: "); is {
			name = ev
			continue
		}
		data, is := strings.CutPrefix(sc.Text(), "data: ")
		if !is {
			continue
		}
		if err := r.event(ctx, name, data, host, job, missed); err != nil {
			return err
		}
	}
	return sc.Err()
}

func (r *remote) event(ctx context.Context, name, data string, host, job func(map[string]any) error, missed func(context.Context) error) error {
	switch name {
	case "hello", "resync": // what is read after it holds all up to it
		hosts, err := r.items(ctx, "/hosts?limit=200")
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if err := host(h); err != nil {
				return err
			}
		}
		if missed != nil {
			return missed(ctx)
		}
	case "host", "job":
		var v map[string]any
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return fmt.Errorf("event stream: %w", err)
		}
		if name == "job" {
			return job(v)
		}
		return host(v)
	}
	return nil
}
