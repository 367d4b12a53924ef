package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time (-ldflags -X main.version=…); empty builds show the commit Go recorded.
var version string

// Exit codes, documented in docs/cli.md.
const (
	exitError    = 1 // anything else
	exitUsage    = 2 // the command line itself is wrong
	exitRefused  = 3 // the appliance refused
	exitNotFound = 4 // the appliance knows no such machine or job
	exitJob      = 5 // a job that was watched failed or was cancelled
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "hatchery:", err)
	var wrong usageError
	if errors.As(err, &wrong) {
		fmt.Fprintf(stderr, "See `%s --help`.\n", cmd.CommandPath())
		return exitUsage
	}
	var p problem
	if errors.As(err, &p) {
		return p.exitCode()
	}
	if errors.As(err, &jobFailed{}) {
		return exitJob
	}
	return exitError
}

// usageError says that the command line itself is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hatchery",
		Short:         "Turns bare machines in the LAN into NixOS hosts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), hostsCommand(), jobsCommand(), rolesCommand(), rulesCommand(), leasesCommand(), reservationsCommand(),
		networkCommand(), doctorCommand(), healthcheckCommand(), supportCommand(), stage0Command(), isoCommand(), tokenCommand(), sessionsCommand(), passwordCommand(), activityCommand(), setupCommand(), keysCommand(), restartCommand(), certificateCommand(), backupCommand(), restoreCommand(), manCommand(), &cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(c *cobra.Command, _ []string) { fmt.Fprintln(c.OutOrStdout(), versionText()) },
		})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	strict(root)
	return root
}

// strict makes every wrong command line a usageError, in the whole tree.
func strict(c *cobra.Command) {
	if !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.Join(errors.New("say what to do"), c.Help())}
			}
			c.SuggestionsMinimumDistance = 2
			hint := ""
			if like := c.SuggestionsFor(args[0]); len(like) > 0 {
				hint = ": did you mean " + strings.Join(like, " or ") + "?"
			}
			return usageError{fmt.Errorf("%s has no command %q%s", c.CommandPath(), args[0], hint)}
		}
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strict(sub)
	}
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
