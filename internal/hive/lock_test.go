package hive_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
)

// TestLockThatGitLeft: a git that was killed leaves its lock behind, and every install failed from then on.
func TestLockThatGitLeft(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{})
	lock := filepath.Join(h.Dir(), ".git", "index.lock")
	write := func(ctx context.Context, name string) error {
		_, err := h.WriteHost(ctx, hive.HostFacts{Host: hostFile(name)})
		return err
	}
	for _, c := range []struct {
		name string
		age  time.Duration
		want bool // it goes
	}{{"a person's, whose editor is open", time.Minute, false}, {"one of an hour ago", time.Hour, true}, {"one of before the machine started", 20 * 365 * 24 * time.Hour, true}} {
		if err := errors.Join(os.WriteFile(lock, nil, 0o600), os.Chtimes(lock, time.Time{}, time.Now().Add(-c.age))); err != nil {
			t.Fatal(err)
		}
		var f *hive.Failure
		if err := write(t.Context(), "node1"); c.want && err != nil || !c.want && !errors.As(err, &f) {
			t.Errorf("%s: got %v, want it to be removed: %v", c.name, err, c.want)
		}
		if _, err := os.Stat(lock); os.IsNotExist(err) != c.want {
			t.Errorf("%s: the lock: %v", c.name, err)
		}
		_ = os.Remove(lock)
		if err := os.RemoveAll(filepath.Join(h.Dir(), "hosts")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLockOfACancelledCommit: a job that is cancelled while git writes leaves no lock.
func TestLockOfACancelledCommit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "hive")
	open(t, hive.Config{Dir: dir})
	held := filepath.Join(t.TempDir(), "held")
	git := filepath.Join(t.TempDir(), "git")
	script := "#!/bin/sh\ncase \"$*\" in *\" add \"*) : >" + dir + "/.git/index.lock; : >" + held + "; exec sleep 60;; esac\nexec git \"$@\"\n"
	if err := os.WriteFile(git, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	h := open(t, hive.Config{Dir: dir, Git: git})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := h.WriteHost(ctx, hive.HostFacts{Host: hostFile("node1")})
		ended <- err
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(held); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("git never held the lock")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to be cancelled", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".git", "index.lock")); !os.IsNotExist(err) {
		t.Errorf("the lock is still there: %v", err)
	}
}
