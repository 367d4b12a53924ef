package stage0

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/staged-hive/hatchery/internal/durable"
)

// versionsDir holds the images that Add put in: versions/ARCH/DIGEST/.
const versionsDir = "versions"

var digestRE = regexp.MustCompile(`^[0-9a-f]{16}$`)

// ErrManaged says that the images lie there by somebody else's doing (a Nix configuration for example), who must choose.
var ErrManaged = errors.New("it is a folder that something else manages")

// Version is one image that Add put in.
type Version struct {
	Arch    string    `json:"arch"`
	Version string    `json:"version"`
	Digest  string    `json:"digest"`
	Added   time.Time `json:"added"`
	Current bool      `json:"current"`
}

func (s *Store) versionDir(arch, digest string) string {
	return filepath.Join(s.dir, versionsDir, arch, digest)
}

// fromVersions loads an image that Add put in and that is not the current one. ErrGone.
func (s *Store) fromVersions(arch, digest string) (*Image, error) {
	if !slices.Contains(Arches(), arch) || !digestRE.MatchString(digest) {
		return nil, ErrGone
	}
	im, err := loadImage(s.versionDir(arch, digest), arch)
	if err != nil || im.Digest != digest {
		return nil, ErrGone
	}
	return im, nil
}

// Add copies the images of a stage-0 directory (DESIGN section 4: ARCH/manifest.json …, or
// one image's own folder) into the store, checks the copies, and makes them current.
// An image that is there already is only made current. Nothing changes when it fails.
func (s *Store) Add(dir string) ([]Version, error) {
	var dirs []string
	for _, d := range append([]string{dir}, archDirs(dir)...) {
		if _, err := os.Stat(filepath.Join(d, ManifestName)); err == nil {
			dirs = append(dirs, d)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%s holds no stage-0 image: neither %s nor x86_64/%s nor aarch64/%s is there", dir, ManifestName, ManifestName, ManifestName)
	}
	var done []Version
	for _, d := range dirs {
		v, err := s.addOne(d)
		if err != nil {
			return done, err
		}
		done = append(done, v)
	}
	return done, s.addISOs(dir)
}

// addISOs copies the USB images that lie beside the images, if any.
func (s *Store) addISOs(dir string) error {
	for _, arch := range Arches() {
		name := "stage0-" + arch + ".iso"
		src := filepath.Join(dir, name)
		if _, err := os.Stat(src); err != nil {
			continue
		}
		tmp := filepath.Join(s.dir, ".incoming-"+name)
		if err := errors.Join(removeIfThere(tmp), copyFile(src, tmp)); err != nil {
			return fmt.Errorf("USB image %s: %w", src, errors.Join(err, removeIfThere(tmp)))
		}
		if err := errors.Join(os.Rename(tmp, filepath.Join(s.dir, name)), durable.SyncDir(s.dir)); err != nil {
			return fmt.Errorf("USB image %s: %w", src, err)
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func archDirs(dir string) []string {
	var out []string
	for _, a := range Arches() {
		out = append(out, filepath.Join(dir, a))
	}
	return out
}

func (s *Store) addOne(src string) (Version, error) {
	im, err := loadImage(src, "")
	if err != nil {
		return Version{}, err
	}
	defer im.close()
	dst := s.versionDir(im.Arch, im.Digest)
	if old, err := loadImage(dst, im.Arch); err == nil {
		old.close()
	} else if err := s.copyImage(im, src, dst); err != nil {
		return Version{}, fmt.Errorf("stage-0 %s: %w", im.Version, err)
	}
	if err := s.Use(im.Arch, im.Digest); err != nil {
		return Version{}, err
	}
	return Version{Arch: im.Arch, Version: im.Version, Digest: im.Digest, Added: s.now(), Current: true}, nil
}

// incoming is how the names of folders begin that images are copied into.
const incoming = "incoming-"

// sweep removes the copies that were never finished. One that nothing was added to for an hour is no one's any more.
func (s *Store) sweep(dir string) {
	found, _ := os.ReadDir(dir) // it was just made, or is looked at again at the next copy
	for _, d := range found {
		st, err := d.Info()
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), incoming) && time.Since(st.ModTime()) > time.Hour {
			s.log.Info("removing a copy of a stage-0 image that was never finished", "path", filepath.Join(dir, d.Name()), "err", os.RemoveAll(filepath.Join(dir, d.Name())))
		}
	}
}

// copyImage copies into a temporary folder, syncs, checks the copy and renames it into place.
func (s *Store) copyImage(im *Image, src, dst string) (err error) {
	parent := filepath.Dir(dst)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	s.sweep(parent)
	tmp, err := os.MkdirTemp(parent, incoming)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp)
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for name := range im.Files {
		if err := copyFile(filepath.Join(src, name), filepath.Join(tmp, name)); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(src, ManifestName), filepath.Join(tmp, ManifestName)); err != nil {
		return err
	}
	check, err := loadImage(tmp, im.Arch)
	if err != nil {
		return err
	}
	check.close()
	if err := os.RemoveAll(dst); err != nil { // a damaged earlier copy
		return err
	}
	if err := os.Rename(tmp, dst); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// Use makes an image that Add put in the current one, with one rename: machines that
// fetch their script from now on boot it. ErrGone, ErrManaged.
func (s *Store) Use(arch, digest string) error {
	im, err := s.fromVersions(arch, digest)
	if err != nil {
		return fmt.Errorf("stage-0 %s for %s: %w", cut(digest), cut(arch), err)
	}
	im.close()
	link := filepath.Join(s.dir, arch)
	if st, err := os.Lstat(link); err == nil && st.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s: %w: point --stage0 at an empty folder, or remove it", link, ErrManaged)
	}
	if err := renameio.Symlink(filepath.Join(versionsDir, arch, digest), link); err != nil {
		return fmt.Errorf("making stage-0 %s current: %w", digest, err)
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return fmt.Errorf("making stage-0 %s current: %w", digest, err)
	}
	s.reload(arch)
	return nil
}

// List reports the images that Add put in, newest first.
func (s *Store) List() ([]Version, error) {
	var out []Version
	for _, arch := range Arches() {
		entries, err := os.ReadDir(filepath.Join(s.dir, versionsDir, arch))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stage-0 versions: %w", err)
		}
		current, _ := os.Readlink(filepath.Join(s.dir, arch))
		for _, e := range entries {
			if !digestRE.MatchString(e.Name()) {
				continue
			}
			raw, err := os.ReadFile(filepath.Join(s.versionDir(arch, e.Name()), ManifestName))
			if err != nil {
				continue // being removed
			}
			m, err := ParseManifest(raw)
			if err != nil {
				continue
			}
			v := Version{Arch: arch, Version: m.Version, Digest: e.Name(), Current: filepath.Base(current) == e.Name()}
			if st, err := e.Info(); err == nil {
				v.Added = st.ModTime()
			}
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Version) int {
		if c := b.Added.Compare(a.Added); c != 0 {
			return c
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return out, nil
}

// Remove deletes an image that Add put in and that is not current. ErrGone.
func (s *Store) Remove(arch, digest string) error {
	vs, err := s.List()
	if err != nil {
		return err
	}
	for _, v := range vs {
		if v.Arch != arch || v.Digest != digest {
			continue
		}
		if v.Current {
			return fmt.Errorf("stage-0 %s is the current one for %s: make another one current first", digest, arch)
		}
		return os.RemoveAll(s.versionDir(arch, digest))
	}
	return fmt.Errorf("stage-0 %s for %s: %w", cut(digest), cut(arch), ErrGone)
}
