package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheExamplesOfTheAPIsPageWork runs every sh block of docs/api.md with bash and curl against a real server.
func TestTheExamplesOfTheAPIsPageWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("HATCHERY_E2E") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs curl")
	}
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, nil)
	dir := t.TempDir()
	token := b.makeToken("laptop", ScopeOperate, nil).Secret + "\n" + b.Pin() + "\n"
	if err := os.WriteFile(filepath.Join(dir, "hatchery.token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "set -eu\n"
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	for _, m := range blocks {
		script += m[1]
	}
	script = strings.ReplaceAll(script, "https://192.168.1.10:8443", b.url)
	if len(blocks) < 7 || !strings.Contains(script, b.url) {
		t.Fatalf("%d blocks in docs/api.md, want all of it", len(blocks))
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docs/api.md: %v\n%s", err, out)
	}
	for _, want := range []string{b.Pin(), `"name":"nas2"`, `"state":"expected"`, `"status":412`, `"status":404`, "ok\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("docs/api.md: want %s in\n%s", want, out)
		}
	}
	if h, err := b.host("52:54:00:aa:00:01"); err != nil || h.Name != "nas4" {
		t.Errorf("the examples made %+v, %v", h, err)
	}
}
