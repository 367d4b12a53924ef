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
	ctx, last := c.Context(), map[string]string{}
	show := func(h map[string]any) error {
		id := cell(h["id"])
		if only != "" && id != only {
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
	for {
		err := r.events(ctx, show)
		var refused problem
		if ctx.Err() != nil {
			return nil
		}
		if errors.As(err, &refused) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchAgain):
		}
	}
}

// events follows the appliance's changes and calls show with every host: those that there are, then those that change.
func (r *remote) events(ctx context.Context, show func(map[string]any) error) error {
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
		switch name {
		case "hello", "resync": // what is read after it holds all up to it
			hosts, err := r.items(ctx, "/hosts?limit=200")
			if err != nil {
				return err
			}
			for _, h := range hosts {
				if err := show(h); err != nil {
					return err
				}
			}
		case "host":
			var h map[string]any
			if err := json.Unmarshal([]byte(data), &h); err != nil {
				return fmt.Errorf("event stream: %w", err)
			}
			if err := show(h); err != nil {
				return err
			}
		}
	}
	return sc.Err()
}
