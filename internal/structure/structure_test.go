package structure

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/staged-hive/hatchery/"

// allowed is the package map: package → packages of ours that it may import.
// Changing it is part of the change that needs it, here and in docs/ARCHITECTURE.md.
var allowed = map[string][]string{
	"inventory":                {},
	"inventory/boltdb":         {"inventory", "dhcp/lease", "internal/durable"},
	"inventory/boltdb/journal": {},
	"inventory/diskplan":       {"inventory"},
	"inventory/inventorytest":  {"inventory"},
	"dhcp":                     {"inventory", "dhcp/lease", "dhcp/bootfile"},
	"dhcp/lease":               {},
	"dhcp/bootfile":            {},
	"dhcp/server":              {"dhcp", "dhcp/lease", "dhcp/bootfile", "inventory"},
	"tftp":                     {"dhcp/bootfile", "inventory"},
	"httpboot":                 {"inventory", "dhcp/bootfile", "internal/agentapi", "internal/stage0"},
	"pipeline":                 {"inventory", "inventory/diskplan", "internal/durable", "internal/hive"},
	"web":                      {"inventory", "inventory/diskplan", "internal/durable", "internal/stage0", "internal/tlspin"},
	"internal/agentapi":        {"inventory", "internal/tlspin"},
	"internal/stage0":          {"internal/durable"},
	"internal/capture":         {"inventory"},
	"internal/doctor":          {"inventory"},
	"internal/clocktest":       {},
	"internal/confine":         {},
	"internal/dnssd":           {},
	"internal/durable":         {},
	"internal/hive":            {"inventory"},
	"internal/lab":             {},
	"internal/meter":           {"inventory"},
	"internal/neighbor":        {"inventory"},
	"internal/sshtest":         {},
	"internal/structure":       {},
	"internal/tlspin":          {},
	"cmd/hatchery-agent":       {"inventory", "internal/agentapi", "internal/dnssd", "internal/tlspin"},
}

// free are the places that wire or test everything.
var free = []string{"cmd/hatchery", "internal/lab/"}

type pkg struct {
	ImportPath   string
	Dir          string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImportsFollowThePackageMap(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		if slices.ContainsFunc(free, func(f string) bool { return name == f || strings.HasPrefix(name, f) }) {
			continue
		}
		may, known := allowed[name]
		if !known {
			if len(p.GoFiles) > 0 && !strings.HasPrefix(name, "web/") {
				t.Errorf("package %s is not in the package map", name)
			}
			continue
		}
		for _, imp := range p.Imports {
			ours, is := strings.CutPrefix(imp, module)
			if is && !slices.Contains(may, ours) && !strings.HasPrefix(ours, name+"/") {
				t.Errorf("%s imports %s: not in the package map", name, ours)
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("the package map names %s, which does not exist", name)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	banned := []string{"util", "utils", "common", "helpers", "types", "manager", "base"}
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
		if slices.Contains(banned, filepath.Base(p.ImportPath)) {
			t.Errorf("package %s: the name says nothing", p.ImportPath)
		}
	}
}

func TestFilesStayReadable(t *testing.T) {
	t.Parallel()
	const most = 700 // lines; the guide aims at 500
	for _, p := range list(t) {
		for _, f := range p.GoFiles {
			path := filepath.Join(p.Dir, f)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			if n := bytes.Count(text, []byte("\n")); n > most {
				t.Errorf("%s has %d lines: at most %d", path, n, most)
			}
		}
	}
}
