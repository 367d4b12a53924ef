package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/web"
)

// served runs the real web server with a real database on a data folder; the commands reach it over its socket.
func served(t *testing.T) (data string, db *boltdb.DB) {
	t.Helper()
	data, err := os.MkdirTemp("/tmp", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	db = openData(t, data)
	put(t, data, map[string]string{"hive/flake.nix": "{ }"})
	a := &appliance{db: db}
	a.cfg.Data = data
	s, err := web.New(web.Config{Addr: "127.0.0.1:0", Dir: data, Store: db, Backup: a.backup})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the server is not ready")
	}
	return data, db
}

func TestCommandsOverTheSocket(t *testing.T) {
	t.Parallel()
	data, db := served(t)
	fill(t, db)
	file := filepath.Join(data, "b.tar.gz")
	for _, c := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"lists hosts", "hosts list", 0, "PROGRESS"},
		{"shows a host by name", "hosts show done", 0, "installed"},
		{"prints JSON", "hosts list --json", 0, `"state": "installed"`},
		{"announces a host", "hosts add --mac 52:54:00:00:00:09 --name third", 0, "third"},
		{"ignores it", "hosts ignore third", 0, "ignored"},
		{"says who had it ignored", "hosts show third", 0, "ignored by:"},
		{"takes that back", "hosts unignore third", 0, "expected"},
		{"is refused", "hosts retry third", exitRefused, "never had a job"},
		{"forgets it", "hosts forget third", 0, ""},
		{"does not find it", "hosts show third", exitNotFound, "not known"},
		{"prints the diary", "hosts diary busy", 0, "KIND"},
		{"has no hardware report without a hive", "hosts hardware done", exitRefused, "no hive"},
		{"lists jobs", "jobs --open", 0, "PROGRESS"},
		{"shows the rules", "rules", 0, "WOULD"},
		{"lists roles", "roles", 0, "worker"},
		{"makes a backup", "backup " + file, 0, "every secret"},
		{"refuses to restore over a running appliance", "restore " + file, exitError, "another hatchery is running"},
		{"knows no such command", "hosts shw", exitUsage, "did you mean show?"},
		{"knows no such flag", "hosts list --bogus", exitUsage, "bogus"},
		{"wants an argument", "hosts show", exitUsage, "--help"},
	} {
		args := strings.Fields(c.args)
		out, code := hatchery(t, append(args, "--data", data)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", c.name, code, out, c.code, c.want)
		}
	}
}

// waitBuffer is a buffer that one goroutine writes and another waits for.
type waitBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{}
}

func (b *waitBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.grew <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *waitBuffer) wait(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		b.mu.Lock()
		text := b.text.String()
		b.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-b.grew:
		case <-deadline:
			t.Fatalf("got %q, want %q", text, want)
		}
	}
}

func TestWatchShowsChangesAsTheyCome(t *testing.T) {
	t.Parallel()
	data, db := served(t)
	fill(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	out, code := &waitBuffer{grew: make(chan struct{}, 1)}, make(chan int, 1)
	go func() { code <- run(ctx, []string{"hosts", "list", "--watch", "--data", data}, out, out) }()
	out.wait(t, "done  52:54:00:00:00:01  installed")
	if _, c := hatchery(t, "hosts", "add", "52:54:00:00:00:09", "--name", "third", "--data", data); c != 0 {
		t.Fatal("add failed")
	}
	out.wait(t, "third  52:54:00:00:00:09  expected")
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func TestManAndCompletionNeedNoAppliance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, code := hatchery(t, "man", dir); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "hatchery-hosts-show.1")); err != nil {
		t.Error(err)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, code := hatchery(t, "completion", shell); code != 0 || !strings.Contains(out, "hatchery") {
			t.Errorf("%s: %d", shell, code)
		}
	}
}
