package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is one disk of a machine: a sparse raw file.
type Disk struct {
	// Bus is "virtio", "nvme", "scsi", "sata" or "usb".
	Bus string
	// Size in bytes; 0 means 2 GiB, or that of Image.
	Size int64
	// Serial is the disk's serial number; "" means one made of bus and position.
	Serial string
	// Nameless leaves the serial number out: a virtio disk then has no name in /dev/disk/by-id.
	Nameless bool
	// Image is a raw file that the disk begins as a copy of; "" means blank.
	Image string
}

// HashDisk is the SHA-256 of what is on a disk image, with the position of every
// block that is not all zero; holes and written zeros count as the same.
func HashDisk(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	const block = 1 << 16
	buf, zero := make([]byte, block), make([]byte, block)
	for off := int64(0); off < st.Size(); {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return "", fmt.Errorf("hash disk %s: %w", path, err)
		}
		off = data / block * block
		n, err := f.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("hash disk %s: %w", path, err)
		}
		if !bytes.Equal(buf[:n], zero[:n]) {
			_ = binary.Write(h, binary.BigEndian, off) // a hash never fails
			h.Write(buf[:n])
		}
		off += int64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// DiskBootBIOS and DiskBootUEFI are what a disk of [MakeBootableDisk] says on the serial port.
const (
	DiskBootBIOS = "LAB-DISK-BOOT bios"
	DiskBootUEFI = "LAB-DISK-BOOT uefi"
)

// MakeBootableDisk writes a 64 MiB raw image that boots on BIOS and on UEFI x64 and
// says so on the serial port: it stands for a machine with a system on its disk.
// efi is an iPXE x64 EFI program, which runs the script that says the words.
func MakeBootableDisk(path, efi string) error {
	const size, start = 64 << 20, 2048 // of the only partition, in sectors
	if err := os.WriteFile(path, bootSector(size/512, start), 0o644); err != nil {
		return err
	}
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	script := filepath.Join(filepath.Dir(path), "autoexec.ipxe")
	if err := os.WriteFile(script, []byte("#!ipxe\necho "+DiskBootUEFI+"\nshell\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(script)
	part := path + "@@1M"
	for _, args := range [][]string{
		{"mkfs.vfat", "-F", "32", "-s", "1", "--offset", "2048", path, fmt.Sprint(size/1024 - 1024)},
		{"mmd", "-i", part, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", part, efi, "::/EFI/BOOT/BOOTX64.EFI"},
		{"mcopy", "-i", part, script, "::/autoexec.ipxe"},
		{"mcopy", "-i", part, script, "::/EFI/BOOT/autoexec.ipxe"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("bootable disk: %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// bootSector is a sector 0 with a DOS partition table of one active EFI system
// partition and 16-bit code that writes [DiskBootBIOS] to the first serial port.
func bootSector(sectors, start uint32) []byte {
	code := []byte{
		0xfa,       // cli
		0x31, 0xc0, // xor ax,ax
		0x8e, 0xd8, // mov ds,ax
		0xfc,       // cld
		0xbe, 0, 0, // mov si,message
		0xac,       // next: lodsb
		0x84, 0xc0, // test al,al
		0x74, 0x12, // jz halt
		0x88, 0xc4, // mov ah,al
		0xba, 0xfd, 0x03, // mov dx,0x3fd (line status)
		0xec,       // wait: in al,dx
		0xa8, 0x20, // test al,0x20 (transmitter empty)
		0x74, 0xfb, // jz wait
		0x88, 0xe0, // mov al,ah
		0xba, 0xf8, 0x03, // mov dx,0x3f8
		0xee,       // out dx,al
		0xeb, 0xe9, // jmp next
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	}
	binary.LittleEndian.PutUint16(code[7:], 0x7c00+uint16(len(code)))
	b := make([]byte, 512)
	copy(b, append(code, "\r\n"+DiskBootBIOS+"\r\n\x00"...))
	entry := b[446:]
	entry[0], entry[4] = 0x80, 0xef // active, EFI system partition
	copy(entry[1:], []byte{0xfe, 0xff, 0xff})
	copy(entry[5:], []byte{0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], start)
	binary.LittleEndian.PutUint32(entry[12:], sectors-start)
	b[510], b[511] = 0x55, 0xaa
	return b
}
