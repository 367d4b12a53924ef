package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

const (
	// backupEvery and backupsKept are the daily backups in DATA/backups; after a failure the next try is sooner. One that is
	// due at the start waits until what netboots after a power cut was answered.
	backupEvery, backupAgain = 24 * time.Hour, time.Hour
	backupFirst              = time.Minute
	backupsKept              = 14
	// databaseReserve is the space that is kept for leases and boots when the disk is full otherwise: weeks of them.
	databaseReserve = 16 << 20
)

// backupCommand is `hatchery backup FILE`.
func backupCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "backup FILE.tar.gz", Short: "Write all state into one file: database, hive, keys, certificate, secrets, admin token",
		Long: "Writes the database, hive/, ssh/, tls/, secrets/ and the admin token into one .tar.gz, readable by its owner alone: it holds\n" +
			"every secret of the appliance. Images, logs and other backups are left out. A running appliance goes on working meanwhile;\n" +
			"a stopped one is read directly.",
		Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			return r.backup(c.Context(), c.OutOrStdout(), a[0])
		}}
	r.bind(cmd)
	return cmd
}

// backup writes a backup to a file, of a running appliance or of a stopped one's data folder.
func (r *remote) backup(ctx context.Context, out io.Writer, file string) error {
	tmp, err := r.download(ctx, filepath.Dir(file))
	if errors.Is(err, errNoAppliance) {
		tmp, err = stoppedBackup(ctx, r.data, filepath.Dir(file))
	}
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // renamed when all went well
	m, err := readArchive(tmp, nil)
	if err != nil {
		return fmt.Errorf("%w; nothing was saved, see the appliance's log", err)
	}
	if err := errors.Join(os.Rename(tmp, file), durable.SyncDir(filepath.Dir(file))); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s holds the state of %s UTC. It holds every secret: keep it where only you can read it.\n", file, m.Made.Format(time.DateTime))
	return err
}

