package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// sessionsCommand is `hatchery sessions …`: who is signed in on the page.
func sessionsCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "sessions", Short: "Browsers that are signed in: list, end"}
	r.bind(cmd)
	var all bool
	revoke := &cobra.Command{Use: "revoke ID…", Short: "End sessions; their open pages stop at once", Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, ids []string) error {
		if all == (len(ids) > 0) {
			return usageError{errors.New("say which sessions, by their ids, or --all")}
		}
		if all {
			return r.call(c.Context(), http.MethodDelete, "/sessions", nil, nil)
		}
		for _, id := range ids {
			if err := r.call(c.Context(), http.MethodDelete, "/sessions/"+url.PathEscape(id), nil, nil); err != nil {
				return err
			}
		}
		return nil
	}}
	revoke.Flags().BoolVar(&all, "all", false, "all of them; API tokens stay")
	revoke.ValidArgsFunction = r.complete("/sessions", []string{"id"}, "from", "agent")
	cmd.AddCommand(revoke, &cobra.Command{Use: "list", Short: "List the open sessions, newest first", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		items, err := r.items(c.Context(), "/sessions")
		if err != nil {
			return err
		}
		return r.table(c, items, "id", "from", "opened_at", "ends_at", "with", "agent")
	}})
	return cmd
}

// passwordCommand is `hatchery password`: the admin's password for the page.
func passwordCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use: "password", Short: "Set the password of the page; all sessions end, API tokens stay",
		Long: "Set the password of the page; all sessions end, API tokens stay.\n\nIt is read from the terminal, or from the first line of the standard input; " +
			"from another machine (--server) the line before it is the password of now, or the admin token. It is never taken from the command line, which other users see.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ask := newAsker(c)
			body := map[string]string{}
			var err error
			if r.server != "" {
				if body["current"], err = ask.line("Password of now, or the admin token: "); err != nil {
					return err
				}
			}
			if body["password"], err = ask.line("New password: "); err != nil {
				return err
			}
			if again, err := ask.again("New password again: ", body["password"]); err != nil || again != body["password"] {
				return errors.Join(err, errors.New("the two passwords differ; nothing was changed"))
			}
			if err := r.call(c.Context(), http.MethodPut, "/password", body, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.ErrOrStderr(), "The password is set. Everybody who was signed in must sign in again.")
			return err
		},
	}
	r.bind(cmd)
	return cmd
}

// asker reads secrets: from a terminal without showing them, else line by line.
type asker struct {
	out   io.Writer
	lines *bufio.Scanner
	fd    int // of the terminal; -1 = none
}

func newAsker(c *cobra.Command) *asker {
	a := &asker{out: c.ErrOrStderr(), lines: bufio.NewScanner(c.InOrStdin()), fd: -1}
	if f, ok := c.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.fd = int(f.Fd())
	}
	return a
}

func (a *asker) line(prompt string) (string, error) {
	if a.fd >= 0 {
		fmt.Fprint(a.out, prompt)
		raw, err := term.ReadPassword(a.fd)
		fmt.Fprintln(a.out)
		return string(raw), err
	}
	if !a.lines.Scan() {
		return "", errors.Join(fmt.Errorf("the standard input ended before %q", strings.TrimSuffix(prompt, ": ")), a.lines.Err())
	}
	return a.lines.Text(), nil
}

// again asks a person once more; a program that wrote it once wrote it right.
func (a *asker) again(prompt, typed string) (string, error) {
	if a.fd < 0 {
		return typed, nil
	}
	return a.line(prompt)
}

// activityCommand is `hatchery activity`: who did what.
func activityCommand() *cobra.Command {
	r := &remote{}
	limit := 0
	var host, by, kind string
	cmd := &cobra.Command{Use: "activity", Short: "Show who did what, and what the appliance did by itself, oldest first", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		items, err := r.newest(c.Context(), "/activity?"+url.Values{"host": {host}, "by": {by}, "kind": {kind}}.Encode(), limit)
		if err != nil {
			return err
		}
		slices.Reverse(items)
		return r.table(c, items, "time", "level", "by", "from", "text")
	}}
	r.bind(cmd)
	f := cmd.Flags()
	f.IntVar(&limit, "limit", 50, "how many of the newest; 0 = all")
	f.StringVar(&host, "host", "", "only what is about that machine, by id, MAC or name")
	f.StringVar(&by, "by", "", "only what was done by somebody whose name holds these words")
	f.StringVar(&kind, "kind", "", "only of that kind: machine, access, network, media, hive, backup, setup, trouble")
	completeWords(cmd, "kind", "machine", "access", "network", "media", "hive", "backup", "setup", "trouble")
	return cmd
}
