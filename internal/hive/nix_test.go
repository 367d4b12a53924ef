package hive_test

import (
	"os/exec"
	"testing"
)

// TestNixModules runs the checks of ../../nix that need nix but no internet; with NIXPKGS_LIB and DISKO
// set, once more with the real module system and the real disko.
func TestNixModules(t *testing.T) {
	t.Parallel()
	stubArgs(t) // skips where nix does not work
	out, err := exec.Command("../../nix/tests/run.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
