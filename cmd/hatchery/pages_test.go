package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// written is a command line in a page.
type written struct {
	page string
	text string
	// inline ones in running prose may leave arguments out.
	inline bool
}

// userPages are what people read.
func userPages(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("pages: %v %v", pages, err)
	}
	return append(pages, "../../README.md", "../../CONTRIBUTING.md", "../../nix/README.md")
}

// commandsOf finds the command lines of a page: in blocks (fenced as sh, or indented) and in running text.
func commandsOf(page, text string) (out []written) {
	language, fenced := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if lang, is := strings.CutPrefix(line, "```"); is {
			fenced, language = !fenced, lang
			continue
		}
		switch indented, is := strings.CutPrefix(line, "    "); {
		case fenced && language == "sh":
			out = append(out, written{page, line, false})
		case !fenced && is:
			out = append(out, written{page, indented, false})
		case !fenced:
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
				out = append(out, written{page, m[1], true})
			}
		}
	}
	return out
}

// words splits a line as a shell does, as far as the pages need it: quotes, comments, and the end of the command.
func words(line string) (out []string) {
	word, quote, in := "", rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case r == '#' && !in, r == '|' && !in, r == ';', r == '&', r == '>', r == '<':
			if in {
				out = append(out, word)
			}
			return out
		case r == ' ':
			if in {
				out = append(out, word)
			}
			word, in = "", false
		default:
			word, in = word+string(r), true
		}
	}
	if in {
		out = append(out, word)
	}
	return out
}

// program is the program's name and arguments of a line, without sudo and variables before it.
func program(line string) (string, []string) {
	w := words(line)
	for len(w) > 0 && (w[0] == "sudo" || regexp.MustCompile(`^[A-Z_]+=`).MatchString(w[0])) {
		w = w[1:]
	}
	if len(w) == 0 {
		return "", nil
	}
	return w[0], w[1:]
}

// checkCommand complains about a command of ours that would not be taken.
func checkCommand(args []string, inline bool) error {
	// "wake|reboot|poweroff HOST…" are three.
	for i, a := range args {
		if strings.Contains(a, "|") {
			for _, one := range strings.Split(a, "|") {
				if err := checkCommand(slices.Concat(args[:i], []string{one}, args[i+1:]), inline); err != nil {
					return err
				}
			}
			return nil
		}
	}
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 && rest[0] == "COMMAND" || slices.Contains(rest, "--help") {
		return nil
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), rest[0])
	}
	if inline && len(cmd.Flags().Args()) == 0 { // "see `hatchery hosts show`"
		return nil
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	return cmd.ValidateRequiredFlags()
}

// TestPagesCommandsAreTaken holds every command line of the pages, ours and make's, to what there is.
func TestPagesCommandsAreTaken(t *testing.T) {
	t.Parallel()
	mk, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	ours, made := 0, 0
	for _, page := range userPages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commandsOf(page, string(raw)) {
			switch name, args := program(c.text); {
			case name == "hatchery" && len(args) > 0 && !slices.Contains(args, "…"):
				ours++
				if err := checkCommand(args, c.inline); err != nil {
					t.Errorf("%s: %s\n\t%v", filepath.Base(c.page), c.text, err)
				}
			case name == "make":
				for _, a := range args {
					if strings.Contains(a, "=") || strings.HasPrefix(a, "-") || a == "…" {
						continue
					}
					made++
					if !regexp.MustCompile(`(?m)^[^#\t\n]*\b` + regexp.QuoteMeta(a) + `\b[^:\n]*:`).Match(mk) {
						t.Errorf("%s: %s: the Makefile has no %s", filepath.Base(c.page), c.text, a)
					}
				}
			}
		}
	}
	if ours < 30 || made < 10 {
		t.Errorf("found %d commands and %d make targets: is the search blind?", ours, made)
	}
}

// TestPagesSettingsAreTaken reads every block of settings in the pages with the program's own parser.
func TestPagesSettingsAreTaken(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range userPages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(raw), -1) {
			found++
			s := defaultSettings()
			if err := toml.NewDecoder(strings.NewReader(m[1])).DisallowUnknownFields().Decode(&s); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			} else if _, err := s.check(); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
	}
	if found == 0 {
		t.Error("no page shows settings any more")
	}
	// Each line behind "#" of the packaged file is a default or an example: it must be taken, too.
	raw, err := os.ReadFile("../../packaging/hatchery.toml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hatchery.toml")
	live := regexp.MustCompile(`(?m)^#([a-z_]+ = |\[\[)`).ReplaceAll(raw, []byte("$1"))
	if err := os.WriteFile(path, live, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSettings(path); err != nil {
		t.Errorf("packaging/hatchery.toml, with every setting on: %v", err)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		`hatchery hosts list   # who lags`:      {"hatchery", "hosts", "list"},
		`hatchery token create x > file`:        {"hatchery", "token", "create", "x"},
		`FUZZTIME=10s make fuzz`:                {"FUZZTIME=10s", "make", "fuzz"},
		`sh -c "a b" 'c  d' | less`:             {"sh", "-c", "a b", "c  d"},
		`hatchery hosts wake|reboot HOST… && x`: {"hatchery", "hosts", "wake|reboot", "HOST…"},
	} {
		if got := words(line); !slices.Equal(got, want) {
			t.Errorf("%s: got %q", line, got)
		}
	}
}
