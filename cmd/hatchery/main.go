package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time (-ldflags -X main.version=…); empty builds show the commit Go recorded.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hatchery:", err)
		var p problem
		if errors.As(err, &p) {
			os.Exit(3) // the appliance refused
		}
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hatchery",
		Short:         "Turns bare machines in the LAN into NixOS hosts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), hostsCommand(), rolesCommand(), rulesCommand(), leasesCommand(), reservationsCommand(),
		stage0Command(), tokenCommand(), &cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), versionText()) },
		})
	return root
}

// versionText is the release, or the commit this binary was built from.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if rev == "" {
		return "development build"
	}
	return rev + dirty
}

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

func rolesCommand() *cobra.Command {
	return listCommand("roles", "List the hive's roles", "/roles", "name", "description", "system")
}

func rulesCommand() *cobra.Command {
	return listCommand("rules", "Show what the hive's automatic rules would do to every known machine", "/rules/preview")
}

func leasesCommand() *cobra.Command {
	return listCommand("leases", "List DHCP leases", "/leases", "ip", "mac", "hostname", "expires")
}

func reservationsCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "reservations", Short: "Fixed addresses: list, set, remove"}
	r.bind(cmd)
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List reservations", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			items, err := r.items(c.Context(), "/reservations")
			if err != nil {
				return err
			}
			return r.table(c, items, "mac", "ip", "hostname")
		}},
		&cobra.Command{Use: "set MAC IP", Short: "Give a MAC a fixed address", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, a []string) error {
			return r.call(c.Context(), http.MethodPut, "/reservations/"+a[0], map[string]string{"ip": a[1]}, nil)
		}},
		&cobra.Command{Use: "remove MAC", Short: "Take a reservation back", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			return r.call(c.Context(), http.MethodDelete, "/reservations/"+a[0], nil, nil)
		}})
	return cmd
}
