package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed hive/plain.nix
var plainModule []byte

// The template's role "plain" gets a data disk and a rule: the lab's machines take it by themselves.
const (
	plainIs   = `description = "NixOS with SSH and nothing else";`
	plainDemo = `description = "Demo: a system disk, and a data disk that is kept";
    disks.data = {
      class = "persistent";
      select = { order = "largest"; };
      optional = true;
    };
    autoInstall.match = { vendor = "Hatchery Lab"; };`
)

// prepareHive lays the appliance's hive and the stand-ins for nixpkgs and nixos-anywhere,
// since the demo works without internet, and returns the flags that put them in place.
func prepareHive(o options, data, scratch string) ([]string, error) {
	repo, err := filepath.Abs(o.repo)
	if err != nil {
		return nil, err
	}
	parts, err := filepath.Abs(filepath.Join(o.build, "parts"))
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(filepath.Join(repo, "nix/tests/mkflakes.sh"), filepath.Join(scratch, "flakes"), parts).Output()
	if err != nil {
		return nil, fmt.Errorf("stand-in for nixpkgs: %w", err)
	}
	if err := writeHive(filepath.Join(repo, "internal/hive/template"), filepath.Join(data, "hive")); err != nil {
		return nil, fmt.Errorf("the demo's hive: %w", err)
	}
	// Debian's nix as root: no users of its own to build with, nothing to fetch from.
	if err := os.Setenv("NIX_CONFIG", "sandbox = false\nsubstituters =\nbuild-users-group =\n"); err != nil {
		return nil, err
	}
	flags := []string{"--nixos-anywhere", filepath.Join(repo, "nix/tests/nixos-anywhere"), "--nix", filepath.Join(repo, "nix/tests/nix")}
	for _, a := range strings.Fields(string(out)) {
		flags = append(flags, "--nix-arg="+a)
	}
	return flags, nil
}

// writeHive makes the git repository from the template, with the demo's role.
func writeHive(template, dir string) error {
	if out, err := exec.Command("cp", "-r", template, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	roles := filepath.Join(dir, "roles.nix")
	b, err := os.ReadFile(roles)
	if err != nil {
		return err
	}
	if strings.Count(string(b), plainIs) != 1 {
		return fmt.Errorf("%s: the role plain is not as expected", roles)
	}
	if err := os.WriteFile(roles, []byte(strings.Replace(string(b), plainIs, plainDemo, 1)), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "roles", "plain.nix"), plainModule, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=Demo", "-c", "user.email=demo@localhost", "commit", "-q", "-m", "A hive for the demo"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}
