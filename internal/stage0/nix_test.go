package stage0_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/internal/stage0"
)

// TestNixBuildsAnImageDirectory builds the flake's stage0 packages against the stand-in for nixpkgs and opens what
// comes out: the directory's names, manifest and digests are those that the appliance reads.
func TestNixBuildsAnImageDirectory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pkg, cmdline string
		files        int
	}{
		{"stage0", "", 2},
		{"stage0-split", "hatchery.store=", 3},
	} {
		t.Run(tc.pkg, func(t *testing.T) {
			t.Parallel()
			dir := nixBuild(t, tc.pkg)
			s, err := stage0.Open(stage0.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			im, err := s.Image("x86_64")
			if err != nil {
				t.Fatal(err)
			}
			if len(im.Files) != tc.files || !strings.Contains(im.Manifest.Cmdline, tc.cmdline) || !strings.Contains(im.Manifest.Cmdline, "init=/nix/store/") {
				t.Errorf("%d files, command line %q: want %d files and %q", len(im.Files), im.Manifest.Cmdline, tc.files, tc.cmdline)
			}
			iso, err := s.ISO("x86_64")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := iso.Personal(make([]byte, 65536)); err != nil {
				t.Errorf("64 KiB of personalisation: %v", err)
			}
			if _, err := iso.Personal(make([]byte, 65537)); err == nil {
				t.Error("the reserved file holds more than 64 KiB")
			}
		})
	}
}

func nixBuild(t *testing.T, pkg string) string {
	t.Helper()
	for _, p := range []string{"nix", "jq", "xorriso"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("HATCHERY_E2E") == "1" {
				t.Fatal(err)
			}
			t.Skip("needs", p)
		}
	}
	flakes := filepath.Join(t.TempDir(), "flakes")
	args, err := exec.Command("../../nix/tests/mkflakes.sh", flakes).Output()
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"build", "--json", "--no-link", "--no-write-lock-file", "path:" + flakes + "/hatchery#" + pkg}
	for _, w := range strings.Fields(string(args)) {
		// here the flake itself is what others have as input `hatchery`
		words = append(words, strings.TrimPrefix(w, "hatchery/"))
	}
	words = dropPair(words, "hatchery")
	cmd := exec.Command("nix", words...)
	cmd.Env = append(os.Environ(), "NIX_CONFIG=experimental-features = nix-command flakes\nsandbox = false\nsubstituters =\nbuild-users-group =")
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, cmd.Stderr)
	}
	var built []struct{ Outputs struct{ Out string } }
	if err := json.Unmarshal(out, &built); err != nil || len(built) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return built[0].Outputs.Out
}

// dropPair leaves out --override-input NAME VALUE.
func dropPair(words []string, name string) []string {
	for i := 0; i+2 < len(words); i++ {
		if words[i] == "--override-input" && words[i+1] == name {
			return append(words[:i:i], words[i+3:]...)
		}
	}
	return words
}
