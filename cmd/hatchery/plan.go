package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

func (r *remote) planHost() *cobra.Command {
	var role string
	var wipe []string
	cmd := &cobra.Command{Use: "plan HOST", Short: "Show what an install would do to every disk, and the words that confirm it", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		ask := url.Values{}
		if role != "" {
			ask.Set("role", role)
		}
		if len(wipe) > 0 {
			ask.Set("wipePersistent", strings.Join(wipe, ","))
		}
		path := hostPath(a[0], "plan") + "?" + ask.Encode()
		if r.json {
			var plan map[string]any
			if err := r.call(c.Context(), http.MethodGet, path, nil, &plan); err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), plan)
		}
		var plan diskplan.Plan
		if err := r.call(c.Context(), http.MethodGet, path, nil, &plan); err != nil {
			return err
		}
		var host map[string]any
		if err := r.call(c.Context(), http.MethodGet, hostPath(a[0]), nil, &host); err != nil {
			return err
		}
		verb := ""
		if role == "" || role == host["role"] {
			verb = "install"
			if host["ever_installed"] == true {
				verb = "reinstall"
			}
		}
		return printPlan(c.OutOrStdout(), &plan, a[0], verb)
	}}
	cmd.Flags().StringVar(&role, "role", "", "another role than the machine's, to see what it would do")
	cmd.Flags().StringSliceVar(&wipe, "wipe-persistent", nil, "persistent SLOT that would be wiped; repeatable")
	r.completeRole(cmd)
	return cmd
}

// printPlan shows the plan as tables; verb "" = it cannot be confirmed, since it is of a role that the machine does not have.
func printPlan(w io.Writer, p *diskplan.Plan, host, verb string) error {
	fmt.Fprintf(w, "plan:  %s\nrole:  %s\n\n", cell(p.ID), cell(p.Role))
	var slots, disks [][]string
	for _, s := range p.Slots {
		slots = append(slots, []string{s.Slot, s.Class, s.Disk, s.Serial, sizeText(s.SizeBytes), string(s.Fate), s.Why})
	}
	for _, d := range p.Disks {
		if d.Path != "" {
			d.Model = strings.TrimSpace(d.Model + " at port " + d.Path)
		}
		disks = append(disks, []string{d.Model, d.Serial, sizeText(d.SizeBytes), d.Holds, d.Slot, string(d.Fate), d.Why})
	}
	if err := columns(w, []string{"slot", "class", "disk", "serial", "size", "fate", "why"}, slots); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := columns(w, []string{"every disk", "serial", "size", "holds", "slot", "fate", "why"}, disks); err != nil {
		return err
	}
	if len(p.Blockers) > 0 {
		fmt.Fprintln(w, "\nIn the way:")
	}
	for _, b := range p.Blockers {
		fmt.Fprintf(w, "! %s\n  %s\n", cell(b.Text), cell(b.Do))
	}
	if command := agree(p, host, verb); command != "" {
		fmt.Fprintf(w, "\nTo agree that what these disks hold is lost:\n  %s\n", command)
	}
	return nil
}

// agree is the command that confirms the plan; "" when nothing needs a person's word, or a word would not be enough.
func agree(p *diskplan.Plan, host, verb string) string {
	if verb == "" || len(p.Blockers) == 0 {
		return ""
	}
	words := []string{"hatchery hosts", verb, quoteWord(host), "--plan", quoteWord(p.ID)}
	said := inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{}}
	for _, b := range p.Blockers {
		s, _ := p.Slot(b.Slot)
		if s.Confirm == "" {
			return ""
		}
		if said.Confirm[b.Slot] == "" {
			said.Confirm[b.Slot] = s.Confirm
			words = append(words, "--confirm", quoteWord(s.Slot+"="+s.Confirm))
		}
		if b.Kind != diskplan.BlockForeign {
			said.WipePersistent = append(said.WipePersistent, b.Slot)
			words = append(words, "--wipe-persistent", quoteWord(s.Slot))
		}
	}
	if len(p.Blocking(said)) > 0 {
		return "" // something that no word takes out of the way
	}
	return strings.Join(words, " ")
}

// quoteWord makes foreign text one harmless word of a shell: serial numbers come from the machine.
func quoteWord(s string) string {
	s = cell(s)
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.:/+@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sizeText is a disk's size as its label says it: decimal, in GB or TB.
func sizeText(bytes uint64) string {
	switch {
	case bytes >= 1e12:
		return strconv.FormatFloat(float64(bytes)/1e12, 'f', 1, 64) + " TB"
	case bytes > 0:
		return strconv.FormatFloat(float64(bytes)/1e9, 'f', 1, 64) + " GB"
	}
	return ""
}
