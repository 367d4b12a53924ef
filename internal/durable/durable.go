// Package durable writes files that outlive a power cut: whole or not at all, with the folders that lead to them. What a file is
// renamed to, and that a folder was made, is on the disk only once the folder above was synced, on file systems such as btrfs
// even when another file was synced since (fsync(2), NOTES). It locks nothing: two writers of one file leave either's content.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// WriteFile puts content in the place of the file at path, whatever there was, with that mode. Folders that are missing are made, 0700.
// When it returns nil, file and folders are on the disk; after an error the file is as it was or as it is to be.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := mkdir(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := renameio.WriteFile(path, content, mode, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(dir)
}

// mkdir makes a folder and those above it.
func mkdir(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes durable which names a folder has.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
