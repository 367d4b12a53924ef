package hive

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long a lock of the repository may be a person's: git holds one while an editor asks for a message. Our own
// git is ended after GitTimeout.
const lockPatience = 10 * time.Minute

// dropLocks removes the repository's lock files that are stale: a git that was killed, or had the power cut, leaves its own behind
// now and then, and no other git does anything until it is gone.
func (h *Hive) dropLocks(stale func(made time.Time) bool) {
	for _, pattern := range []string{"*.lock", "refs/heads/*.lock"} {
		for _, path := range h.matches(pattern) {
			st, err := os.Lstat(path)
			if err != nil || !stale(st.ModTime()) {
				continue
			}
			h.cfg.Log.Warn("removed a lock that a git which is gone left in the hive", "path", path, "err", os.Remove(path))
		}
	}
}

func (h *Hive) matches(pattern string) (paths []string) {
	dir := filepath.Join(h.cfg.Dir, ".git", filepath.Dir(pattern))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no repository yet
	}
	for _, e := range entries {
		if ok, err := filepath.Match(filepath.Base(pattern), e.Name()); ok && err == nil {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// abandoned reports whether nobody can hold a lock of that age: it is from before the machine started, or older than lockPatience.
func abandoned(made time.Time) bool {
	age := time.Since(made)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil && age > time.Duration(info.Uptime+1)*time.Second {
		return true
	}
	return age > lockPatience
}