// download fetches a running appliance's backup into a new file in dir.
func (r *remote) download(ctx context.Context, dir string) (string, error) {
	res, err := r.do(ctx, http.MethodGet, "/backup", nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	f, err := os.CreateTemp(dir, ".backup-*")
	if err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	_, err = io.Copy(f, res.Body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("backup: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// stoppedBackup reads the data folder of an appliance that does not run.
func stoppedBackup(ctx context.Context, data, dir string) (string, error) {
	path := filepath.Join(data, databaseName)
	if err := finishRestore(data, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("nothing to back up: %w; name the data folder with --data", err)
	}
	db, err := boltdb.Open(boltdb.Config{Path: path, Backups: filepath.Join(data, "backups"), CheckBackup: checkBackup})
	if err != nil {
		return "", err
	}
	defer db.Close()
	return makeArchive(ctx, data, dir, db, time.Now())
}

// restoreCommand is `hatchery restore FILE`.
func restoreCommand() *cobra.Command {
	r := &remote{}
	running := false
	cmd := &cobra.Command{Use: "restore FILE", Short: "Put a backup in the place of an appliance's state",
		Long: "Puts a backup in the place of the data folder's state; what was there is kept beside it. The appliance must be\n" +
			"stopped, or --running hands it the backup: it restarts by itself.\n" +
			"Jobs that were open when the backup was made end as failed, since nobody knows how far they came; installed machines stay installed.\n" +
			"A bare database file (hatchery-….db) is taken too: then only the database is replaced.",
		Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			if running || r.server != "" {
				return r.restoreRunning(c.Context(), c.OutOrStdout(), a[0])
			}
			kept, err := restore(r.data, a[0], time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was restored from %s.\n", r.data, a[0])
			if kept != "" {
				fmt.Fprintf(c.OutOrStdout(), "What was there before is in %s: delete it when all is well.\n", kept)
			}
			return nil
		}}
	r.bind(cmd)
	cmd.Flags().BoolVar(&running, "running", false, "hand the backup to the running appliance, which restarts with it")
	return cmd
}

// restoreRunning hands a backup to a running appliance.
func (r *remote) restoreRunning(ctx context.Context, out io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	res, err := r.do(ctx, http.MethodPost, "/restore", f)
	if err != nil {
		return err
	}
	res.Body.Close()
	_, err = fmt.Fprintln(out, "The backup is good. The appliance restarts with it.")
	return err
}

// restore replaces the state in the data folder, which no appliance may be running on
// (boltdb.ErrInUse). It returns where the old state is kept, "" when there was none.
func restore(data, file string, now time.Time) (kept string, err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return "", fmt.Errorf("data folder %s: %w", data, err)
	}
	if err := finishRestore(data, slog.New(slog.DiscardHandler)); err != nil { // an earlier one
		return "", err
	}
	unlock, err := lockDatabase(filepath.Join(data, databaseName))
	if err != nil {
		return "", err
	}
	defer unlock()
	stage, err := os.MkdirTemp(data, stagePrefix+"*")
	if err != nil {
		return "", fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(stage)
	names, err := stageBackup(stage, file)
	if err != nil {
		return "", err
	}
	if err := keepInstalled(data, stage, now); err != nil {
		return "", err
	}
	return swap(data, stage, filepath.Join(data, asidePrefix+now.UTC().Format("20060102T150405Z")), names)
}

// stageBackup puts a backup into a folder, its database checked, brought up to date and with no open
// job. It returns which parts of the state it replaces.
func stageBackup(stage, file string) (names []string, err error) {
	from, ready := file, filepath.Join(stage, "ready.db")
	if zipped, err := isArchive(file); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	} else if zipped {
		root, err := os.OpenRoot(stage)
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		defer root.Close()
		m, err := readArchive(file, root)
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		names, from = stateNames(), filepath.Join(stage, databaseName)
		if err := os.Chtimes(from, m.Made, m.Made); err != nil { // what the diary tells as the backup's time
			return nil, fmt.Errorf("restore: %w", err)
		}
	}
	if _, err := boltdb.Restore(boltdb.Config{Path: ready}, from); errors.Is(err, boltdb.ErrCorrupt) {
		return nil, fmt.Errorf("%s is neither a backup of Hatchery nor a whole database, so nothing was changed: %w", file, boltdb.ErrCorrupt)
	} else if err != nil {
		return nil, err
	}
	if err := os.Rename(ready, filepath.Join(stage, databaseName)); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	// The database comes last: with it the restore is done. A backup has no journal; the old one goes aside.
	return slices.Concat(names, []string{databaseName}, boltdb.JournalNames(databaseName)), nil
}

// keepInstalled lets the staged backup count as installed what the state in data knows as installed: a machine whose netboot was
// ever flipped counts as installed whatever came after. A database that cannot be read is no reason to restore nothing.
func keepInstalled(data, stage string, now time.Time) error {
	was := filepath.Join(stage, "was.db")
	if err := copyFile(filepath.Join(data, databaseName), was); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	old, err := boltdb.Open(boltdb.Config{Path: was})
	if err != nil {
		return nil //nolint:nilerr // damaged, which is why there is a restore
	}
	var in inventory.Installations
	err = old.View(func(tx *inventory.Tx) (err error) { in, err = inventory.ReadInstallations(tx); return err })
	if closed := old.Close(); err != nil || closed != nil {
		return nil //nolint:nilerr // as above
	}
	ready, err := boltdb.Open(boltdb.Config{Path: filepath.Join(stage, databaseName)})
	if err != nil {
		return err
	}
	err = ready.Update(func(tx *inventory.Tx) error { _, err := in.Keep(tx, now); return err })
	if err = errors.Join(err, ready.Close()); err != nil || !there(filepath.Join(stage, "ssh")) {
		return err
	}
	return keepHostKeys(filepath.Join(data, "ssh", "hosts"), filepath.Join(stage, "ssh", "hosts"))
}

// keepHostKeys copies the planted host keys of machines that the backup does not have.
func keepHostKeys(from, to string) error {
	keys, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, k := range keys {
		if !k.Type().IsRegular() || there(filepath.Join(to, k.Name())) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(from, k.Name()))
		if err == nil {
			err = durable.WriteFile(filepath.Join(to, k.Name()), raw, 0o600)
		}
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return err
}

// copyFile copies a file that nobody writes to; the copy is for its owner alone.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// checkBackup reads a backup of either kind from end to end.
func checkBackup(path string) error {
	zipped, err := isArchive(path)
	if err != nil {
		return err
	}
	if zipped {
		_, err = readArchive(path, nil)
		return err
	}
	return boltdb.CheckFile(path)
}

// isArchive reports whether a file is compressed, as a full backup is and a bare database is not.
func isArchive(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [2]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && magic == [2]byte{0x1f, 0x8b}, err
}

// lockDatabase takes the lock that a running appliance holds, if there is a database. boltdb.ErrInUse.
func lockDatabase(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder %s: %w: stop it before you restore", filepath.Dir(path), boltdb.ErrInUse), f.Close())
	}
	// Unlocked by name: a program being started elsewhere holds a copy of the file until its exec.
	return func() { _ = errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close()) }, nil
}

// backup writes a full backup to w: what the page and the API offer to download.
func (a *appliance) backup(w io.Writer) error {
	path, err := makeArchive(context.Background(), a.cfg.Data, a.cfg.Data, a.db, time.Now())
	if err != nil {
		return err
	}
	defer os.Remove(path)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// takeBackup checks a backup that was uploaded, calls sure when it is good, and restarts with it.
func (a *appliance) takeBackup(r io.Reader, sure func() error) error {
	f, err := os.CreateTemp(a.cfg.Data, ".upload-*")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Sync(), f.Close()) // a full disk may say so only now
	if err == nil {
		if bad := checkBackup(f.Name()); bad != nil {
			err = fmt.Errorf("this is no whole backup of Hatchery, so nothing was changed: %w: %w", bad, inventory.ErrInvalid)
		}
	}
	if err == nil {
		err = sure()
	}
	if err == nil {
		err = a.restartAfter(func() error {
			defer os.Remove(f.Name())
			kept, err := restore(a.cfg.Data, f.Name(), time.Now())
			a.log.Warn("a backup was put in the place of the state", "kept", kept, "err", err)
			return err
		})
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// backups writes a full backup once a day into DATA/backups.
func (a *appliance) backups(ctx context.Context) error {
	dir := filepath.Join(a.cfg.Data, "backups")
	for wait := untilBackup(newest(dir), time.Now()); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = backupEvery
		if err := dailyBackup(ctx, a.cfg.Data, dir, a.db, time.Now()); err != nil && ctx.Err() == nil {
			a.log.Error("daily backup: make room or look at the data folder; it is tried again in an hour", "err", err)
			wait = backupAgain
		}
	}
}

// untilBackup is how long the first backup of a run waits when the last one was written then. One from the future, which a clock
// that was wrong left behind, does not put off the next by more than a day.
func untilBackup(last, now time.Time) time.Duration {
	return min(max(backupFirst, backupEvery-now.Sub(last)), backupEvery)
}

// dailyBackup writes one backup into dir and deletes the oldest beyond those that are kept.
func dailyBackup(ctx context.Context, data, dir string, db *boltdb.DB, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("backup of %s: %w", data, err)
	}
	tmp, err := makeArchive(ctx, data, dir, db, now)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, now.UTC().Format("hatchery-20060102T150405Z.tar.gz"))
	if err := errors.Join(os.Rename(tmp, path), durable.SyncDir(dir)); err != nil {
		return fmt.Errorf("backup of %s: %w", data, err)
	}
	// The one just made stays, also when the clock was set back and its name is that of the oldest.
	names := slices.DeleteFunc(backupFiles(dir), func(name string) bool { return name == filepath.Base(path) })
	for len(names) > backupsKept-1 {
		if err := os.Remove(filepath.Join(dir, names[0])); err != nil {
			return fmt.Errorf("delete an old backup: %w", err)
		}
		names = names[1:]
	}
	return nil
}

// backupFiles are the names of the backups in a folder, oldest first.
func backupFiles(dir string) (names []string) {
	files, _ := os.ReadDir(dir) // sorted; the names begin with the date
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "hatchery-") {
			names = append(names, f.Name())
		}
	}
	return names
}

// newest is when the last full backup in dir was written, zero when there is none: a restart makes no extra one.
func newest(dir string) (at time.Time) {
	for _, name := range backupFiles(dir) {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && strings.HasSuffix(name, ".tar.gz") && st.ModTime().After(at) {
			at = st.ModTime()
		}
	}
	return at
}
