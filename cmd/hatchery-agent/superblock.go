package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// magic is a superblock's mark; names are libblkid's.
type magic struct {
	name string
	off  int64 // from the start, or from the end when negative
	mark string
}

// magics are the contents that are told by a mark at a fixed place (util-linux
// libblkid/src/superblocks).
var magics = []magic{
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"ntfs", 3, "NTFS    "},
	{"exfat", 3, "EXFAT   "},
	{"swap", 4086, "SWAPSPACE2"},
	{"swap", 4086, "SWAP-SPACE"},
	{"swsuspend", 4086, "S1SUSPEND"},
	{"crypto_LUKS", 0, "LUKS\xba\xbe"},
	{"linux_raid_member", 0, "\xfc\x4e\x2b\xa9"},
	{"linux_raid_member", 4096, "\xfc\x4e\x2b\xa9"},
	{"isw_raid_member", -1024, "Intel Raid ISM Cfg Sig. "},
	{"ddf_raid_member", -512, "\xde\x11\xde\x11"},
	{"iso9660", 32769, "CD001"},
	{"squashfs", 0, "hsqs"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"bcache", 4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"bcachefs", 4120, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"ceph_bluestore", 0, "bluestore block device"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
}

// probe tells what is on a disk or partition of the given size, all that is found, and the
// file system's label. It only reads.
func probe(r io.ReaderAt, size int64) (found []string, label string) {
	found = []string{}
	add := func(name string) {
		for _, f := range found {
			if f == name {
				return
			}
		}
		found = append(found, name)
	}
	for _, g := range magics {
		off := g.off
		if off < 0 {
			off += size / 512 * 512
		}
		if string(readAt(r, off, len(g.mark))) == g.mark {
			add(g.name)
		}
	}
	if fatKind(readAt(r, 0, 512)) != "" {
		add("vfat")
	}
	if e := extKind(readAt(r, 1024, 256)); e != "" {
		add(e)
	}
	for s := int64(0); s < 4; s++ { // LVM2's label lies in one of the first four sectors
		if b := readAt(r, s*512, 32); len(b) == 32 && string(b[:8]) == "LABELONE" && string(b[24:32]) == "LVM2 001" {
			add("LVM2_member")
		}
	}
	if oldRAID(r, size) {
		add("linux_raid_member")
	}
	if zfs(r, size) {
		add("zfs_member")
	}
	if len(found) > 0 {
		label = fsLabel(r, found[0])
	}
	return found, label
}

// extKind tells ext2, 3 and 4 apart by their feature words (ext4's disk layout: superblock at 1024).
func extKind(sb []byte) string {
	if len(sb) < 256 || binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 {
		return ""
	}
	compat, incompat, ro := binary.LittleEndian.Uint32(sb[0x5c:]), binary.LittleEndian.Uint32(sb[0x60:]), binary.LittleEndian.Uint32(sb[0x64:])
	switch {
	case incompat&0x8 != 0:
		return "jbd"
	case incompat&^uint32(0x2|0x4|0x10) != 0 || ro&^uint32(0x1|0x2|0x4) != 0:
		return "ext4"
	case compat&0x4 != 0:
		return "ext3"
	}
	return "ext2"
}

// oldRAID finds md superblocks 1.0 (8 KiB before the end) and 0.90 (64 KiB before the end).
func oldRAID(r io.ReaderAt, size int64) bool {
	const mark = "\xfc\x4e\x2b\xa9"
	at10, at090 := (size/512-16)&^7*512, size&^0xffff-0x10000
	return size > 1<<17 && (string(readAt(r, at10, 4)) == mark || string(readAt(r, at090, 4)) == mark)
}

// zfs finds an uberblock in the first label (128 KiB in, up to 128 of 1 KiB), in either byte order.
func zfs(r io.ReaderAt, size int64) bool {
	if size < 64<<20 {
		return false
	}
	b := readAt(r, 128<<10, 128<<10)
	hits := 0
	for at := 0; at+8 <= len(b); at += 1024 {
		if binary.LittleEndian.Uint64(b[at:]) == 0x00bab10c || binary.BigEndian.Uint64(b[at:]) == 0x00bab10c {
			hits++
		}
	}
	return hits >= 4
}

// labels are where file systems keep their label.
var labels = map[string]struct {
	off int64
	n   int
}{
	"ext2": {1024 + 120, 16}, "ext3": {1024 + 120, 16}, "ext4": {1024 + 120, 16}, "xfs": {108, 12},
	"btrfs": {0x1012b, 256}, "swap": {1024 + 28, 16}, "iso9660": {32808, 32},
}

func fsLabel(r io.ReaderAt, name string) string {
	if name == "vfat" {
		b := readAt(r, 0, 512)
		at := 43
		if strings.HasPrefix(string(b[82:]), "FAT32") {
			at = 71
		}
		l := strings.TrimSpace(string(b[at : at+11]))
		if l == "NO NAME" {
			return ""
		}
		return l
	}
	l, ok := labels[name]
	if !ok {
		return ""
	}
	b := readAt(r, l.off, l.n)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.TrimSpace(string(b))
}
