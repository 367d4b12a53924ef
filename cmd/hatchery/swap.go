package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/internal/durable"
)

// pendingName is the file of the data folder that says which restore is under way. It is there before the first part of the state
// moves and until the last one has: whoever opens the folder after a power cut carries the restore to its end first.
const pendingName = "restore.pending"

const (
	stagePrefix = ".restore-"       // folders with what a backup holds, made ready
	asidePrefix = "before-restore-" // folders with what was there before
)

// pendingRestore is a restore that is under way.
type pendingRestore struct {
	Stage string   `json:"stage"` // name of the folder that holds the new parts
	Aside string   `json:"aside"` // name of the folder that the old parts go to
	Names []string `json:"names"` // the parts of the state, in the order in which they are replaced
	New   []string `json:"new"`   // those that the backup has
}

// swap moves the named parts of the state aside, and the new ones into their place; when one cannot be moved, all go back. kept is the
// folder with the old ones, "" when there were none.
func swap(data, stage, aside string, names []string) (kept string, err error) {
	p := pendingRestore{Stage: filepath.Base(stage), Aside: filepath.Base(aside), Names: names}
	for _, name := range names {
		if there(filepath.Join(stage, name)) {
			p.New = append(p.New, name)
		}
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	if err := p.begin(data); err != nil {
		_ = os.Remove(filepath.Join(data, pendingName))
		return "", errors.Join(fmt.Errorf("restore: %w", err), os.Remove(aside))
	}
	var undo [][2]string
	if err := p.carry(data, func(from, to string) error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		undo = append(undo, [2]string{to, from}) // to is where it is now
		return nil
	}); err != nil {
		return "", p.back(data, undo, err)
	}
	return p.end(data)
}

// back undoes what was moved before why happened. A kill in the midst of it is met as one in the midst of the restore: what is new is
// in the stage again or still in its place.
func (p pendingRestore) back(data string, undo [][2]string, why error) error {
	aside, database := filepath.Join(data, p.Aside), filepath.Join(data, databaseName)
	var failed error
	for _, u := range slices.Backward(undo) {
		at, from := u[0], u[1]
		old := filepath.Join(aside, databaseName)
		if at == database && there(old) { // the old one takes the new one's place at once: never absent, and this is its only name
			failed = errors.Join(failed, os.Link(at, from), os.Rename(old, at))
			continue
		}
		failed = errors.Join(failed, os.Rename(at, from))
	}
	if failed != nil { // nothing that may be the only copy is removed
		return errors.Join(fmt.Errorf("restore: %w; the old state could not be put back whole, the rest of it is in %s", why, aside), failed, os.Remove(filepath.Join(data, pendingName)))
	}
	return errors.Join(fmt.Errorf("restore: %w; the old state was put back", why), durable.SyncDir(data), os.Remove(filepath.Join(data, pendingName)), os.RemoveAll(aside))
}

// begin makes the new parts durable, then says that they are to be put in.
func (p pendingRestore) begin(data string) error {
	err := filepath.WalkDir(filepath.Join(data, p.Stage), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // files are written to the disk as they are made
			err = durable.SyncDir(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(data, pendingName), raw, 0o600)
}

// carry replaces the parts, each unless an earlier run has done so. Renames are done by move.
func (p pendingRestore) carry(data string, move func(from, to string) error) error {
	for _, name := range p.Names {
		at, next, before := filepath.Join(data, name), filepath.Join(data, p.Stage, name), filepath.Join(data, p.Aside, name)
		isNew := slices.Contains(p.New, name)
		if isNew && !there(next) {
			continue // done
		}
		if there(at) && !there(before) {
			var err error
			if name == databaseName { // never absent: an appliance that starts now must find it locked
				err = os.Link(at, before)
			} else {
				err = move(at, before)
			}
			if err != nil {
				return err
			}
		}
		if isNew {
			if err := move(next, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// end says that the restore is done.
func (p pendingRestore) end(data string) (kept string, err error) {
	aside := filepath.Join(data, p.Aside)
	if err := errors.Join(durable.SyncDir(aside), durable.SyncDir(data)); err != nil {
		return aside, err
	}
	kept = aside
	if os.Remove(aside) == nil { // empty: there was nothing before
		kept = ""
	}
	return kept, errors.Join(os.Remove(filepath.Join(data, pendingName)), durable.SyncDir(data))
}

// finishRestore carries a restore to its end that a power cut or a kill broke off. Nobody may have the database open (boltdb.ErrInUse).
func finishRestore(data string, log *slog.Logger) error {
	raw, err := os.ReadFile(filepath.Join(data, pendingName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var p pendingRestore
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err == nil && (!strings.HasPrefix(p.Stage, stagePrefix) || !strings.HasPrefix(p.Aside, asidePrefix) || !filepath.IsLocal(p.Stage) || !filepath.IsLocal(p.Aside)) {
		err = fmt.Errorf("it names %q and %q", p.Stage, p.Aside)
	}
	var unlock func()
	if err == nil {
		unlock, err = lockDatabase(filepath.Join(data, databaseName))
	}
	if err == nil && !there(filepath.Join(data, p.Stage)) { // it failed and was undone, all but this file
		defer unlock()
		log.Warn("an earlier restore failed and was undone", "kept", filepath.Join(data, p.Aside))
		return errors.Join(os.Remove(filepath.Join(data, pendingName)), durable.SyncDir(data))
	}
	if err == nil {
		defer unlock()
		if err = p.carry(data, os.Rename); err == nil {
			_, err = p.end(data)
		}
	}
	if err != nil {
		return fmt.Errorf("a restore of %s was broken off and cannot be finished (%s): %w; correct that and start again", data, pendingName, err)
	}
	log.Warn("a restore that was broken off was carried to its end", "kept", filepath.Join(data, p.Aside))
	return os.RemoveAll(filepath.Join(data, p.Stage))
}

// sweep removes what a run that was killed left half made: uploads, backups and restores, which hold every secret. Only who has the
// database open may call it, before it makes any of these itself.
func sweep(data string, log *slog.Logger) {
	for _, pattern := range []string{".upload-*", stagePrefix + "*", ".backup-*", "backups/.backup-*"} {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(data), pattern)) // fails for a bad pattern alone
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				log.Warn("what an earlier run left half made cannot be removed", "path", path, "err", err)
				continue
			}
			log.Info("removed what an earlier run left half made", "path", path)
		}
	}
}

// escapeGlob has a path stand for itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
