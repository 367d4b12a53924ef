package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

func openData(t *testing.T, data string) *boltdb.DB {
	t.Helper()
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(data, databaseName), LockTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func put(t *testing.T, data string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// files reads all that a data folder holds beside the database.
func files(t *testing.T, data string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == databaseName {
			return err
		}
		raw, err := os.ReadFile(path)
		if d.Type() == fs.ModeSymlink {
			var to string
			to, err = os.Readlink(path)
			raw = []byte("→ " + to)
		}
		rel, _ := filepath.Rel(data, path)
		all[rel] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func applianceFiles() map[string]string {
	return map[string]string{"admin-token": "token", "ssh/id_ed25519": "key", "ssh/hosts/a": "host key", "tls/cert.pem": "cert",
		"secrets/k3s/home/server": "k3s", "hive/flake.nix": "{ }", "hive/.git/HEAD": "ref: refs/heads/main", "hive/.git/objects/ab/cd": "blob"}
}

// fill fills a database with an installed host and one whose job is open.
func fill(t *testing.T, db *boltdb.DB) (installed, busy inventory.HostID) {
	t.Helper()
	err := db.Update(func(tx *inventory.Tx) error {
		if err := tx.PutHive(inventory.Hive{Revision: "r1", Roles: map[string]inventory.Role{"worker": {Name: "worker", System: "x86_64-linux"}}}); err != nil {
			return err
		}
		for i, name := range []string{"done", "busy"} {
			h, err := inventory.Expect(tx, inventory.Announce{MAC: inventory.MAC{0x52, 0x54, 0, 0, 0, byte(i + 1)}, Name: name}, t0)
			if err != nil {
				return err
			}
			if name == "busy" {
				role := "worker"
				busy = h.ID
				if _, _, err := inventory.Assign(tx, h.ID, inventory.Assignment{Role: &role}, "admin", false, t0); err != nil {
					return err
				}
				continue
			}
			installed, h.State, h.Step, h.InstalledAt, h.InstalledSystem, h.EverFlipped = h.ID, inventory.StateInstalled, "", t0, "/nix/store/x", true
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return installed, busy
}

func hatchery(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, &stdout, &stderr)
	return stdout.String() + stderr.String(), code
}

func TestBackupRoundTripOfAStoppedAppliance(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "b.tar.gz")
	db := openData(t, data)
	installed, busy := fill(t, db)
	put(t, data, applianceFiles())
	put(t, data, map[string]string{"logs/jobs/x": "log", "stage0/image": "image", "hive/.git/index.lock": "", "backups/old": "old"})
	if err := os.Symlink("/nix/store/x", filepath.Join(data, "hive", "result")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := hatchery(t, "backup", "--data", data, file); code != 0 || !strings.Contains(out, "every secret") {
		t.Fatalf("backup: %d %s", code, out)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v %v, want mode 0600", st.Mode(), err)
	}
	into := filepath.Join(t.TempDir(), "new")
	if out, code := hatchery(t, "restore", "--data", into, file); code != 0 || strings.Contains(out, "before") {
		t.Fatalf("restore: %d %s", code, out)
	}
	want := applianceFiles()
	want["hive/result"] = "→ /nix/store/x"
	if diff := cmp.Diff(want, files(t, into)); diff != "" {
		t.Errorf("restored files, -want +got:\n%s", diff)
	}
	if st, err := os.Stat(filepath.Join(into, "ssh", "id_ed25519")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("restored key: %v %v", st, err)
	}
	again := openData(t, into)
	if err := again.View(func(tx *inventory.Tx) error {
		a, err := tx.Host(installed)
		if err != nil {
			return err
		}
		b, err := tx.Host(busy)
		if a.State != inventory.StateInstalled || b.State != inventory.StateFailed {
			t.Errorf("got %s and %s, want installed and failed", a.State, b.State)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreForgetsNoInstall: a machine that was installed since the backup was made counts as installed with the backup, too,
// and keeps its host key.
func TestRestoreForgetsNoInstall(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "b.tar.gz")
	db := openData(t, data)
	_, busy := fill(t, db)
	put(t, data, applianceFiles())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := hatchery(t, "backup", "--data", data, file); code != 0 {
		t.Fatalf("backup: %d %s", code, out)
	}
	db = openData(t, data)
	if err := db.Update(func(tx *inventory.Tx) error {
		for _, e := range []inventory.Event{inventory.StepStarted{Step: "install", No: 1, Of: 2}, inventory.WriteStarted{}, inventory.NetbootFlipped{}, inventory.Verified{System: "/nix/store/y", At: t0}} {
			if _, err := inventory.Apply(tx, busy, e); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, data, map[string]string{"ssh/hosts/new": "planted since", "ssh/hosts/a": "changed since"})
	if out, code := hatchery(t, "restore", "--data", data, file); code != 0 {
		t.Fatalf("restore: %d %s", code, out)
	}
	if got := files(t, data); got["ssh/hosts/new"] != "planted since" || got["ssh/hosts/a"] != "host key" {
		t.Errorf("host keys: got %q and %q", got["ssh/hosts/new"], got["ssh/hosts/a"])
	}
	if left, _ := filepath.Glob(filepath.Join(data, stagePrefix+"*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	again := openData(t, data)
	if err := again.View(func(tx *inventory.Tx) error {
		h, err := tx.Host(busy)
		if !h.EverFlipped || h.State != inventory.StateInstalled || h.InstalledSystem != "/nix/store/y" {
			t.Errorf("got %s, ever flipped %v, want installed", h.State, h.EverFlipped)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreKeepsTheOldStateAside(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "b.tar.gz")
	db := openData(t, data)
	fill(t, db)
	put(t, data, applianceFiles())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := hatchery(t, "backup", "--data", data, file); code != 0 {
		t.Fatalf("backup: %d %s", code, out)
	}
	put(t, data, map[string]string{"admin-token": "newer", "hive/more.nix": "more"})
	out, code := hatchery(t, "restore", "--data", data, file)
	if code != 0 {
		t.Fatalf("restore: %d %s", code, out)
	}
	kept, _ := filepath.Glob(filepath.Join(data, "before-restore-*"))
	if len(kept) != 1 || !strings.Contains(out, kept[0]) {
		t.Fatalf("kept %v, said %s", kept, out)
	}
	if old := files(t, kept[0]); old["admin-token"] != "newer" || old["hive/more.nix"] != "more" {
		t.Errorf("the old state: got %v", old)
	}
	if _, err := os.Stat(filepath.Join(kept[0], databaseName)); err != nil {
		t.Error(err)
	}
	if now := files(t, data); now["admin-token"] != "token" || now["hive/more.nix"] != "" {
		t.Errorf("the restored state: got %v", now)
	}
}

func TestRestoreRefusesWhileAnApplianceRuns(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	db := openData(t, data)
	put(t, data, applianceFiles())
	if err := dailyBackup(t.Context(), data, dir, db, t0); err != nil {
		t.Fatal(err)
	}
	before := files(t, data)
	_, err := restore(data, filepath.Join(dir, backupFiles(dir)[0]), t0)
	if !errors.Is(err, boltdb.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if diff := cmp.Diff(before, files(t, data)); diff != "" {
		t.Errorf("something changed, -before +after:\n%s", diff)
	}
}

func TestRestoreLeavesEverythingWhenTheFileIsNoBackup(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	db := openData(t, data)
	put(t, data, applianceFiles())
	if err := dailyBackup(t.Context(), data, dir, db, t0); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, backupFiles(dir)[0]))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0xff
	for name, raw := range map[string][]byte{"cut short": whole[:len(whole)/2], "damaged": damaged, "not compressed": []byte("hello, this is no backup"), "empty": nil} {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		before := files(t, data)
		switch _, err := restore(data, file, t0); {
		case err == nil:
			t.Errorf("%s: no error", name)
		case strings.Contains(err.Error(), stagePrefix) || strings.Contains(err.Error(), "start with an empty one"):
			t.Errorf("%s: it speaks of the copy, as if the appliance's own database were damaged: %v", name, err)
		}
		if diff := cmp.Diff(before, files(t, data)); diff != "" {
			t.Errorf("%s: something changed, -before +after:\n%s", name, diff)
		}
	}
}

func TestFirstBackupOfARunIsDueWithinADay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		last time.Time
		want time.Duration
	}{
		{"there is none yet", time.Time{}, backupFirst},
		{"the last is two days old", t0.Add(-48 * time.Hour), backupFirst},
		{"the last is an hour old", t0.Add(-time.Hour), 23 * time.Hour},
		{"the last was written by a clock that was a year ahead", t0.AddDate(1, 0, 0), backupEvery},
	} {
		if got := untilBackup(c.last, t0); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestDailyBackupsKeepTheLastFourteen(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dir := filepath.Join(data, "backups")
	db := openData(t, data)
	put(t, data, map[string]string{"backups/hatchery-20200101T000000Z.db": "of an older hatchery"})
	for day := range 15 {
		if err := dailyBackup(t.Context(), data, dir, db, t0.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
	}
	names := backupFiles(dir)
	if len(names) != backupsKept || names[0] != "hatchery-20261123T140000Z.tar.gz" {
		t.Errorf("got %d, first %s", len(names), names[0])
	}
	if time.Since(newest(dir)) > time.Minute {
		t.Errorf("newest: got %v", newest(dir))
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != backupsKept {
		t.Errorf("the folder holds %d files: %v", len(left), err)
	}
}

// TestBackupsAfterTheClockWasAhead: backups were written in a year to come, then the clock was put right.
func TestBackupsAfterTheClockWasAhead(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dir := filepath.Join(data, "backups")
	db := openData(t, data)
	for day := range backupsKept {
		put(t, data, map[string]string{fmt.Sprintf("backups/hatchery-209901%02dT000000Z.tar.gz", day+1): "of a clock that was ahead"})
	}
	for day := range 2 {
		if err := dailyBackup(t.Context(), data, dir, db, t0.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
		names := backupFiles(dir)
		if want := t0.AddDate(0, 0, day).UTC().Format("hatchery-20060102T150405Z.tar.gz"); len(names) != backupsKept || names[0] != want {
			t.Errorf("got %d, first %s; want the one just made, %s, to be kept", len(names), names[0], want)
		}
	}
}

// TestDamageIsMetWithTheLastGoodBackup runs the very command that the message offers.
func TestDamageIsMetWithTheLastGoodBackup(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dir := filepath.Join(data, "backups")
	put(t, data, applianceFiles())
	db := openData(t, data)
	id, _ := fill(t, db)
	for day := range 2 {
		if err := dailyBackup(t.Context(), data, dir, db, t0.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	newest := filepath.Join(dir, backupFiles(dir)[1])
	raw, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	path := filepath.Join(data, databaseName)
	if err := errors.Join(os.WriteFile(newest, raw, 0o600), os.Truncate(path, 0)); err != nil {
		t.Fatal(err)
	}
	out, code := hatchery(t, "serve", "--data", data)
	_, command, found := strings.Cut(out, "hatchery restore ")
	command, _, _ = strings.Cut(command, " (")
	if code == 0 || !found || !strings.Contains(out, filepath.Base(newest)+" is damaged, too") {
		t.Fatalf("start over a damaged database: exit %d, want an offer of the backup before the damaged one:\n%s", code, out)
	}
	if out, code := hatchery(t, append([]string{"restore"}, strings.Fields(command)...)...); code != 0 {
		t.Fatalf("hatchery restore %s: exit %d\n%s", command, code, out)
	}
	if err := openData(t, data).View(func(tx *inventory.Tx) error { _, err := tx.Host(id); return err }); err != nil {
		t.Errorf("after the restore: %v", err)
	}
}

func TestAFileThatChangesMeanwhileIsNoticed(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	put(t, data, applianceFiles())
	before, err := listing(data)
	if err != nil {
		t.Fatal(err)
	}
	put(t, data, map[string]string{"hive/flake.nix": "{ more }"})
	after, err := listing(data)
	if err != nil || slices.Equal(before, after) {
		t.Errorf("a longer file: got the same listing, %v", err)
	}
	out := tar.NewWriter(io.Discard)
	if err := addFile(out, filepath.Join(data, "hive", "gone"), "hive/gone"); !errors.Is(err, errChanging) {
		t.Errorf("a file that is gone: got %v, want errChanging", err)
	}
}
