package stage0

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// ManifestName is the file of an image that says what it is.
const ManifestName = "manifest.json"

// File is one file of a loaded image.
type File struct {
	Name    string
	Size    int64
	SHA256  string // hex
	ModTime time.Time
	pin     *os.File // keeps the checked bytes reachable when the name is swapped
	stamp   stamp
}

// Open opens the file that was checked, with an offset of its own; the caller closes it.
// It fails when the bytes were changed in place since.
func (f *File) Open() (*os.File, error) {
	// A second open of the same inode: the name may already lead to a newer image.
	o, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.pin.Fd()))
	runtime.KeepAlive(f.pin)
	if err != nil {
		return nil, fmt.Errorf("stage-0 file %s: %w", f.Name, err)
	}
	now, err := stampOf(o)
	if err != nil || now != f.stamp {
		_ = o.Close()
		return nil, fmt.Errorf("stage-0 file %s was changed in place after it was checked: put new images in with `hatchery stage0 add`", f.Name)
	}
	return o, nil
}

// stamp tells whether a file is still the one that was hashed.
type stamp struct {
	size  int64
	mtime time.Time
}

func stampOf(f *os.File) (stamp, error) {
	st, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stamp{st.Size(), st.ModTime()}, nil
}

// Image is one loaded, verified image. It is never changed; safe for concurrent use.
type Image struct {
	Manifest
	// Digest addresses the image: the first 16 hex digits of its manifest's SHA-256.
	Digest string
	// Raw is the manifest as it was read.
	Raw   []byte
	Files map[string]*File
}

// Bytes is how much a machine loads: the kernel and all initrd.
func (im *Image) Bytes() int64 {
	n := im.Files[im.Kernel].Size
	for _, f := range im.Initrd {
		n += im.Files[f].Size
	}
	return n
}

func digestOf(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:8])
}

// loadImage opens dir's image and checks every file. arch is the one the folder's name promises, "" for any.
func loadImage(dir, arch string) (*Image, error) {
	raw, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("stage-0 image in %s: %w", dir, err)
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("stage-0 image in %s: %w", dir, err)
	}
	if arch != "" && m.Arch != arch {
		return nil, fmt.Errorf("stage-0 image in %s: the manifest says %s", dir, m.Arch)
	}
	im := &Image{Manifest: m, Digest: digestOf(raw), Raw: raw, Files: map[string]*File{}}
	for name, sum := range m.SHA256 {
		f, err := loadFile(dir, name, sum)
		if err != nil {
			im.close()
			return nil, err
		}
		im.Files[name] = f
	}
	return im, nil
}

func loadFile(dir, name, sum string) (*File, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("stage-0 file %s is missing: copy the whole folder again", path)
	}
	if err != nil {
		return nil, fmt.Errorf("stage-0 file: %w", err)
	}
	st, err := stampOf(f)
	if err == nil {
		h := sha256.New()
		_, err = io.Copy(h, f)
		if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != sum {
			err = fmt.Errorf("its SHA-256 is %s, the manifest says %s: it is damaged or half copied", got, sum)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("stage-0 file %s: %w", path, err)
	}
	return &File{Name: name, Size: st.size, SHA256: sum, ModTime: st.mtime, pin: f, stamp: st}, nil
}

// stale reports whether a file was changed in place since it was checked.
func (im *Image) stale() bool {
	for _, f := range im.Files {
		if now, err := stampOf(f.pin); err != nil || now != f.stamp {
			return true
		}
	}
	return false
}

func (im *Image) close() {
	for _, f := range im.Files {
		_ = f.pin.Close()
	}
}
