package stage0

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PersonalFile is the file in the ISO whose bytes are the reserved area: text padded with
// newlines, which the appliance fills in as the image is downloaded.
const PersonalFile = "hatchery/personal.json"

// ISO is one architecture's USB image, opened and looked through. Safe for concurrent use.
type ISO struct {
	Arch   string
	Size   int64
	Digest string // SHA-256 of the image as it was built, in hex
	file   *os.File
	stamp  stamp
	id     fileID
	at     int64 // of the reserved area
	room   int64 // its size
}

// fileID tells whether a name still leads to the file that was read. Size and time of modification do not: two builds of an
// image, and the manifests of two versions, are often of one size, and copies of the Nix store are all from 1970.
type fileID struct {
	dev, inode uint64
	ctime      unix.Timespec
}

func fileIDOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino, st.Ctim} }

// HasISO tells whether stage0-ARCH.iso is there; it is not looked into.
func (s *Store) HasISO(arch string) bool {
	st, err := os.Stat(s.isoPath(arch))
	return err == nil && st.Mode().IsRegular()
}

func (s *Store) isoPath(arch string) string { return filepath.Join(s.dir, "stage0-"+arch+".iso") }

// ISO opens stage0-ARCH.iso beside the images. ErrNoImage, with the sentence that says how to get one.
// An image that was hashed before is not hashed again unless it was replaced or changed.
func (s *Store) ISO(arch string) (*ISO, error) {
	path := s.isoPath(arch)
	if _, ok := s.slots[arch]; !ok {
		return nil, fmt.Errorf("%w for architecture %q", ErrNoImage, cut(arch))
	}
	s.isoMu.Lock()
	defer s.isoMu.Unlock()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w to make a USB stick from: %s is missing; build it with `nix build .#stage0` and put it in with `hatchery stage0 add ./result`", ErrNoImage, path)
	}
	if err != nil {
		return nil, fmt.Errorf("USB image: %w", err)
	}
	st, err := stampOf(f)
	var now unix.Stat_t
	if err = errors.Join(err, unix.Fstat(int(f.Fd()), &now)); err == nil {
		if old := s.isos[arch]; old != nil && old.stamp == st && old.id == fileIDOf(&now) {
			return old, f.Close()
		}
	}
	var iso *ISO
	if err == nil {
		iso, err = openISO(f, arch, st)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("USB image %s: %w", path, err)
	}
	iso.id = fileIDOf(&now)
	s.isos[arch] = iso // a replaced one stays open for its downloads; its finalizer closes it
	return iso, nil
}

func openISO(f *os.File, arch string, st stamp) (*ISO, error) {
	at, room, err := findInISO(f, st.size, PersonalFile)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, st.size)); err != nil {
		return nil, err
	}
	return &ISO{Arch: arch, Size: st.size, Digest: hex.EncodeToString(h.Sum(nil)), file: f, stamp: st, at: at, room: room}, nil
}

// ErrTooLong says that a personalisation does not fit into the image's reserved area.
var ErrTooLong = errors.New("does not fit into the USB image's reserved area")

// Personal is the image with the text in its reserved area: every other byte and the size are
// the image's own. Each reader has its own position.
func (i *ISO) Personal(text []byte) (*io.SectionReader, error) {
	if int64(len(text)) > i.room {
		return nil, fmt.Errorf("%d bytes: %w (%d)", len(text), ErrTooLong, i.room)
	}
	if now, err := stampOf(i.file); err != nil || now != i.stamp {
		return nil, fmt.Errorf("the USB image for %s was changed in place: put a new one in with `hatchery stage0 add`", i.Arch)
	}
	area := append(bytes.Clone(text), bytes.Repeat([]byte("\n"), int(i.room)-len(text))...)
	return io.NewSectionReader(overlay{i.file, i.at, area}, 0, i.Size), nil
}

// overlay is a file of which one stretch reads as other bytes.
type overlay struct {
	base io.ReaderAt
	at   int64
	area []byte
}

// ReadAt implements io.ReaderAt.
func (o overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.base.ReadAt(p, off)
	from, to := max(off, o.at), min(off+int64(n), o.at+int64(len(o.area)))
	if from < to {
		copy(p[from-off:to-off], o.area[from-o.at:to-o.at])
	}
	return n, err
}
