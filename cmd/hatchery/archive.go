package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory/boltdb"
)

const (
	databaseName = "hatchery.db"
	manifestName = "backup.json"
	// archiveFormat is the one this program writes; it reads this one and older ones.
	archiveFormat = 1
	// archiveTries is how often a backup starts over when the hive or a secret changed meanwhile.
	archiveTries = 5
)

// stateNames is what a backup holds of the data folder beside the database. Left out: images, logs, other backups.
func stateNames() []string {
	return []string{"hive", "ssh", "tls", "secrets", "admin-token", setupName}
}

// errChanging says that the files were written to while they were copied.
var errChanging = errors.New("files changed while they were copied")

// manifest is the first entry of a backup.
type manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the hatchery that made it
	Made    time.Time `json:"made"`
}

// makeArchive writes a backup of the whole data folder into a new file (0600) in dir, reads it back
// and returns its path; the caller renames or removes it. The database is a snapshot; the files are
// those of one moment, too: when any of them changes meanwhile, they are copied again.
func makeArchive(ctx context.Context, data, dir string, db *boltdb.DB, now time.Time) (path string, err error) {
	scratch, err := os.MkdirTemp(dir, ".backup-*")
	if err != nil {
		return "", fmt.Errorf("backup of %s: %w", data, err)
	}
	defer os.RemoveAll(scratch)
	snapshot, err := db.BackupFile(scratch, 1)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".backup-*.tar.gz")
	if err != nil {
		return "", fmt.Errorf("backup of %s: %w", data, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	for try := 1; ; try++ {
		if err = archiveOnce(f, data, snapshot, now); !errors.Is(err, errChanging) || try == archiveTries {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
			continue
		}
		break
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		_, err = readArchive(f.Name(), nil)
	}
	if err != nil {
		return "", fmt.Errorf("backup of %s: %w", data, err)
	}
	return f.Name(), nil
}

// archiveOnce writes the archive from the start of f. errChanging.
func archiveOnce(f *os.File, data, snapshot string, now time.Time) error {
	before, err := listing(data)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	zip := gzip.NewWriter(f)
	out := tar.NewWriter(zip)
	raw, err := json.Marshal(manifest{Format: archiveFormat, Version: versionText(), Made: now.UTC()})
	if err != nil {
		return err
	}
	err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Mode: 0o600, Size: int64(len(raw)), ModTime: now})
	if err == nil {
		_, err = out.Write(raw)
	}
	if err == nil {
		err = addFile(out, snapshot, databaseName)
	}
	for _, e := range before {
		if err == nil {
			err = addFile(out, filepath.Join(data, e.path), e.path)
		}
	}
	if err = errors.Join(err, out.Close(), zip.Close()); err != nil {
		return err
	}
	after, err := listing(data)
	if err == nil && !slices.Equal(before, after) {
		err = errChanging
	}
	return err
}

// entry is one file as it was: a later write shows in its size or time.
type entry struct {
	path string // in the data folder, with slashes
	mode fs.FileMode
	size int64
	time int64 // of the last change, in nanoseconds
}

// listing is all that a backup holds beside the database, in order: a folder before what is in it.
func listing(data string) ([]entry, error) {
	var all []entry
	for _, name := range stateNames() {
		err := filepath.WalkDir(filepath.Join(data, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(data, path)
			if err != nil {
				return err
			}
			kept := info.IsDir() || info.Mode().IsRegular() || info.Mode().Type() == fs.ModeSymlink
			if !kept || strings.HasPrefix(rel, "hive/.git/") && strings.HasSuffix(rel, ".lock") {
				return nil // git's locks are of the process that holds them
			}
			all = append(all, entry{path: rel, mode: info.Mode(), size: info.Size(), time: info.ModTime().UnixNano()})
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := os.Lstat(filepath.Join(data, name)); gone == nil {
				return nil, errChanging
			}
			continue // a part that there is none of, such as secrets before the first cluster
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// addFile writes one file, folder or link. errChanging.
func addFile(out *tar.Writer, path, name string) error {
	info, err := os.Lstat(path)
	link := ""
	if err == nil && info.Mode().Type() == fs.ModeSymlink {
		link, err = os.Readlink(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errChanging
	}
	if err != nil {
		return err
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errChanging
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := io.CopyN(out, f, info.Size()); errors.Is(err, io.EOF) {
		return fmt.Errorf("%s ends after %d of %d bytes: %w", name, n, info.Size(), errChanging)
	} else if err != nil {
		return err
	}
	return nil
}

// readArchive reads a backup from end to end, and puts it into a folder unless that is nil. It fails
// for one that is damaged, incomplete, foreign or written by a newer hatchery.
func readArchive(path string, into *os.Root) (manifest, error) {
	var m manifest
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return m, fmt.Errorf("backup %s is no .tar.gz: %w", path, err)
	}
	in := tar.NewReader(zip)
	database := false
	for first := true; ; first = false {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && first {
			err = m.read(h, in)
		} else if err == nil {
			database = database || h.Name == databaseName
			err = putFile(into, h, in)
		}
		if err != nil {
			return m, fmt.Errorf("backup %s: %w", path, err)
		}
	}
	if _, err := io.Copy(io.Discard, zip); err != nil { // to its checksum
		return m, fmt.Errorf("backup %s: %w", path, err)
	}
	if !database {
		return m, fmt.Errorf("backup %s holds no database: it is not one of hatchery's", path)
	}
	return m, nil
}

func (m *manifest) read(h *tar.Header, in io.Reader) error {
	if h.Name != manifestName {
		return fmt.Errorf("it begins with %.80q: it is not one of hatchery's", h.Name)
	}
	if err := json.NewDecoder(io.LimitReader(in, 64<<10)).Decode(m); err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Format > archiveFormat || m.Format < 1 {
		return fmt.Errorf("it has format %d, this program knows %d: use the hatchery that made it (%s)", m.Format, archiveFormat, m.Version)
	}
	return nil
}

// putFile writes one entry into a folder, which it cannot leave; nil = only read it.
func putFile(into *os.Root, h *tar.Header, in io.Reader) error {
	name := filepath.Clean(h.Name)
	top, _, _ := strings.Cut(name, "/")
	if !filepath.IsLocal(name) || top != databaseName && !slices.Contains(stateNames(), top) {
		return fmt.Errorf("entry %.80q does not belong there: it is not one of hatchery's", h.Name)
	}
	if into == nil {
		_, err := io.Copy(io.Discard, in)
		return err
	}
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	switch h.Typeflag {
	case tar.TypeDir:
		return into.Mkdir(name, mode|0o700)
	case tar.TypeSymlink:
		return into.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode|0o400)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		return errors.Join(err, f.Sync(), f.Close())
	}
	return fmt.Errorf("entry %.80q is of kind %q: it is not one of hatchery's", h.Name, h.Typeflag)
}
