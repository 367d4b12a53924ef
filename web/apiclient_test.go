package web

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAGeneratedClientWorks makes a client of the document that the server serves, as anybody would
// (oapi-codegen, pinned in tools/apiclient), and lets it drive the server over TLS.
func TestAGeneratedClientWorks(t *testing.T) {
	t.Parallel()
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("builds oapi-codegen: set HATCHERY_E2E=1")
	}
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	module, err := filepath.Abs("../tools/apiclient")
	if err != nil {
		t.Fatal(err)
	}
	goTool := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	doc := file("openapi.json", b.api("GET", "/openapi.json", nil, 200, nil).body)
	code := filepath.Join(dir, "client.gen.go")
	goTool("tool", "oapi-codegen", "-config", "oapi-codegen.yaml", "-o", code, doc)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(module, "client.gen.go"): code}})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "apiclient")
	goTool("build", "-overlay", file("overlay.json", string(overlay)), "-o", program, ".")
	drive := exec.CommandContext(t.Context(), program)
	drive.Env = append(os.Environ(), "APPLIANCE="+b.url, "TOKEN="+b.token, "CERT="+filepath.Join(b.cfg.Dir, "tls", "cert.pem"))
	if out, err := drive.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "all done\n") {
		t.Errorf("the generated client: %v\n%s", err, out)
	}
	if n := len(b.lastActs(500)); n < 9 { // token made and revoked, seven hosts announced, one named
		t.Errorf("the activity has %d lines, want those of the client", n)
	}
}
