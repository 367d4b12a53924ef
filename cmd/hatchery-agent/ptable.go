package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/staged-hive/hatchery/inventory"
)

// table is what a disk's partition table says.
type table struct {
	Kind     string // "gpt", "dos", "" = none
	Parts    []part
	BootCode bool // sector 0 holds code that a BIOS would start
}

// part is one partition as the table has it.
type part struct {
	inventory.Partition
	start  int64 // bytes
	active bool  // MBR's boot flag
}

// Partition types that firmware starts from (UEFI 2.10 §5.3.3; GRUB's BIOS boot partition).
const (
	typeESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	typeBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
	typeMBRESP   = "0xef"
)

// bootable reports whether firmware could start something: an ESP, an active or BIOS-boot
// partition, or code in sector 0.
func (t table) bootable() bool {
	for _, p := range t.Parts {
		if p.active || p.Type == typeESP || p.Type == typeBIOSBoot || p.Type == typeMBRESP {
			return true
		}
	}
	return t.BootCode
}

// readTable reads the partition table of a disk: GPT (either copy), else MBR.
func readTable(r io.ReaderAt, size, sector int64) table {
	var t table
	mbr := readAt(r, 0, 512)
	signed := len(mbr) == 512 && mbr[510] == 0x55 && mbr[511] == 0xaa
	t.BootCode = signed && !blank(mbr[:440])
	for _, lba := range []int64{1, size/sector - 1} { // UEFI 2.10 §5.3.2: the primary header, then the backup
		if parts, ok := readGPT(r, lba, sector, size); ok {
			t.Kind, t.Parts = "gpt", parts
			return t
		}
	}
	if signed && looksLikeMBR(mbr) {
		t.Kind, t.Parts = "dos", readMBR(r, mbr, sector, size)
	}
	return t
}

func readAt(r io.ReaderAt, off int64, n int) []byte {
	if off < 0 {
		return nil
	}
	b := make([]byte, n)
	k, err := r.ReadAt(b, off)
	if err != nil && err != io.EOF {
		return nil
	}
	return b[:k]
}

func blank(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// readGPT reads the header at lba and its entries (UEFI 2.10 §5.3).
func readGPT(r io.ReaderAt, lba, sector, size int64) ([]part, bool) {
	h := readAt(r, lba*sector, 92)
	if len(h) < 92 || string(h[:8]) != "EFI PART" {
		return nil, false
	}
	at, n, each := int64(binary.LittleEndian.Uint64(h[72:])), binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if at < 1 || at > size/sector || each < 128 || each > 4096 {
		return nil, true // a table it is, though one that says nothing sensible
	}
	var out []part
	for i := uint32(0); i < min(n, inventory.MaxPartitions); i++ {
		e := readAt(r, at*sector+int64(i)*int64(each), 128)
		if len(e) < 128 {
			break
		}
		if blank(e[:16]) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first > last || last > uint64(size/sector) {
			continue
		}
		out = append(out, part{start: int64(first) * sector, Partition: inventory.Partition{
			Number: int(i) + 1, SizeBytes: (last - first + 1) * uint64(sector), Label: utf16Text(e[56:128]), Type: guid(e[:16]), UUID: guid(e[16:32]),
		}})
	}
	return out, true
}

// guid writes a GUID as UEFI stores it: the first three fields little-endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Text(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// looksLikeMBR tells a partition table from a file system's boot sector, as libblkid does:
// every entry's flag is 0 or 0x80, and the sector is none of FAT, NTFS or exFAT.
func looksLikeMBR(mbr []byte) bool {
	for i := range 4 {
		if flag := mbr[446+16*i]; flag != 0 && flag != 0x80 {
			return false
		}
	}
	return fatKind(mbr) == "" && !bytes.HasPrefix(mbr[3:], []byte("NTFS    ")) && !bytes.HasPrefix(mbr[3:], []byte("EXFAT   "))
}

func readMBR(r io.ReaderAt, mbr []byte, sector, size int64) []part {
	var out []part
	disk := binary.LittleEndian.Uint32(mbr[440:])
	for i := range 4 {
		e := mbr[446+16*i : 446+16*i+16]
		p, ok := mbrPart(e, 0, sector, size, i+1, disk)
		if !ok {
			continue
		}
		out = append(out, p)
		if e[4] == 0x05 || e[4] == 0x0f || e[4] == 0x85 {
			out = append(out, readLogical(r, p.start, sector, size, disk)...)
		}
	}
	return out
}

func mbrPart(e []byte, base, sector, size int64, number int, disk uint32) (part, bool) {
	start, n := base+int64(binary.LittleEndian.Uint32(e[8:]))*sector, int64(binary.LittleEndian.Uint32(e[12:]))*sector
	if e[4] == 0 || e[4] == 0xee || n == 0 || start > size {
		return part{}, false
	}
	return part{start: start, active: e[0] == 0x80, Partition: inventory.Partition{
		Number: number, SizeBytes: uint64(n), Type: fmt.Sprintf("0x%02x", e[4]), UUID: fmt.Sprintf("%08x-%02x", disk, number),
	}}, true
}

// readLogical walks the chain of extended boot records, which may be a circle.
func readLogical(r io.ReaderAt, ext, sector, size int64, disk uint32) []part {
	var out []part
	at := ext
	for number := 5; number < 64; number++ {
		b := readAt(r, at, 512)
		if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
			break
		}
		if p, ok := mbrPart(b[446:462], at, sector, size, number, disk); ok {
			out = append(out, p)
		}
		next := int64(binary.LittleEndian.Uint32(b[470:]))
		if b[466] == 0 || next == 0 {
			break
		}
		at = ext + next*sector
	}
	return out
}

// fatKind is "vfat" when the sector is a FAT file system's boot sector.
func fatKind(b []byte) string {
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
		return ""
	}
	if strings.HasPrefix(string(b[54:]), "FAT1") || strings.HasPrefix(string(b[82:]), "FAT32") || strings.HasPrefix(string(b[54:]), "FAT  ") {
		return "vfat"
	}
	return ""
}
