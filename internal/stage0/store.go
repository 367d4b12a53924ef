package stage0

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoImage says that there is no image to boot; the wrapping error says how to get one.
var ErrNoImage = errors.New("no stage-0 image")

// ErrGone says that an image of that digest is not here any more.
var ErrGone = errors.New("this version of stage-0 is no longer here: power the machine on again")

// keepOld is how many replaced images per architecture stay open for machines in the middle of a boot.
const keepOld = 3

// recheck is how often a use looks whether the manifest was replaced.
const recheck = time.Second

// retryDamaged is how long a damaged image is left alone before it is hashed again.
const retryDamaged = 10 * time.Second

// Config is what a Store needs.
type Config struct {
	// Dir holds ARCH/manifest.json and its files; it may be missing.
	Dir string
	Log *slog.Logger     // nil = none
	Now func() time.Time // nil = time.Now
}

// Store hands out the images of a directory. Safe for concurrent use.
type Store struct {
	dir string
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	slots map[string]*slot

	oldMu sync.Mutex // held while an image that is not current is hashed

	isoMu sync.Mutex // held while one is hashed
	isos  map[string]*ISO
}

// slot is what is known of one architecture; guarded by Store.mu.
type slot struct {
	current *Image
	old     []*Image // newest last
	err     error    // why the newest manifest is not current, nil when it is
	seen    fileID   // of its manifest
	checked time.Time
	loading bool
}

// Open loads and verifies the images of the directory. Missing and damaged images are
// states that Image and Status report, not errors.
func Open(c Config) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("stage-0 store: no directory given")
	}
	s := &Store{dir: c.Dir, log: c.Log, now: c.Now, slots: map[string]*slot{}, isos: map[string]*ISO{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, arch := range Arches() {
		s.slots[arch] = &slot{}
		s.reload(arch)
	}
	return s, nil
}

// Close lets go of all images; no Open of their files works afterwards.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		for _, im := range append(sl.old, sl.current) {
			if im != nil {
				im.close()
			}
		}
		sl.current, sl.old, sl.err = nil, nil, fmt.Errorf("%w: the appliance is stopping", ErrNoImage)
	}
	s.isoMu.Lock()
	defer s.isoMu.Unlock()
	for arch, iso := range s.isos {
		_ = iso.file.Close()
		delete(s.isos, arch)
	}
}

// Image is the image that machines of arch boot now. ErrNoImage, with the sentence that
// says how to get one. A replaced manifest is loaded in the background; until it checks
// out the last good image is returned.
func (s *Store) Image(arch string) (*Image, error) {
	s.mu.Lock()
	sl, ok := s.slots[arch]
	if !ok {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w for architecture %q: x86_64 and aarch64 are supported", ErrNoImage, cut(arch))
	}
	due := !sl.loading && s.now().Sub(sl.checked) >= recheck
	if due {
		sl.checked = s.now()
		due = s.manifestID(arch) != sl.seen || sl.current != nil && sl.current.stale()
		sl.loading = due
	}
	im, err := sl.current, sl.err
	s.mu.Unlock()
	if due {
		if im == nil { // nothing to go on with: wait for it
			s.reload(arch)
			s.mu.Lock()
			im, err = sl.current, sl.err
			s.mu.Unlock()
		} else {
			go s.reload(arch)
		}
	}
	if im == nil {
		return nil, err
	}
	return im, nil
}

// ByDigest is the image of that digest, current or not. ErrGone.
func (s *Store) ByDigest(arch, digest string) (*Image, error) {
	if im := s.kept(arch, digest); im != nil {
		return im, nil
	}
	s.oldMu.Lock()
	defer s.oldMu.Unlock()
	if im := s.kept(arch, digest); im != nil { // somebody else asked for it meanwhile
		return im, nil
	}
	im, err := s.fromVersions(arch, digest) // takes seconds: nobody else waits for it
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retire(s.slots[arch], im)
	return im, nil
}

// kept is the image of that digest if it is open, else nil.
func (s *Store) kept(arch, digest string) *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, ok := s.slots[arch]
	if !ok {
		return nil
	}
	for _, im := range append(sl.old[:len(sl.old):len(sl.old)], sl.current) {
		if im != nil && im.Digest == digest {
			return im
		}
	}
	return nil
}

// retire keeps im among the old images and drops the oldest beyond keepOld.
func (s *Store) retire(sl *slot, im *Image) {
	sl.old = append(sl.old, im)
	for len(sl.old) > keepOld {
		// Its files close with the last download: the finalizer of os.File does it.
		sl.old = sl.old[1:]
	}
}

// manifestID is the file that the name of the manifest leads to now; the zero value when there is none.
func (s *Store) manifestID(arch string) fileID {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.dir, arch, ManifestName), &st); err != nil {
		return fileID{}
	}
	return fileIDOf(&st)
}

// reload reads the manifest of arch and makes its image the current one when it checks out.
func (s *Store) reload(arch string) {
	id := s.manifestID(arch)
	im, err := loadImage(filepath.Join(s.dir, arch), arch)
	if errors.Is(err, fs.ErrNotExist) && id == (fileID{}) {
		err = s.missing(arch)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[arch]
	sl.loading, sl.checked, sl.err = false, s.now(), err
	switch {
	case err == nil && sl.current != nil && sl.current.Digest == im.Digest:
		sl.current, sl.seen = im, id
	case err == nil:
		if sl.current != nil {
			s.retire(sl, sl.current)
		}
		sl.current, sl.seen = im, id
		s.log.Info("stage-0 image loaded", "arch", arch, "version", im.Version, "digest", im.Digest)
	case errors.Is(err, ErrNoImage):
		sl.seen = id
		s.log.Warn("no stage-0 image", "arch", arch, "err", err)
	default: // a copy may be under way: look again at the next use
		if sl.current != nil && sl.current.stale() {
			sl.current = nil // its bytes are gone
		}
		sl.checked, sl.seen = s.now().Add(retryDamaged-recheck), fileID{}
		sl.err = fmt.Errorf("%w for %s that can be used: %w", ErrNoImage, arch, err)
		s.log.Error("stage-0 image refused", "arch", arch, "err", err)
	}
}

func (s *Store) missing(arch string) error {
	return fmt.Errorf("%w for %s in %s: build one with `nix build .#stage0` (on a machine with Nix) and put it in with `hatchery stage0 add ./result`",
		ErrNoImage, arch, s.dir)
}

// Status is one architecture's state, for pages and `hatchery stage0 list`.
type Status struct {
	Arch    string `json:"arch"`
	Version string `json:"version,omitempty"` // "" = no image
	Digest  string `json:"digest,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"` // kernel and initrd
	// Problem says why there is no image, or why a newer one was not taken; "" = all is well.
	Problem string `json:"problem,omitempty"`
}

// Status reports every architecture, loading what was replaced.
func (s *Store) Status() []Status {
	var out []Status
	for _, arch := range Arches() {
		im, err := s.Image(arch)
		st := Status{Arch: arch}
		if im != nil {
			st.Version, st.Digest, st.Bytes = im.Version, im.Digest, im.Bytes()
			s.mu.Lock()
			err = s.slots[arch].err
			s.mu.Unlock()
		}
		if err != nil {
			st.Problem = err.Error()
		}
		out = append(out, st)
	}
	return out
}
