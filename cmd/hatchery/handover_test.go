package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHandOverGivesTheFolderAndNothingElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("gives files to another user: needs root")
	}
	const uid, gid = 64321, 64322
	outside := t.TempDir()
	data, err := os.MkdirTemp("/tmp", "ho") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	put(t, outside, map[string]string{"shadow": "root:", "target": "x"})
	put(t, data, map[string]string{databaseName: "db", "ssh/id": "key", "before-restore-1/x": ""})
	socket, err := net.Listen("unix", filepath.Join(data, "hatchery.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	in := func(name string) string { return filepath.Join(data, name) }
	if err := errors.Join(
		os.Link(filepath.Join(outside, "shadow"), in("ssh/planted")),
		os.Link(in(databaseName), in("before-restore-1/hatchery.db")), // as a restore leaves it
		os.Symlink(filepath.Join(outside, "target"), in("link")),
		os.WriteFile(in("somebodys"), nil, 0o600), os.Lchown(in("somebodys"), 64399, 64399),
	); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := handOver(data, uid, gid, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, path := range []string{data, in(databaseName), in("before-restore-1/hatchery.db"), in("ssh"), in("ssh/id"), in("ssh/planted"), in("link"), in("somebodys"), in("hatchery.sock"),
		filepath.Join(outside, "shadow"), filepath.Join(outside, "target")} {
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		got[strings.TrimPrefix(path, data)] = int(st.Uid)
	}
	want := map[string]int{"": uid, "/hatchery.db": uid, "/before-restore-1/hatchery.db": uid, "/ssh": uid, "/ssh/id": uid, "/ssh/planted": 0, "/link": uid, "/somebodys": 64399,
		"/hatchery.sock": uid, filepath.Join(outside, "shadow"): 0, filepath.Join(outside, "target"): 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if said := log.String(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, "path=ssh/planted") {
		t.Errorf("said %q, want one warning that names the planted file", said)
	}
}

func TestHandOverLeavesAForeignFolderAlone(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	put(t, data, map[string]string{"passwd": "root:"})
	if err := handOver(data, 64321, 64322, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "no data folder of Hatchery") {
		t.Errorf("got %v", err)
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(data, "passwd"), &st); err != nil || int(st.Uid) != os.Geteuid() {
		t.Errorf("owner %d, %v", st.Uid, err)
	}
}
