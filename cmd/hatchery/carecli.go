package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/staged-hive/hatchery/web"
)

// doctorCommand is `hatchery doctor`.
func doctorCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "doctor", Short: "Look at everything that machines need, and play a machine's firmware against the appliance; exit code 1 when something is wrong",
		Long: "Look at everything that machines need, and play a machine's firmware against the running appliance: DHCP, the boot file by TFTP, the boot script, kernel and initrd.\n\n" +
			"The played machine has a MAC of its own, becomes no host, and gives its address back. Nothing is said to other DHCP servers but a DISCOVER. Needs scope operate.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
			defer cancel()
			var got struct {
				Items []map[string]any `json:"items"`
			}
			err := r.call(ctx, http.MethodPost, "/doctor", nil, &got)
			if errors.Is(err, errNoAppliance) {
				got.Items = stopped(ctx, r.data, err)
				return r.tellChecks(c.OutOrStdout(), got.Items)
			}
			if err != nil {
				return err
			}
			warnings, err := r.items(ctx, "/warnings")
			if err != nil {
				return err
			}
			for _, w := range warnings {
				if !told(got.Items, w) {
					got.Items = append(got.Items, map[string]any{"name": "warning", "state": "fail", "text": w["text"], "hint": w["hint"]})
				}
			}
			return r.tellChecks(c.OutOrStdout(), got.Items)
		}}
	r.bind(cmd)
	return cmd
}

// stopped is what can be looked at on this box while no appliance runs: whether one could.
func stopped(ctx context.Context, data string, why error) []map[string]any {
	checks := []web.Check{{Name: "appliance", State: web.CheckFail, Text: sentence(why.Error()), Hint: "`systemctl status hatchery` and `journalctl -u hatchery` say why it does not run. What follows is whether it could."}}
	for _, p := range []struct{ network, port, use string }{{"udp4", "67", "DHCP"}, {"udp4", "4011", "the boot server's port"}, {"udp4", "69", "TFTP"}, {"tcp", "8080", "boot files"}, {"tcp", "8443", "the page"}} {
		checks = append(checks, portFree(ctx, p.network, p.port, p.use))
	}
	dir := data
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir)
	}
	checks = append(checks, programs(ctx, "", "")...)
	checks = append(checks, room("disk space", dir, littleData), clock(time.Now()))
	out := make([]map[string]any, len(checks))
	for i, ch := range checks {
		out[i] = map[string]any{"name": ch.Name, "state": ch.State, "text": ch.Text, "hint": ch.Hint}
	}
	return out
}

// portFree looks whether a port could be opened.
func portFree(ctx context.Context, network, port, use string) web.Check {
	ch := web.Check{Name: "port " + port, State: web.CheckOK, Text: fmt.Sprintf("%s %s (%s) is free.", strings.ToUpper(network[:3]), port, use)}
	var lc net.ListenConfig
	var c io.Closer
	var err error
	if network == "tcp" {
		c, err = lc.Listen(ctx, network, ":"+port)
	} else {
		c, err = lc.ListenPacket(ctx, network, ":"+port)
	}
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, os.ErrPermission):
		ch.State, ch.Text = web.CheckSkipped, "Only root can look."
	default:
		ch.State, ch.Text = web.CheckFail, fmt.Sprintf("%s %s (%s) is taken: %v.", strings.ToUpper(network[:3]), port, use, err)
		ch.Hint = "`ss -lnp` names the program. Stop it, or give Hatchery another port where it may have one (--boot-addr, --web-addr, --dhcp off)."
	}
	return ch
}

// told reports whether a check says the warning already.
func told(checks []map[string]any, warning map[string]any) bool {
	for _, ch := range checks {
		if ch["text"] == warning["text"] || "Interface "+cell(ch["name"])+": "+cell(ch["text"]) == "Interface interface "+cell(warning["text"]) {
			return true
		}
	}
	return false
}

func (r *remote) tellChecks(w io.Writer, checks []map[string]any) error {
	bad := 0
	for _, ch := range checks {
		sign := map[string]string{"ok": "✓", "fail": "✗", "skipped": "–"}[cell(ch["state"])]
		if ch["state"] == "fail" {
			bad++
		}
		if r.json {
			continue
		}
		took := ""
		if ms, ok := ch["took_ms"].(float64); ok {
			took = fmt.Sprintf(" (%.0f ms)", ms)
		}
		fmt.Fprintf(w, "%s %s: %s%s\n", sign, cell(ch["name"]), cell(ch["text"]), took)
		if hint := cell(ch["hint"]); hint != "" {
			fmt.Fprintf(w, "    %s\n", hint)
		}
	}
	if r.json {
		if err := printJSON(w, checks); err != nil {
			return err
		}
	}
	switch {
	case bad == 1:
		return errors.New("one thing keeps machines from booting or installing")
	case bad > 1:
		return fmt.Errorf("%d things keep machines from booting or installing", bad)
	case !r.json:
		fmt.Fprintln(w, "Nothing keeps machines from booting or installing.")
	}
	return nil
}

// supportCommand is `hatchery support`.
func supportCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "support FILE", Short: "Write a support bundle without secrets (.tar.gz): versions, settings, findings, logs, machines, jobs, decisions", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, a []string) error {
			if err := r.save(c.Context(), "/support", a[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s holds no secrets, but names machines, addresses and serial numbers: look through it before you give it away.\n", a[0])
			return err
		}}
	r.bind(cmd)
	return cmd
}

// packetsHost is `hatchery hosts packets`.
func (r *remote) packetsHost() *cobra.Command {
	return &cobra.Command{Use: "packets HOST FILE", Short: "Write a machine's last DHCP, TFTP and port 4011 packets as a pcap file", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, a []string) error {
		return r.save(c.Context(), hostPath(a[0], "packets"), a[1])
	}}
}

// save writes an answer into a file, which is there only once it is whole; "-" is the standard output.
func (r *remote) save(ctx context.Context, path, file string) error {
	res, err := r.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if file == "-" {
		_, err = io.Copy(os.Stdout, res.Body)
		return err
	}
	out, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if _, err := io.Copy(out, res.Body); err != nil {
		return fmt.Errorf("%s: the download broke off: %w", file, err)
	}
	return out.CloseAtomicallyReplace()
}
