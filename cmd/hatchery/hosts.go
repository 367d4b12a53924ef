package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// hostsCommand is `hatchery hosts …`: every act of the page on machines.
func hostsCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "hosts", Short: "List machines and act on them"}
	r.bind(cmd)
	cmd.AddCommand(r.listHosts(), r.showHost(), r.addHost(), r.assignHost(), r.planHost(),
		r.confirmVerb("install", "Confirm the disk plan of a machine that waits for it, or install it by its role"),
		r.confirmVerb("reinstall", "Install an installed machine anew; persistent disks are kept"),
		r.formatHost(), r.deployHosts(), r.forgetHost(), r.logHost(), r.diaryHost(), r.hardwareHost(), r.packetsHost())
	cmd.AddCommand(r.sshFiles()...)
	for verb, short := range map[string]string{
		"approve": "Approve what stopped automation for a machine", "cancel": "Give up a machine's job",
		"retry": "Try a failed machine again", "rescue": "Boot a machine into stage-0 once, touching nothing",
		"release": "Let a machine that the loop guard holds boot stage-0 again",
		"ignore":  "Stay silent for a machine's netboot", "unignore": "Take `ignore` back",
		"wake": "Send a Wake-on-LAN packet", "reboot": "Reboot a machine over SSH", "poweroff": "Power a machine off over SSH",
	} {
		cmd.AddCommand(r.plainVerb(verb, short))
	}
	r.completeHosts(cmd)
	return cmd
}

func hostPath(ref string, more ...string) string {
	return "/hosts/" + url.PathEscape(ref) + strings.Join(append([]string{""}, more...), "/")
}

func (r *remote) listHosts() *cobra.Command {
	var watch bool
	var state string
	cmd := &cobra.Command{Use: "list", Short: "List machines", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if watch && state != "" {
			return usageError{errors.New("--watch shows machines of every state: leave --state out")}
		}
		if watch {
			return r.watch(c, "")
		}
		path := "/hosts?limit=200"
		if state != "" {
			path += "&state=" + url.QueryEscape(state)
		}
		hosts, err := r.items(c.Context(), path)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			h["progress"] = progress(h)
		}
		return r.table(c, hosts, "name", "mac", "state", "role", "ip", "progress", "id")
	}}
	cmd.Flags().BoolVar(&watch, "watch", false, "print a line for every change, until interrupted")
	cmd.Flags().StringVar(&state, "state", "", "only machines in that state: expected, seen, booting, ready, queued, installing, installed, failed, ignored")
	completeWords(cmd, "state", "expected", "seen", "booting", "ready", "queued", "installing", "installed", "failed", "ignored")
	return cmd
}

// progress says how far a machine or job is, in a few words.
func progress(h map[string]any) string {
	if why := cell(h["attention"]); why != "" { // before all else: nothing goes on by itself until somebody looked
		return "needs approval: " + why
	}
	if boots := loading(h); boots != "" {
		return boots
	}
	switch h["state"] {
	case "queued", "installing", "running", "ready":
	case "failed":
		return cell(h["error"])
	case "ignored":
		if by := cell(h["ignored_by"]); by != "" {
			return "by " + by + ", " + cell(h["ignored_at"])
		}
		return ""
	default:
		if h["upkeep"] == nil || h["upkeep"] == "" {
			return lag(h)
		}
	}
	if on := cell(h["blocked_on"]); on != "" {
		return "waits: " + on
	}
	step := cell(h["step"])
	if of, _ := h["step_of"].(float64); of > 0 && step != "" {
		step = cell(h["step_no"]) + "/" + cell(of) + " " + step
	}
	return step
}

// loading says how far a machine is with loading stage-0, "" while it does not.
func loading(h map[string]any) string {
	at, _ := h["loading"].(map[string]any)
	return cell(at["text"])
}

// lag says what is to be read of a machine that no job works on: why its last one failed, or how far it lags behind the hive.
func lag(h map[string]any) string {
	n, _ := h["behind"].(float64)
	switch {
	case cell(h["error"]) != "":
		return cell(h["error"])
	case n == 1:
		return "1 commit behind the hive"
	case n > 1:
		return cell(n) + " commits behind the hive"
	case n < 0:
		return "runs a revision that the hive does not have any more"
	}
	return ""
}

// table prints items in columns, or as JSON.
func (r *remote) table(c *cobra.Command, items []map[string]any, keys ...string) error {
	if r.json {
		if items == nil {
			items = []map[string]any{}
		}
		return printJSON(c.OutOrStdout(), items)
	}
	rows := make([][]string, len(items))
	for n, it := range items {
		for _, k := range keys {
			rows[n] = append(rows[n], cell(it[k]))
		}
	}
	return columns(c.OutOrStdout(), keys, rows)
}

