package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// documented are the commands in the table of docs/cli.md. The first of a row has its whole path, the ones after it
// may leave out the word they share with it.
func documented(t *testing.T, root *cobra.Command, page string) (out []string) {
	t.Helper()
	for row := range strings.Lines(page) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		parent := ""
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			words := slices.DeleteFunc(strings.Fields(m[1]), func(w string) bool { return w != strings.ToLower(w) }) // arguments are capitals
			path := strings.Join(words, " ")
			if len(words) == 2 {
				parent = words[0]
			} else if c, _, err := root.Find(words); err != nil || c.Parent() == nil {
				path = parent + " " + path
			}
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// runnable are all commands that do something, by their paths below the program's name.
func runnable(c *cobra.Command) (out []string) {
	for _, sub := range c.Commands() {
		if sub.Name() == "help" || sub.Hidden {
			continue
		}
		_, path, _ := strings.Cut(sub.CommandPath(), " ")
		if sub.HasSubCommands() && path != "completion" {
			out = append(out, runnable(sub)...)
			if path != "token" && path != "jobs" { // those do something by themselves
				continue
			}
		}
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

func TestTheCommandLinesPageNamesEveryCommandAndExitCode(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	commands, codes, ok := strings.Cut(string(raw), "## Exit codes")
	if !ok {
		t.Fatal("docs/cli.md has no exit codes")
	}
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	if diff := cmp.Diff(runnable(root), documented(t, root, commands)); diff != "" {
		t.Errorf("commands in docs/cli.md (-program +page):\n%s", diff)
	}
	for _, code := range []int{0, exitError, exitUsage, exitRefused, exitNotFound, exitJob} {
		if !strings.Contains(codes, fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/cli.md does not say what exit code %d means", code)
		}
	}
}
