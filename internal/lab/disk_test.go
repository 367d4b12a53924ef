package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHashDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.raw")
	hash := func() string {
		t.Helper()
		h, err := HashDisk(path)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if err := makeDisk(path, Disk{Size: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	blank := hash()
	write := func(off int64, b string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(b), off); err != nil {
			t.Fatal(err)
		}
	}
	write(1<<20, "\x00\x00\x00")
	if got := hash(); got != blank {
		t.Error("zeros that were written count as a change")
	}
	write(5<<20+17, "x")
	one := hash()
	if one == blank {
		t.Error("one byte that was written goes unnoticed")
	}
	write(5<<20+17, "\x00")
	write(6<<20+17, "x")
	if hash() == one {
		t.Error("the same byte elsewhere goes unnoticed")
	}
}

func TestBootSector(t *testing.T) {
	t.Parallel()
	b := bootSector(131072, 2048)
	if len(b) != 512 || b[510] != 0x55 || b[511] != 0xaa {
		t.Fatalf("not a boot sector: %d bytes, ends % x", len(b), b[510:])
	}
	at := int(b[7]) + int(b[8])<<8 - 0x7c00
	if got := string(b[at+2 : at+2+len(DiskBootBIOS)]); got != DiskBootBIOS {
		t.Errorf("the code points at %q, want the message", got)
	}
	if b[446] != 0x80 || b[450] != 0xef {
		t.Errorf("partition entry % x: want an active EFI system partition", b[446:462])
	}
}
