package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// tokenCommand prints what another machine needs to talk to this appliance: the admin token and the pin
// of its certificate. Redirect it into a file for --token-file. Its verbs make tokens that may less.
func tokenCommand() *cobra.Command {
	r := &remote{}
	var noPin bool
	cmd := &cobra.Command{
		Use: "token", Short: "Print the admin token and the certificate's pin, in the form of a --token-file; list, make and revoke API tokens",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.server != "" {
				return usageError{errors.New("the admin token is printed on the appliance itself alone; from elsewhere, make a token of its own with `hatchery token create`")}
			}
			token, err := os.ReadFile(filepath.Join(r.data, "admin-token"))
			if err != nil {
				return fmt.Errorf("admin token: %w; it is made when `hatchery serve` starts for the first time, on the appliance itself", err)
			}
			pin, _ := os.ReadFile(filepath.Join(r.data, "tls", "pin")) // not there: plain HTTP
			first, _, _ := strings.Cut(string(pin), "\n")
			return printTokenFile(c, strings.TrimSpace(string(token)), first, noPin)
		},
	}
	r.bind(cmd)
	cmd.PersistentFlags().BoolVar(&noPin, "no-pin", false, "leave the pin out: for a certificate (--web-tls CERT,KEY) that the other machine trusts by itself and whose key changes")
	list := &cobra.Command{Use: "list", Short: "List API tokens, without their secrets", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		items, err := r.items(c.Context(), "/tokens")
		if err != nil {
			return err
		}
		return r.table(c, items, "name", "scope", "created_at", "created_by", "expires_at", "expired", "id")
	}}
	revoke := &cobra.Command{Use: "revoke NAME…", Short: "Revoke API tokens, by name or id", Args: cobra.MinimumNArgs(1), RunE: r.revokeTokens}
	revoke.ValidArgsFunction = r.complete("/tokens", []string{"name"}, "scope", "created_by")
	cmd.AddCommand(list, r.createToken(&noPin), revoke)
	return cmd
}

func printTokenFile(c *cobra.Command, token, pin string, noPin bool) error {
	out := token + "\n"
	if pin != "" && !noPin {
		out += pin + "\n"
	}
	_, err := fmt.Fprint(c.OutOrStdout(), out)
	return err
}

func (r *remote) createToken(noPin *bool) *cobra.Command {
	var scope, expires string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make an API token and print it in the form of a --token-file; its secret is shown this once",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, a []string) error {
			body := map[string]any{"name": a[0], "scope": scope}
			end, err := parseEnd(expires, time.Now())
			if err != nil {
				return usageError{err}
			}
			if !end.IsZero() {
				body["expires"] = end
			}
			var about struct {
				Certificate struct {
					Pin string `json:"pin"`
				} `json:"certificate"`
			}
			if err := r.call(c.Context(), http.MethodGet, "/appliance", nil, &about); err != nil {
				return err
			}
			var made map[string]any
			if err := r.call(c.Context(), http.MethodPost, "/tokens", body, &made); err != nil {
				return err
			}
			if r.json {
				return printJSON(c.OutOrStdout(), made)
			}
			return printTokenFile(c, cell(made["token"]), about.Certificate.Pin, *noPin)
		},
	}
	cmd.Flags().StringVar(&scope, "scope", "read", "what it may do: read (look), operate (act on machines too), admin (everything)")
	cmd.Flags().StringVar(&expires, "expires", "90d", "when it ends: a time from now (90d, 12h), a day (2027-01-31), or never")
	completeWords(cmd, "scope", "read", "operate", "admin")
	return cmd
}

// parseEnd reads when something ends: "never" (the zero time), days or hours from now, a day (its end, local time).
func parseEnd(s string, now time.Time) (time.Time, error) {
	if s == "never" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	if d, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(d, 10, 16); err == nil && n > 0 {
			return now.AddDate(0, 0, int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf("end %q: want a time from now like 90d or 12h, a day like 2027-01-31, or never", s)
}

func (r *remote) revokeTokens(c *cobra.Command, names []string) error {
	all, err := r.items(c.Context(), "/tokens")
	if err != nil {
		return err
	}
	for _, n := range names {
		id := n
		for _, t := range all {
			if t["name"] == n {
				id = cell(t["id"])
			}
		}
		if err := r.call(c.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil); err != nil {
			return err
		}
	}
	return nil
}
