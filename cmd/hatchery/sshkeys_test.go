package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The operators' keys of the configuration must get as far as stage-0 and the hive (they were once read and dropped).
func TestSSHKeysOfOperators(t *testing.T) {
	t.Parallel()
	const ann = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsQW7ux8yqn5Vd6bhm0Kz9XwZZxD4gk2v6yGqIX1k0J"
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("# operators\n"+ann+" bob the builder\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := defaultSettings()
	s.SSHKeys = []string{ann + " ann@desk", file}
	cfg, err := s.check()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{ann + " ann@desk", ann + " bob"}, cfg.sshKeys); diff != "" {
		t.Errorf("keys (-want +got): %s", diff)
	}
	for _, bad := range []string{"ssh-ed25519 notakey", "relative/file", "/nowhere/keys", "-----BEGIN OPENSSH PRIVATE KEY-----"} {
		s.SSHKeys = []string{bad}
		if _, err := s.check(); err == nil || !strings.Contains(err.Error(), "ssh_keys") {
			t.Errorf("%q: got %v, want an error that names ssh_keys", bad, err)
		}
	}
}
