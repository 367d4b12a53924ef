package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// listCommand prints one list of the API as a table.
func listCommand(use, short, path string, keys ...string) *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		items, err := r.items(c.Context(), path)
		if err != nil {
			return err
		}
		return r.table(c, items, keys...)
	}}
	r.bind(cmd)
	return cmd
}

// rolesCommand is `hatchery roles`.
func rolesCommand() *cobra.Command {
	r := &remote{}
	var refresh, summary bool
	cmd := &cobra.Command{Use: "roles", Short: "List the hive's roles", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if summary {
			return r.hiveSummary(c)
		}
		method, path := http.MethodGet, "/roles"
		if refresh {
			method, path = http.MethodPost, "/roles/refresh"
		}
		var page struct {
			Items    []map[string]any `json:"items"`
			Revision string           `json:"revision"`
			Error    string           `json:"error"`
			Trace    string           `json:"trace"`
		}
		if err := r.call(c.Context(), method, path, nil, &page); err != nil {
			return err
		}
		if page.Error != "" {
			fmt.Fprintf(c.ErrOrStderr(), "The hive's newest revision cannot be read, these are the last good roles (%s): %s\n", cell(page.Revision), lines(page.Error))
			if page.Trace != "" {
				fmt.Fprintln(c.ErrOrStderr(), lines(page.Trace))
			}
		}
		return r.table(c, page.Items, "name", "description", "system")
	}}
	r.bind(cmd)
	cmd.Flags().BoolVar(&refresh, "refresh", false, "read the hive again first")
	cmd.Flags().BoolVar(&summary, "summary", false, "list instead what the hive says of every machine: addresses, roles, disks, k3s")
	cmd.MarkFlagsMutuallyExclusive("refresh", "summary")
	return cmd
}

// hiveSummary is `hatchery roles --summary`.
func (r *remote) hiveSummary(c *cobra.Command) error {
	var got struct {
		Hosts []map[string]any `json:"hosts"`
		Error string           `json:"error"`
		Trace string           `json:"trace"`
	}
	if err := r.call(c.Context(), http.MethodGet, "/roles/summary", nil, &got); err != nil {
		return err
	}
	if got.Error != "" {
		return fmt.Errorf("%s\n%s", lines(got.Error), lines(got.Trace))
	}
	for _, h := range got.Hosts {
		var disks []string
		list, _ := h["disks"].([]any)
		for _, d := range list {
			if d, is := d.(map[string]any); is {
				disks = append(disks, fmt.Sprintf("%v: %v on %v", d["slot"], d["class"], d["id"]))
			}
		}
		if h["disks"] = strings.Join(disks, ", "); r.json {
			h["disks"] = list
		}
		if k, is := h["k3s"].(map[string]any); is && !r.json {
			h["k3s"] = fmt.Sprintf("%v in %v", k["role"], k["cluster"])
		}
	}
	return r.table(c, got.Hosts, "name", "role", "address", "mac", "disks", "k3s")
}

func rulesCommand() *cobra.Command {
	return listCommand("rules", "Show what the hive's automatic rules would do to every known machine", "/rules/preview", "host", "would", "roles", "why", "host_id")
}

func leasesCommand() *cobra.Command {
	return listCommand("leases", "List DHCP leases", "/leases", "ip", "mac", "hostname", "expires")
}

// jobsCommand is `hatchery jobs`.
func jobsCommand() *cobra.Command {
	r := &remote{}
	var open bool
	var host string
	var limit int
	cmd := &cobra.Command{Use: "jobs", Short: "List jobs, newest first", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		ask := url.Values{"host": {host}}
		if open {
			ask.Set("state", "open")
		}
		items, err := r.newest(c.Context(), "/jobs?"+ask.Encode(), limit)
		if err != nil {
			return err
		}
		for _, it := range items {
			it["progress"] = progress(it)
		}
		return r.table(c, items, "id", "host", "kind", "state", "role", "by", "progress", "created_at")
	}}
	r.bind(cmd)
	f := cmd.Flags()
	f.BoolVar(&open, "open", false, "only those that wait or run")
	f.StringVar(&host, "host", "", "only those of one machine, by id, MAC or name")
	f.IntVar(&limit, "limit", 50, "how many of the newest; 0 = all")
	cmd.AddCommand(&cobra.Command{Use: "show JOB", Short: "Show one job, with what became of its earlier attempts", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		var j map[string]any
		if err := r.call(c.Context(), http.MethodGet, "/jobs/"+url.PathEscape(a[0]), nil, &j); err != nil {
			return err
		}
		j["progress"] = progress(j)
		if err := r.show(c.OutOrStdout(), j, "id", "host", "host_id", "kind", "state", "role", "by", "progress", "error", "hint", "plan_id", "wrote", "attempt",
			"created_at", "started_at", "ended_at"); err != nil || r.json {
			return err
		}
		if past := objects(j["past"]); len(past) > 0 {
			fmt.Fprintln(c.OutOrStdout(), "\nearlier attempts")
			return r.table(c, past, "no", "by", "role", "step", "error", "wrote", "started_at", "ended_at")
		}
		return nil
	}}, &cobra.Command{Use: "log JOB", Short: "Print the log of a job, of one that ended too", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		res, err := r.do(c.Context(), http.MethodGet, "/jobs/"+url.PathEscape(a[0])+"/log", nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		return follow(c.OutOrStdout(), res.Body)
	}})
	return cmd
}

