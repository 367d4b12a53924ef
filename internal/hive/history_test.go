package hive_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/staged-hive/hatchery/internal/hive"
)

// TestWhoIsBehind counts in a real repository, over a person's commit and a merge of a branch of theirs.
func TestWhoIsBehind(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{})
	if _, known, err := h.ReadHost(t.Context(), "node1"); known || err != nil {
		t.Errorf("a host that the hive does not know: got %v, %v", known, err)
	}
	installed := write(t, h, hostFile("node1"))
	f, known, err := h.ReadHost(t.Context(), "node1")
	if err != nil || !known || f.Role != hostFile("node1").Role || f.Plan == nil {
		t.Errorf("what was written reads as %+v, %v, %v", f, known, err)
	}
	behind := func(want int, after string) {
		t.Helper()
		history, err := h.History(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := hive.Behind(history, installed, "node1"); got != want {
			t.Errorf("after %s: got %d behind, want %d", after, got, want)
		}
	}
	behind(0, "its own install")
	write(t, h, hostFile("node2"))
	write(t, h, hostFile("node10"))
	behind(0, "other hosts' installs")
	commit := func(file string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(h.Dir(), file), []byte("{ } # "+file+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		git(t, h.Dir(), "add", file)
		git(t, h.Dir(), "-c", "user.name=p", "-c", "user.email=p@localhost", "commit", "-qm", file)
	}
	commit("common.nix")
	behind(1, "a person's commit")
	git(t, h.Dir(), "checkout", "-qb", "side", installed)
	commit("side.nix")
	commit("side2.nix")
	git(t, h.Dir(), "checkout", "-q", "main")
	git(t, h.Dir(), "-c", "user.name=p", "-c", "user.email=p@localhost", "merge", "-q", "--no-ff", "-m", "merge", "side")
	behind(2, "a merge, which is one step of the branch")
	history, err := h.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := hive.Behind(history, "0123456789012345678901234567890123456789", "node1"); got != -1 {
		t.Errorf("a commit that the hive does not have: got %d, want -1", got)
	}
}
