package hive_test

import (
	"os"
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

// TestInstallScriptInAMachine runs the install script on disks in every state that matters, in a machine that runs
// stage-0 under emulation.
func TestInstallScriptInAMachine(t *testing.T) {
	t.Parallel()
	if os.Getenv("HATCHERY_FULL") != "1" {
		t.Skip("part of the long run: make test-full, or set HATCHERY_FULL=1")
	}
	stubArgs(t)
	out, err := exec.Command("../../nix/tests/cases.sh", "../../build/stage0/x86_64").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
