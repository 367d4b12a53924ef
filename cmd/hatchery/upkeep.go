package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// formatHost is `hatchery hosts format`.
func (r *remote) formatHost() *cobra.Command {
	var plan string
	var confirm map[string]string
	var follow bool
	cmd := &cobra.Command{Use: "format HOST --plan ID --confirm SLOT=SERIAL", Short: "Wipe and format the disk of one persistent slot; no other disk is touched",
		Long: "Wipes and formats the disk of one persistent slot, in stage-0: an installed machine is restarted into it and back into its own\n" +
			"system afterwards, and stays installed. The disk is held against the plan once more on the machine before anything is written.",
		Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			if len(confirm) != 1 {
				return usageError{errors.New("name exactly one slot and type its disk's serial number: --confirm SLOT=SERIAL")}
			}
			slot := slices.Collect(maps.Keys(confirm))[0]
			body := map[string]string{"plan_id": plan, "slot": slot, "confirm": confirm[slot]}
			return r.each(c, a, follow, func(ref string) (h map[string]any, err error) {
				err = r.call(c.Context(), http.MethodPost, hostPath(ref, "format"), body, &h)
				return h, err
			})
		}}
	bindWatch(cmd, &follow)
	cmd.Flags().StringVar(&plan, "plan", "", "id of the plan that was looked at (see `hatchery hosts plan`)")
	cmd.Flags().StringToStringVar(&confirm, "confirm", nil, "SLOT=SERIAL of the disk that loses everything")
	return cmd
}

// deployHosts is `hatchery hosts deploy`.
func (r *remote) deployHosts() *cobra.Command {
	var role string
	var follow bool
	cmd := &cobra.Command{Use: "deploy HOST… | --role ROLE", Short: "Bring installed machines to the hive's newest revision",
		Long: "Builds what the hive says now, copies it to the machine and switches to it on trial: a machine that is not well, or that the\n" +
			"appliance cannot reach any more, goes back to its earlier system by itself. With --role: every machine of it that lags behind.",
		RunE: func(c *cobra.Command, a []string) error {
			if (len(a) == 0) == (role == "") {
				return usageError{errors.New("name machines, or --role ROLE")}
			}
			deploy := func(ref string) (h map[string]any, err error) {
				err = r.call(c.Context(), http.MethodPost, hostPath(ref, "deploy"), map[string]any{}, &h)
				return h, err
			}
			if role == "" {
				return r.each(c, a, follow, deploy)
			}
			var list struct{ Items []map[string]any }
			if err := r.call(c.Context(), http.MethodPost, "/roles/"+url.PathEscape(role)+"/deploy", nil, &list); err != nil {
				return err
			}
			if len(list.Items) == 0 && !r.json {
				_, err := fmt.Fprintf(c.OutOrStdout(), "No installed machine of role %s lags behind the hive.\n", role)
				return err
			}
			made := map[string]map[string]any{}
			for _, h := range list.Items {
				made[cell(h["id"])] = h
			}
			return r.each(c, slices.Sorted(maps.Keys(made)), follow, func(id string) (map[string]any, error) { return made[id], nil })
		}}
	cmd.Flags().StringVar(&role, "role", "", "every installed machine of that role that lags behind the hive")
	bindWatch(cmd, &follow)
	r.completeRole(cmd)
	return cmd
}

// addressFlags are the flags for a machine's fixed address.
type addressFlags struct {
	static, reserved, gateway string
	dns                       []string
	none                      bool
}

func (f *addressFlags) bind(s *pflag.FlagSet) {
	s.StringVar(&f.static, "static", "", "ADDRESS/PREFIX that the installed system configures itself")
	s.StringVar(&f.gateway, "gateway", "", "gateway of the static address")
	s.StringSliceVar(&f.dns, "dns", nil, "DNS server of the static address; repeatable")
	s.StringVar(&f.reserved, "reserved", "", "ADDRESS that another DHCP server (your router) keeps for the machine")
	s.BoolVar(&f.none, "no-address", false, "no fixed address of its own any more")
}

// into puts what was given into the body of a request.
func (f *addressFlags) into(body map[string]any) error {
	given := 0
	for _, is := range []bool{f.static != "", f.reserved != "", f.none} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return usageError{errors.New("one of --static, --reserved and --no-address")}
	case f.static == "" && (f.gateway != "" || len(f.dns) > 0):
		return usageError{errors.New("--gateway and --dns belong to --static ADDRESS/PREFIX")}
	case f.none:
		body["address"] = map[string]any{"ip": ""}
	case f.reserved != "":
		body["address"] = map[string]any{"ip": f.reserved}
	case f.static != "":
		p, err := netip.ParsePrefix(f.static)
		if err != nil {
			return usageError{fmt.Errorf("--static %q: want ADDRESS/PREFIX, like 10.0.0.5/24", f.static)}
		}
		body["address"] = map[string]any{"ip": p.Addr().String(), "prefix": p.Bits(), "static": true, "gateway": f.gateway, "dns": f.dns}
	}
	return nil
}

// sshFiles are `hatchery hosts ssh-config` and `known-hosts`.
func (r *remote) sshFiles() []*cobra.Command {
	var out []*cobra.Command
	for _, f := range []struct{ use, short, path string }{
		{"ssh-config", "Print a snippet for ~/.ssh/config that reaches every installed machine by its name", "/ssh/config"},
		{"known-hosts", "Print the SSH host keys of all installed machines, as a known_hosts file", "/ssh/known_hosts"},
	} {
		out = append(out, &cobra.Command{Use: f.use, Short: f.short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			res, err := r.do(c.Context(), http.MethodGet, f.path, nil)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			_, err = io.Copy(c.OutOrStdout(), res.Body)
			return err
		}})
	}
	return out
}
