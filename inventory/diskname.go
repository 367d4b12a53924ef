package inventory

import (
	"fmt"
	"slices"
	"strings"
)

// PathPrefix begins the name of a disk that is known by its port alone: "path:" and the base name of a link in
// /dev/disk/by-path. A port is not a disk: whatever hangs there next has the same name, so only a person pins it.
const PathPrefix = "path:"

// ByPath reports whether a disk's name is that of its port.
func ByPath(disk string) bool { return strings.HasPrefix(disk, PathPrefix) }

// DevicePath is where a disk is found by its name: below /dev/disk/by-path for a port's, else below
// /dev/disk/by-id; "" for "". nix/modules/partitioning/default.nix does the same.
func DevicePath(disk string) string {
	if port, ok := strings.CutPrefix(disk, PathPrefix); ok {
		return "/dev/disk/by-path/" + port
	}
	if disk == "" {
		return ""
	}
	return "/dev/disk/by-id/" + disk
}

// StableName is what a plan calls the disk: its ID, else PathPrefix and its port, "" when it has neither.
func (d *Disk) StableName() string {
	if d.ID == "" && d.Path != "" {
		return PathPrefix + d.Path
	}
	return d.ID
}

// Called reports whether a name is one of the disk's: a by-id name, or that of its port.
func (d *Disk) Called(name string) bool {
	if port, ok := strings.CutPrefix(name, PathPrefix); ok {
		return port != "" && port == d.Path
	}
	return name != "" && (d.ID == name || slices.Contains(d.ByID, name))
}

// CheckDiskName accepts what a disk is called in pins and plans: what CheckDiskID accepts, or PathPrefix
// and such a name. ErrInvalid.
func CheckDiskName(name string) error {
	return checkUdevName(strings.TrimPrefix(name, PathPrefix), "a disk's name from /dev/disk/by-id, or "+PathPrefix+"NAME from /dev/disk/by-path")
}

// CheckDiskID accepts the base name of a link in /dev/disk/by-id. It reaches Nix and shell code as data, so nothing
// but udev's safe alphabet passes, nor what would look like a port's name. ErrInvalid.
func CheckDiskID(id string) error {
	const want = "a name from /dev/disk/by-id"
	if ByPath(id) {
		return fmt.Errorf("disk id %q: not %s: %w", cut(id), want, ErrInvalid)
	}
	return checkUdevName(id, want)
}

// checkUdevName accepts the base name of one of udev's links: its safe alphabet (systemd 252
// src/shared/udev-util.c), no '/', at most 255. ErrInvalid.
func checkUdevName(s, want string) error {
	ok := s != "" && s != "." && s != ".." && len(s) <= 255
	for _, c := range s {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("#+-.:=@_", c))
	}
	if !ok {
		return fmt.Errorf("disk id %q: not %s: %w", cut(s), want, ErrInvalid)
	}
	return nil
}
