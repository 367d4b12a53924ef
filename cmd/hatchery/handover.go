package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// handOver makes the data folder and gives what root owns in it to the appliance's user. A folder that is not
// the appliance's is left alone, and so is, with a warning, a file that has a name outside the folder, too: whoever
// planted that hard link would be given another program's file.
func handOver(data string, uid, gid int, log *slog.Logger) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("data folder %s: %w", data, err)
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	ours := len(entries) == 0
	for _, e := range entries {
		ours = ours || e.Name() == databaseName || e.Name() == "stage0" || e.Name() == "hive"
	}
	if !ours {
		return fmt.Errorf("%s is no data folder of Hatchery, so its files are not handed to the user %d: give --data an empty folder, or start with --user root", data, uid)
	}
	names := map[inode]uint64{} // how many each file has in the folder
	walk := func(each func(path string, st *syscall.Stat_t) error) error {
		return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
			var info fs.FileInfo
			if err == nil {
				info, err = d.Info()
			}
			if err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 {
					err = each(path, st)
				}
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a socket may go away meanwhile
				return fmt.Errorf("hand the data folder to user %d: %w", uid, err)
			}
			return nil
		})
	}
	if err := walk(func(_ string, st *syscall.Stat_t) error {
		names[inode{st.Dev, st.Ino}]++
		return nil
	}); err != nil {
		return err
	}
	return walk(func(path string, _ *syscall.Stat_t) error {
		outside, err := give(root, path, uid, gid, names)
		if outside > 0 {
			log.Warn("a file of the data folder is not handed to the appliance's user: it has another name outside the folder. If it belongs here, put a copy in its place",
				"path", path, "outside", outside, "user", uid)
		}
		return err
	})
}

// inode names a file by itself, whatever its names are.
type inode struct{ dev, ino uint64 }

// give gives the user one entry that root owns, unless it has names outside the folder: how many those are. It looks at and changes one
// and the same file, whatever its name leads to meanwhile.
func give(root *os.Root, path string, uid, gid int, names map[inode]uint64) (outside uint64, err error) {
	f, err := root.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	switch here := names[inode{st.Dev, st.Ino}]; {
	case st.Uid != 0:
		return 0, nil
	case st.Mode&unix.S_IFMT != unix.S_IFDIR && uint64(st.Nlink) > here:
		return uint64(st.Nlink) - here, nil // 32 bits on arm64
	}
	if err := unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return 0, fmt.Errorf("chown %s: %w", path, err)
	}
	return 0, nil
}