// networkCommand is `hatchery network`: what DHCP does and why.
func networkCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "network", Short: "Show what DHCP does and why, with its last decisions", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var st map[string]any
		if err := r.call(c.Context(), http.MethodGet, "/network", nil, &st); err != nil {
			return err
		}
		decisions, err := r.items(c.Context(), "/decisions")
		if err != nil {
			return err
		}
		if r.json {
			st["decisions"] = decisions
			return printJSON(c.OutOrStdout(), st)
		}
		if err := r.show(c.OutOrStdout(), st, "mode", "why", "requests", "malformed", "limited", "last_request"); err != nil {
			return err
		}
		for _, part := range []struct {
			list string
			keys []string
		}{
			{"interfaces", []string{"name", "mac", "addrs", "why", "note"}},
			{"pools", []string{"range", "subnet", "live", "size", "quarantined", "reserved", "relayed"}},
			{"other_servers", []string{"ip", "mac", "iface", "proxy", "last_seen"}},
		} {
			rows := objects(st[part.list])
			if len(rows) == 0 {
				continue
			}
			fmt.Fprintf(c.OutOrStdout(), "\n%s\n", strings.ReplaceAll(part.list, "_", " "))
			if err := r.table(c, rows, part.keys...); err != nil {
				return err
			}
		}
		fmt.Fprintln(c.OutOrStdout(), "\nlast decisions, newest first")
		return r.table(c, decisions, "time", "mac", "asked", "answer", "reason", "times")
	}}
	r.bind(cmd)
	return cmd
}

// objects are the JSON objects of a list.
func objects(list any) []map[string]any {
	all, _ := list.([]any)
	out := make([]map[string]any, 0, len(all))
	for _, v := range all {
		if m, is := v.(map[string]any); is {
			out = append(out, m)
		}
	}
	return out
}

// reservationsCommand is `hatchery reservations …`.
func reservationsCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "reservations", Short: "Fixed addresses: list, set, remove"}
	r.bind(cmd)
	var hostname string
	set := &cobra.Command{Use: "set MAC IP", Short: "Give a MAC a fixed address", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, a []string) error {
		body := map[string]string{"ip": a[1]}
		if hostname != "" {
			body["hostname"] = hostname
		}
		var got map[string]any
		if err := r.call(c.Context(), http.MethodPut, "/reservations/"+a[0], body, &got); err != nil {
			return err
		}
		return r.show(c.OutOrStdout(), got, "mac", "ip", "hostname")
	}}
	set.Flags().StringVar(&hostname, "hostname", "", "host name that DHCP tells the machine")
	cmd.AddCommand(set,
		&cobra.Command{Use: "list", Short: "List reservations", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			items, err := r.items(c.Context(), "/reservations")
			if err != nil {
				return err
			}
			return r.table(c, items, "mac", "ip", "hostname")
		}},
		&cobra.Command{Use: "remove MAC", Short: "Take a reservation back", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			return r.call(c.Context(), http.MethodDelete, "/reservations/"+a[0], nil, nil)
		}})
	return listsAlone(cmd)
}

// listsAlone lets a command without a verb do what its verb list does.
func listsAlone(cmd *cobra.Command) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == "list" {
			cmd.Args, cmd.RunE = sub.Args, sub.RunE
		}
	}
	return cmd
}

// manCommand is `hatchery man DIR`.
func manCommand() *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write the manual pages into a folder", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		if err := os.MkdirAll(a[0], 0o755); err != nil {
			return err
		}
		root := c.Root()
		root.DisableAutoGenTag = true // the same input gives the same pages
		return doc.GenManTree(root, &doc.GenManHeader{Title: "HATCHERY", Section: "1", Source: "Hatchery " + versionText(), Manual: "Hatchery"}, a[0])
	}}
}

// lines cleans a text of several lines for a terminal.
func lines(text string) string {
	all := strings.Split(text, "\n")
	for i, l := range all {
		all[i] = cell(l)
	}
	return strings.Join(all, "\n")
}