// columns prints a table; an empty cell is a dash.
func columns(out io.Writer, heads []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(heads, "\t")))
	for _, row := range rows {
		words := make([]string, len(row))
		for i, v := range row {
			if words[i] = tell(v); words[i] == "" {
				words[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(words, "\t"))
	}
	return w.Flush()
}

func (r *remote) showHost() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{Use: "show HOST", Short: "Show one machine, by id, MAC or name", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		var h map[string]any
		if err := r.call(c.Context(), http.MethodGet, hostPath(a[0]), nil, &h); err != nil {
			return err
		}
		if watch {
			return r.watch(c, cell(h["id"]))
		}
		return r.showOne(c, h)
	}}
	cmd.Flags().BoolVar(&watch, "watch", false, "print a line for every change, until interrupted")
	return cmd
}

func (r *remote) showOne(c *cobra.Command, h map[string]any) error {
	out := c.OutOrStdout()
	if !r.json {
		if n, _ := h["memory_bytes"].(float64); n > 0 {
			h["memory"] = fmt.Sprintf("%.1f GiB", n/(1<<30))
		}
		h["loading"] = loading(h)
	}
	if err := r.show(out, h, "name", "id", "mac", "macs", "state", "loading", "role", "step", "blocked_on", "attention", "error", "hint", "ignored_by", "ignored_at", "ip", "address",
		"upkeep", "behind", "arch", "firmware", "vendor", "product", "serial", "uuid", "memory", "first_seen", "last_seen", "online"); err != nil || r.json {
		return err
	}
	disks := objects(h["disks"])
	if len(disks) == 0 {
		return nil
	}
	for _, d := range disks {
		n, _ := d["size_bytes"].(float64)
		d["size"] = sizeText(uint64(max(n, 0)))
	}
	fmt.Fprintln(out)
	return r.table(c, disks, "name", "model", "serial", "size", "type", "transport", "signatures", "id")
}

func (r *remote) addHost() *cobra.Command {
	var mac, uuid, serial, name, role string
	cmd := &cobra.Command{Use: "add [MAC]", Short: "Announce a machine before it exists", Args: cobra.MaximumNArgs(1), RunE: func(c *cobra.Command, a []string) error {
		if len(a) == 1 {
			if mac != "" {
				return usageError{errors.New("say the MAC once")}
			}
			mac = a[0]
		}
		body := map[string]string{}
		for k, v := range map[string]string{"mac": mac, "uuid": uuid, "serial": serial, "name": name, "role": role} {
			if v != "" {
				body[k] = v
			}
		}
		var h map[string]any
		if err := r.call(c.Context(), http.MethodPost, "/hosts", body, &h); err != nil {
			return err
		}
		return r.showOne(c, h)
	}}
	f := cmd.Flags()
	f.StringVar(&mac, "mac", "", "MAC address")
	f.StringVar(&uuid, "uuid", "", "SMBIOS UUID")
	f.StringVar(&serial, "serial", "", "serial number")
	f.StringVar(&name, "name", "", "host name")
	f.StringVar(&role, "role", "", "role")
	r.completeRole(cmd)
	return cmd
}

func (r *remote) assignHost() *cobra.Command {
	var name, role, kernelArgs, notes string
	var pins map[string]string
	var addr addressFlags
	var follow bool
	cmd := &cobra.Command{Use: "assign HOST…", Short: "Give machines a role, or one a name, a fixed address, disk pins or kernel arguments", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, a []string) error {
		body := map[string]any{}
		for _, set := range []struct {
			flag, key string
			v         any
			one       bool
		}{{"role", "role", role, false}, {"kernel-args", "kernel_args", kernelArgs, false}, {"name", "name", name, true}, {"notes", "notes", notes, false}, {"pin", "pins", pins, true}} {
			if !c.Flags().Changed(set.flag) {
				continue
			}
			if set.one && len(a) > 1 {
				return usageError{fmt.Errorf("--%s is for one machine, not for %d", set.flag, len(a))}
			}
			body[set.key] = set.v
		}
		if err := addr.into(body); err != nil {
			return err
		}
		if body["address"] != nil && len(a) > 1 {
			return usageError{fmt.Errorf("a fixed address is for one machine, not for %d", len(a))}
		}
		if len(body) == 0 {
			return usageError{errors.New("say what to assign: --role, --name, --static, --reserved, --pin, --notes or --kernel-args")}
		}
		return r.each(c, a, follow, func(ref string) (h map[string]any, err error) {
			err = r.call(c.Context(), http.MethodPut, hostPath(ref), body, &h)
			return h, err
		})
	}}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "host name")
	f.StringVar(&role, "role", "", "role; a machine that was never installed gets its job")
	f.StringVar(&kernelArgs, "kernel-args", "", "words for stage-0's kernel command line")
	f.StringVar(&notes, "notes", "", "what people want to remember of it; empty takes it away")
	f.StringToStringVar(&pins, "pin", nil, "SLOT=DISK, by its name in /dev/disk/by-id, or path:NAME by its port's in /dev/disk/by-path where it has no other; repeatable: these take the place of all pins, SLOT= of none")
	addr.bind(f)
	bindWatch(cmd, &follow)
	r.completeRole(cmd)
	return cmd
}

