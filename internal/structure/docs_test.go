package structure

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the Markdown files of the repository, by path.
func pages(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	walk(t, root, ".md", func(path, text string) { out[path] = text })
	return out
}

// walk calls fn with each of our files that ends so.
func walk(t *testing.T, root, suffix string, fn func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (name == "build" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		b, err := os.ReadFile(path)
		fn(path, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPagesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	tests := map[string]bool{}
	fn := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	walk(t, root, "_test.go", func(_, text string) {
		for _, m := range fn.FindAllStringSubmatch(text, -1) {
			tests[m[1]] = true
		}
	})
	name := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)[`/]")
	for path, text := range pages(t, root) {
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
	}
}

func TestLinksOfPagesLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for path, text := range pages(t, filepath.Join("..", "..")) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

// TestEveryMitigationNamesItsTest holds the tables of what is done against something to naming a test in each row.
func TestEveryMitigationNamesItsTest(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`(?:Test|Fuzz)[A-Z]\\w*`")
	for page, heading := range map[string]string{"SECURITY.md": "held by", "faults.md": "test"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		rows, in := 0, false
		for line := range strings.Lines(string(raw)) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			last := strings.TrimSpace(cells[len(cells)-1])
			switch {
			case !strings.HasPrefix(line, "|"):
				in = false
			case last == heading:
				in = true
			case in && !strings.HasPrefix(last, "---"):
				if rows++; !named.MatchString(last) {
					t.Errorf("docs/%s: no test holds: %s", page, strings.TrimSpace(cells[0]))
				}
			}
		}
		if rows < 15 {
			t.Errorf("docs/%s: %d rows were found", page, rows)
		}
	}
}
