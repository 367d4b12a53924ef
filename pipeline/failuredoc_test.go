package pipeline

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFailuresPage holds docs/failures.md against the program: what it quotes is said by the program, and the tests it names exist.
func TestFailuresPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/failures.md")
	if err != nil {
		t.Fatal(err)
	}
	var code, tests bytes.Buffer
	if err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		b, err := os.ReadFile(path)
		if strings.HasSuffix(path, "_test.go") {
			tests.Write(b)
		} else {
			code.Write(b)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(line, "`Test") {
			continue
		}
		rows++
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(cells[2], -1) {
			if !bytes.Contains(code.Bytes(), []byte(m[1])) {
				t.Errorf("the program never says %q (row %q)", m[1], cells[1])
			}
		}
		for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(cells[4], -1) {
			if !bytes.Contains(tests.Bytes(), []byte("func "+m[1]+"(")) {
				t.Errorf("there is no %s (row %q)", m[1], cells[1])
			}
		}
	}
	if rows < 40 {
		t.Errorf("the page has %d rows, want 40 and more", rows)
	}
}
