package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// stage0Dir is a stage-0 folder with one small image, as nix builds it.
func stage0Dir(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	put(t, dir, map[string]string{"x86_64/kernel": "kernel " + version, "x86_64/initrd": "initrd",
		"x86_64/manifest.json": fmt.Sprintf(`{"arch":"x86_64","version":%q,"kernel":"kernel","initrd":["initrd"],"cmdline":"quiet","sha256":{"kernel":%q,"initrd":%q}}`,
			version, sum("kernel "+version), sum("initrd"))})
	return dir
}

// TestStage0Commands goes through the life of two images; nix is a script that keeps its options and prints a path.
func TestStage0Commands(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	say := func(args ...string) (int, string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(context.Background(), append(args, "--data", data), &out, &errs)
		return code, out.String() + errs.String()
	}
	nix := filepath.Join(data, "fake-nix")
	script := "#!/bin/sh\necho \"$@\" >" + data + "/args\n[ -e " + data + "/fail ] && { echo 'error: no such flake' >&2; exit 1; }\necho '[{\"drvPath\":\"x\",\"outputs\":{\"out\":\"" + stage0Dir(t, "two") + "\"}}]'\n"
	if err := os.WriteFile(nix, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out := say("stage0", "add", stage0Dir(t, "one")); code != 0 || !strings.Contains(out, "x86_64 one") {
		t.Fatalf("add: %d %s", code, out)
	}
	if code, out := say("stage0", "build", "--nix", nix, "--nix-arg", "--offline"); code != 0 || !strings.Contains(out, "x86_64 two") {
		t.Fatalf("build: %d %s", code, out)
	}
	args, err := os.ReadFile(filepath.Join(data, "args"))
	if want := "build --no-link --json --print-build-logs github:staged-hive/hatchery#packages.x86_64-linux.stage0 --offline"; err != nil || !strings.Contains(string(args), want) {
		t.Errorf("nix was called with %s (%v), want %s", args, err, want)
	}
	digest := map[string]string{}
	_, out := say("stage0", "list")
	if _, alone := say("stage0"); alone != out {
		t.Errorf("stage0 without a verb: %s", alone)
	}
	for l := range strings.Lines(out) {
		if f := strings.Fields(l); len(f) > 3 && f[0] == "x86_64" {
			digest[f[1]] = f[2]
			if current := strings.HasSuffix(strings.TrimSpace(l), "yes"); current != (f[1] == "two") {
				t.Errorf("list: %s", l)
			}
		}
	}
	if code, out := say("stage0", "use", "x86_64", digest["one"]); code != 0 {
		t.Fatalf("use: %d %s", code, out)
	}
	if _, out := say("stage0", "list"); !strings.Contains(out, digest["one"]) || strings.Count(out, "yes") != 1 {
		t.Errorf("list after use:\n%s", out)
	}
	if code, out := say("stage0", "remove", "x86_64", digest["one"]); code != exitError || !strings.Contains(out, "current one") {
		t.Errorf("remove of the current one: %d %s", code, out)
	}
	if code, out := say("stage0", "remove", "x86_64", digest["two"]); code != 0 {
		t.Errorf("remove: %d %s", code, out)
	}
	put(t, data, map[string]string{"fail": ""})
	if code, out := say("stage0", "build", ".", "--nix", nix); code != exitError || !strings.Contains(out, "no such flake") || !strings.Contains(out, "nix could not build .#packages") {
		t.Errorf("a failing build: %d %s", code, out)
	}
	if code, out := say("stage0", "build", "--arch", "riscv", "--nix", nix); code != exitUsage || !strings.Contains(out, "x86_64, aarch64") {
		t.Errorf("an unknown architecture: %d %s", code, out)
	}
}

// TestUseImageOfThePage is what the page's button does, beside what somebody else put there.
func TestUseImageOfThePage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	images, err := stage0.Open(stage0.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	var digests []string
	for _, version := range []string{"one", "two"} {
		added, err := images.Add(stage0Dir(t, version))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, added[0].Digest)
	}
	m := &media{images: images, folder: dir}
	if err := m.UseImage("x86_64", digests[0]); err != nil {
		t.Fatal(err)
	}
	if im, err := images.Image("x86_64"); err != nil || im.Version != "one" {
		t.Errorf("machines get %v, %v", im, err)
	}
	put(t, filepath.Join(dir, "versions/x86_64", digests[1]), map[string]string{"kernel": "damaged"})
	for _, c := range []struct{ arch, digest string }{{"x86_64", digests[1]}, {"x86_64", "ffffffffffffffff"}, {"../x86_64", digests[0]}, {"riscv", digests[0]}} {
		if err := m.UseImage(c.arch, c.digest); !errors.Is(err, inventory.ErrNotFound) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s %s: %v", c.arch, c.digest, err)
		}
	}
	if im, err := images.Image("x86_64"); err != nil || im.Version != "one" {
		t.Errorf("after refusals machines get %v, %v", im, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "x86_64")), os.Mkdir(filepath.Join(dir, "x86_64"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := m.UseImage("x86_64", digests[0]); !errors.Is(err, inventory.ErrConflict) || strings.Contains(err.Error(), dir) {
		t.Errorf("beside somebody else's folder: %v", err)
	}
}
