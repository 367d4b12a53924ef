package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// setupCommand is `hatchery setup …`: what may be chosen without the configuration file.
func setupCommand() *cobra.Command {
	r := &remote{}
	var status struct {
		Now        map[string]any   `json:"now"`
		Next       map[string]any   `json:"next"`
		Pending    bool             `json:"pending"`
		Proposed   map[string]any   `json:"proposed"`
		Why        string           `json:"why"`
		Fixed      []string         `json:"fixed"`
		Interfaces []map[string]any `json:"interfaces"`
	}
	show := func(c *cobra.Command) error {
		out := c.OutOrStdout()
		if r.json {
			return printJSON(out, status)
		}
		rows := []map[string]any{}
		for _, x := range []struct {
			when   string
			choice map[string]any
		}{{"now", status.Now}, {"after a restart", status.Next}, {"proposed", status.Proposed}} {
			row := map[string]any{"when": x.when}
			for k, v := range x.choice {
				row[k] = v
			}
			rows = append(rows, row)
		}
		if err := r.table(c, rows, "when", "mode", "range", "router", "dns", "interfaces"); err != nil {
			return err
		}
		fmt.Fprintln(out, "\n"+cell(status.Why))
		if len(status.Fixed) > 0 {
			fmt.Fprintln(out, "Set by the configuration file or the command line: "+strings.Join(status.Fixed, ", "))
		}
		if status.Pending {
			fmt.Fprintln(out, "It counts from the next start on: hatchery restart")
		}
		return nil
	}
	cmd := &cobra.Command{Use: "setup", Short: "How addresses are handed out, as the page's Set up has it: show, choose"}
	look := &cobra.Command{Use: "show", Short: "Show what is chosen, and what is proposed by what was heard on the wire", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if err := r.call(c.Context(), http.MethodGet, "/setup", nil, &status); err != nil {
			return err
		}
		return show(c)
	}}
	r.bind(cmd)
	var choice struct {
		Mode       string   `json:"mode"`
		Interfaces []string `json:"interfaces,omitempty"`
		Range      string   `json:"range,omitempty"`
		Router     string   `json:"router,omitempty"`
		DNS        []string `json:"dns,omitempty"`
	}
	dhcp := &cobra.Command{Use: "dhcp MODE", Short: "Choose auto, proxy, server or off, from the next start on", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		choice.Mode = a[0]
		if err := r.call(c.Context(), http.MethodPut, "/setup/dhcp", choice, &status); err != nil {
			return err
		}
		return show(c)
	}}
	f := dhcp.Flags()
	f.StringVar(&choice.Range, "range", "", "addresses to hand out, as FIRST-LAST")
	f.StringVar(&choice.Router, "router", "", "router to hand out")
	f.StringSliceVar(&choice.DNS, "dns", nil, "DNS servers to hand out")
	f.StringSliceVar(&choice.Interfaces, "interface", nil, "interface to serve; repeatable; none = every one with a private IPv4 address")
	cmd.AddCommand(look, dhcp)
	return cmd
}

// restartCommand is `hatchery restart`.
func restartCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "restart", Short: "Restart the running appliance, with what was chosen since; refused while a job runs", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return r.call(c.Context(), http.MethodPost, "/restart", nil, nil)
	}}
	r.bind(cmd)
	return cmd
}

// keysCommand is `hatchery keys …`: the SSH keys of people.
func keysCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "keys", Short: "SSH keys of people that are let in on stage-0 and on hosts: list, add, remove"}
	r.bind(cmd)
	list := &cobra.Command{Use: "list", Short: "List the keys", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		items, err := r.items(c.Context(), "/ssh/keys")
		if err != nil {
			return err
		}
		return r.table(c, items, "id", "comment", "fingerprint", "fixed")
	}}
	add := &cobra.Command{Use: "add FILE", Short: "Let the public keys of a file in (- = standard input): stage-0 at once, hosts with their next deploy", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		in := c.InOrStdin()
		if a[0] != "-" {
			f, err := os.Open(a[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		text, err := io.ReadAll(io.LimitReader(in, 64<<10))
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "PRIVATE KEY") { // it must not leave this machine
			return errors.New("that is a private key: give the public one, the file that ends in .pub")
		}
		var page struct {
			Items []map[string]any `json:"items"`
		}
		if err := r.call(c.Context(), http.MethodPost, "/ssh/keys", map[string]string{"keys": string(text)}, &page); err != nil {
			return err
		}
		return r.table(c, page.Items, "id", "comment", "fingerprint")
	}}
	remove := &cobra.Command{Use: "remove ID", Short: "Let a key in no more", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
		return r.call(c.Context(), http.MethodDelete, "/ssh/keys/"+url.PathEscape(a[0]), nil, nil)
	}}
	remove.ValidArgsFunction = r.complete("/ssh/keys", []string{"id"}, "comment", "fingerprint")
	cmd.AddCommand(list, add, remove)
	return cmd
}

// certificateCommand is `hatchery certificate …`.
func certificateCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "certificate", Short: "The certificate of page and API: show, set, reset"}
	r.bind(cmd)
	show := &cobra.Command{Use: "show", Short: "Show what the certificate is known by, and until when it is good", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		var a struct {
			Certificate map[string]any `json:"certificate"`
		}
		if err := r.call(c.Context(), http.MethodGet, "/appliance", nil, &a); err != nil {
			return err
		}
		return r.show(c.OutOrStdout(), a.Certificate, "fingerprint", "pin", "ends_at")
	}}
	set := &cobra.Command{Use: "set CERT KEY", Short: "Use another certificate at once, from two PEM files; pins of the present key break", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, a []string) error {
		cert, err := os.ReadFile(a[0])
		key, kerr := os.ReadFile(a[1])
		if err := errors.Join(err, kerr); err != nil {
			return err
		}
		return r.call(c.Context(), http.MethodPut, "/certificate", map[string]string{"certificate": string(cert), "key": string(key)}, nil)
	}}
	reset := &cobra.Command{Use: "reset", Short: "Use the appliance's own certificate again", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return r.call(c.Context(), http.MethodDelete, "/certificate", nil, nil)
	}}
	cmd.AddCommand(show, set, reset)
	return cmd
}
