package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// TestRestoreThatIsBrokenOffIsFinished breaks a restore off before each of its renames, as a power cut does: the next who opens the
// folder, whichever way, has the whole backup and nothing of before.
func TestRestoreThatIsBrokenOffIsFinished(t *testing.T) {
	t.Parallel()
	next := map[string]func(t *testing.T, data string){
		"a start": func(t *testing.T, data string) {
			if err := finishRestore(data, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		},
		"a backup of the stopped appliance": func(t *testing.T, data string) {
			if out, code := hatchery(t, "backup", "--data", data, filepath.Join(t.TempDir(), "b.tar.gz")); code != 0 {
				t.Errorf("backup: %d %s", code, out)
			}
		},
	}
	for how, opens := range next {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for broken := true; broken; steps++ {
				broken = brokenRestore(t, steps, opens)
			}
			if steps < 10 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

// brokenRestore reports whether a restore was broken off: false when it needs fewer renames.
func brokenRestore(t *testing.T, after int, opens func(t *testing.T, data string)) bool {
	t.Helper()
	data, id := brokenData(t)
	stage := filepath.Join(data, stagePrefix+"1")
	if err := os.Mkdir(stage, 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := stageBackup(stage, filepath.Join(data, "backups", backupFiles(filepath.Join(data, "backups"))[0]))
	if err != nil {
		t.Fatal(err)
	}
	p := pendingRestore{Stage: filepath.Base(stage), Aside: asidePrefix + "1", Names: names}
	for _, name := range names {
		if there(filepath.Join(stage, name)) {
			p.New = append(p.New, name)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(data, p.Aside), 0o700), p.begin(data)); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("the power is gone")
	n := 0
	err = p.carry(data, func(from, to string) error {
		if n++; n > after {
			return cut
		}
		return os.Rename(from, to)
	})
	if err != nil && !errors.Is(err, cut) {
		t.Fatal(err)
	}
	opens(t, data)
	checkRestored(t, data, id, after)
	return err != nil
}

// brokenData is a data folder whose state is newer than its one backup, of which a host is told.
func brokenData(t *testing.T) (data string, installed inventory.HostID) {
	t.Helper()
	data = t.TempDir()
	db := openData(t, data)
	installed, _ = fill(t, db)
	put(t, data, applianceFiles())
	if err := dailyBackup(t.Context(), data, filepath.Join(data, "backups"), db, t0); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(db.Update(func(tx *inventory.Tx) error { return inventory.Forget(tx, installed, t0) }), db.Close(),
		os.RemoveAll(filepath.Join(data, "secrets"))) // a part that only the backup has
	if err != nil {
		t.Fatal(err)
	}
	put(t, data, map[string]string{"admin-token": "newer", "ssh/id_ed25519": "newer key", "hive/more.nix": "more",
		setupName: "dhcp = \"off\"\n"}) // a part that the backup has not
	return data, installed
}

func checkRestored(t *testing.T, data string, id inventory.HostID, after int) {
	t.Helper()
	got := map[string]string{}
	for name, text := range files(t, data) {
		if top, _, _ := strings.Cut(name, "/"); !strings.HasPrefix(top, asidePrefix) && top != "backups" {
			got[name] = text
		}
	}
	for _, name := range boltdb.JournalNames(databaseName) {
		delete(got, name)
	}
	if diff := cmp.Diff(applianceFiles(), got); diff != "" {
		t.Errorf("broken off after %d renames (-want +got):\n%s", after, diff)
	}
	old := files(t, filepath.Join(data, asidePrefix+"1"))
	if old["admin-token"] != "newer" || old["hive/more.nix"] != "more" || old[setupName] == "" {
		t.Errorf("broken off after %d renames: what was there before is not kept: %v", after, old)
	}
	db := openData(t, data)
	if err := errors.Join(db.View(func(tx *inventory.Tx) error { _, err := tx.Host(id); return err }), db.Close()); err != nil {
		t.Errorf("broken off after %d renames: the host of the backup: %v", after, err)
	}
}

// TestRestoreThatFailsPutsTheOldStateBack has a restore fail after each of its moves: everything is as it was, the database too, whose
// old file has only its name aside by then.
func TestRestoreThatFailsPutsTheOldStateBack(t *testing.T) {
	t.Parallel()
	parts := []string{"admin-token", databaseName, "hive"}
	for failing := range len(parts) + 1 {
		data := t.TempDir()
		stage, aside := filepath.Join(data, stagePrefix+"1"), filepath.Join(data, asidePrefix+"1")
		before, names := map[string]string{}, slices.Insert(slices.Clone(parts), failing, "no/folder") // which cannot be moved: aside has no such folder
		for _, name := range names {
			before[name] = "old " + name
			put(t, stage, map[string]string{name: "new " + name})
		}
		put(t, data, before)
		if _, err := swap(data, stage, aside, names); err == nil || !strings.Contains(err.Error(), "was put back") {
			t.Errorf("part %d cannot be moved: %v", failing, err)
		}
		if err := os.RemoveAll(stage); err != nil { // as who restores does
			t.Fatal(err)
		}
		got := files(t, data)
		if raw, err := os.ReadFile(filepath.Join(data, databaseName)); err == nil {
			got[databaseName] = string(raw) // which files leaves out
		}
		if diff := cmp.Diff(before, got); diff != "" {
			t.Errorf("part %d cannot be moved (-want +got):\n%s", failing, diff)
		}
	}
}

// TestRestoreThatWasUndoneIsForgotten starts after a restore that failed and was undone, when only its file could not be removed.
func TestRestoreThatWasUndoneIsForgotten(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	want := map[string]string{"ssh/id_ed25519": "key", "admin-token": "t"}
	put(t, data, want)
	p := pendingRestore{Stage: stagePrefix + "1", Aside: asidePrefix + "1", Names: []string{"ssh", "admin-token"}, New: []string{"ssh"}}
	if err := os.Mkdir(filepath.Join(data, p.Aside), 0o700); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	put(t, data, map[string]string{pendingName: string(raw)})
	if err := finishRestore(data, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, files(t, data)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRestoreThatCannotBeFinishedStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"half a file": `{"stage":".rest`, "another folder": `{"stage":"../x","aside":"before-restore-1","names":["ssh"]}`} {
		data := t.TempDir()
		put(t, data, map[string]string{pendingName: text, "ssh/id_ed25519": "key"})
		if out, code := hatchery(t, "serve", "--user", "root", "--data", data); code == 0 || !strings.Contains(out, pendingName) {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
		if _, err := os.Stat(filepath.Join(data, databaseName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it began a new database: %v", name, err)
		}
	}
}

func TestHalfMadeFilesOfAKilledRunAreRemoved(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "odd [name] *") // a folder's name is no pattern
	put(t, data, applianceFiles())
	put(t, data, map[string]string{"backups/hatchery-20261122T140000Z.tar.gz": "a backup"})
	want := files(t, data)
	put(t, data, map[string]string{".upload-1": "x", ".restore-2/ssh/id": "x", ".restore-3": "x", ".backup-4.tar.gz": "x", ".backup-5/snapshot": "x", "backups/.backup-6.tar.gz": "x"})
	sweep(data, slog.New(slog.DiscardHandler))
	if diff := cmp.Diff(want, files(t, data)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if left, err := filepath.Glob(filepath.Join(escapeGlob(data), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