// each acts on machines one after another and shows what became of each; then it follows their jobs when asked to.
func (r *remote) each(c *cobra.Command, refs []string, follow bool, act func(ref string) (map[string]any, error)) error {
	jobs := map[string]string{}
	for _, ref := range refs {
		h, err := act(ref)
		if err != nil {
			return fmt.Errorf("%s %s: %w", c.Name(), ref, err)
		}
		if follow && h["job_id"] != "" {
			jobs[cell(h["job_id"])] = cell(h["id"])
		} else if err := r.showOne(c, h); err != nil {
			return err
		}
	}
	return r.watchJobs(c, jobs)
}

func (r *remote) confirmVerb(verb, short string) *cobra.Command {
	var plan string
	var confirm map[string]string
	var wipe []string
	var follow bool
	cmd := &cobra.Command{Use: verb + " HOST", Short: short, Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		body := map[string]any{}
		if plan != "" {
			body["plan_id"] = plan
		}
		if len(confirm) > 0 {
			body["confirm"] = confirm
		}
		if len(wipe) > 0 {
			body["wipePersistent"] = wipe
		}
		return r.each(c, a, follow, func(ref string) (h map[string]any, err error) {
			err = r.call(c.Context(), http.MethodPost, hostPath(ref, verb), body, &h)
			return h, err
		})
	}}
	bindWatch(cmd, &follow)
	f := cmd.Flags()
	f.StringVar(&plan, "plan", "", "id of the plan that was looked at (see `hatchery hosts plan`)")
	f.StringToStringVar(&confirm, "confirm", nil, "SLOT=SERIAL of a disk whose data may be lost; repeatable")
	f.StringSliceVar(&wipe, "wipe-persistent", nil, "persistent SLOT to wipe; its serial must be confirmed too; repeatable")
	return cmd
}

func (r *remote) plainVerb(verb, short string) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{Use: verb + " HOST…", Short: short, Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, a []string) error {
		return r.each(c, a, follow, func(ref string) (h map[string]any, err error) {
			err = r.call(c.Context(), http.MethodPost, hostPath(ref, verb), map[string]any{}, &h)
			return h, err
		})
	}}
	if verb == "retry" {
		bindWatch(cmd, &follow)
	}
	return cmd
}

func (r *remote) hardwareHost() *cobra.Command {
	return &cobra.Command{Use: "hardware HOST", Short: "Print nixos-facter's report of an installed machine, which its hardware configuration is made of", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		var report any
		if err := r.call(c.Context(), http.MethodGet, hostPath(a[0], "hardware"), nil, &report); err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), report)
	}}
}

func (r *remote) forgetHost() *cobra.Command {
	return &cobra.Command{Use: "forget HOST…", Short: "Forget a machine; an installed one is never installed over when it shows up again", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, a []string) error {
		for _, ref := range a {
			if err := r.call(c.Context(), http.MethodDelete, hostPath(ref), nil, nil); err != nil {
				return fmt.Errorf("forget %s: %w", ref, err)
			}
		}
		return nil
	}}
}

func (r *remote) logHost() *cobra.Command {
	var stay bool
	cmd := &cobra.Command{Use: "log HOST", Short: "Print the log of a machine's job, and follow it while the job is open", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		path := hostPath(a[0], "log")
		if stay {
			path += "?follow=false"
		}
		res, err := r.do(c.Context(), http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		return follow(c.OutOrStdout(), res.Body)
	}}
	cmd.Flags().BoolVar(&stay, "no-follow", false, "print what there is and end")
	return cmd
}

func (r *remote) diaryHost() *cobra.Command {
	return &cobra.Command{Use: "diary HOST", Short: "Print a machine's boot diary", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		items, err := r.items(c.Context(), hostPath(a[0], "events"))
		if err != nil {
			return err
		}
		return r.table(c, items, "time", "kind", "by", "text")
	}}
}
