package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/web"
)

type bootFile struct{ name, use string }

// bootFiles are the iPXE files the appliance serves, by their names in the --ipxe folder.
var bootFiles = []bootFile{
	{"undionly.kpxe", "BIOS"},
	{"snponly.efi", "UEFI x64"},
	{"ipxe-amd64.efi", "UEFI x64, own network drivers"},
	{"ipxe-arm64.efi", "UEFI arm64"},
}

// media answers the boot media page from the iPXE folder and the stage-0 store.
type media struct {
	dir    string
	images *stage0.Store
	folder string // the stage-0 folder

	mu     sync.Mutex
	hashed map[string]hashedFile
}

// maxBootFile bounds what is read of a boot file, in bytes; TFTP serves no larger ones.
const maxBootFile = 32 << 20

type hashedFile struct {
	size    int64
	changed time.Time
	sha256  string
	version string // "" where it cannot be read
}

// sbatVersion finds iPXE's version in the SBAT section that its EFI builds carry since 2021. BIOS builds are
// compressed and tell nothing.
var sbatVersion = regexp.MustCompile(`ipxe,\d+,iPXE,[^,\n]{1,40},([!-+\--~]{1,60}),`)

// shims are the shims for Secure Boot that a person put into the iPXE folder.
func (m *media) shims() []string {
	return slices.DeleteFunc(bootfile.Shims(), func(name string) bool {
		st, err := os.Stat(filepath.Join(m.dir, name))
		return err != nil || !st.Mode().IsRegular()
	})
}

// Media implements web.Media.
func (m *media) Media() web.MediaStatus {
	out := web.MediaStatus{IPXEDir: m.dir, Stage0Dir: m.folder}
	files := bootFiles
	for _, name := range m.shims() {
		files = append(files[:len(files):len(files)], bootFile{name, "UEFI with Secure Boot: loads the signed iPXE beside it"})
	}
	for _, f := range files {
		b := web.BootFile{Name: f.name, For: f.use}
		if h, err := m.hash(f.name); err != nil {
			b.Error = "missing: put iPXE's " + f.name + " into " + m.dir
		} else {
			b.Size, b.SHA256, b.Version = h.size, h.sha256, h.version
		}
		out.IPXE = append(out.IPXE, b)
	}
	for _, s := range m.images.Status() {
		if s.Version == "" && strings.HasPrefix(s.Problem, stage0.ErrNoImage.Error()) {
			continue // an architecture that nobody has an image for is no fault; warnings tells of having none at all
		}
		out.Stage0 = append(out.Stage0, web.Image{Arch: s.Arch, Version: s.Version, Size: s.Bytes, SHA256: s.Digest, Error: s.Problem, ISO: m.images.HasISO(s.Arch)})
	}
	versions, err := m.images.List()
	if err != nil {
		return out // the images in use are told of all the same
	}
	for _, v := range versions {
		out.Versions = append(out.Versions, web.ImageVersion{Arch: v.Arch, Version: v.Version, Digest: v.Digest, Added: v.Added, Current: v.Current})
	}
	return out
}

// UseImage implements web.Images.
func (m *media) UseImage(arch, digest string) error {
	err := m.images.Use(arch, digest)
	switch {
	case errors.Is(err, stage0.ErrGone):
		return fmt.Errorf("stage-0 image %s for %s is %w: it is kept no longer, or damaged; nothing was changed", cell(digest), cell(arch), inventory.ErrNotFound)
	case errors.Is(err, stage0.ErrManaged):
		return fmt.Errorf("the stage-0 image for %s was put there by something else, a Nix configuration for example: choose it there: %w", cell(arch), inventory.ErrConflict)
	}
	return err
}

func (m *media) hash(name string) (hashedFile, error) {
	f, err := os.Open(filepath.Join(m.dir, name))
	if err != nil {
		return hashedFile{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return hashedFile{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.hashed[name]; ok && old.size == st.Size() && old.changed.Equal(st.ModTime()) {
		return old, nil
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxBootFile))
	if err != nil {
		return hashedFile{}, err
	}
	sum := sha256.Sum256(raw)
	h := hashedFile{size: st.Size(), changed: st.ModTime(), sha256: hex.EncodeToString(sum[:])}
	if v := sbatVersion.FindSubmatch(raw); v != nil {
		h.version = string(v[1])
	}
	if m.hashed == nil {
		m.hashed = map[string]hashedFile{}
	}
	m.hashed[name] = h
	return h, nil
}

// warnings are what keeps machines from booting or installing, for the page's self-check.
func (a *appliance) warnings() []web.Warning {
	out := a.media.warnings()
	if a.cfg.complaint != "" {
		out = append(out, web.Warning{Text: "What was chosen on the page could not be started, so it is as it was before: " + a.cfg.complaint + ".",
			Hint: "Choose again under Settings, Set up. What did not work is kept in " + filepath.Join(a.cfg.Data, rejectedName) + "."})
	}
	if err := a.db.Room(); err != nil {
		out = append(out, web.Warning{Text: "The disk of " + a.cfg.Data + " is full: machines boot and keep their addresses, but nothing new is begun.",
			Hint: "Free some space there, old stage-0 images and logs for example; waiting installs begin by themselves then."})
	}
	return out
}

// health is why nothing, or nothing new, can be saved, for anybody who asks /healthz: without paths.
func (a *appliance) health() error {
	err := a.db.Health()
	switch {
	case errors.Is(err, boltdb.ErrDisk):
		return errors.New("the disk failed under the database: nothing more is saved before it is mended and hatchery is restarted; the log says more")
	case err != nil:
		return errors.New("the disk is full: machines boot and keep their addresses, but nothing new is begun before some space is free")
	}
	return nil
}

// warnings are what boot files and images there lack.
func (m *media) warnings() []web.Warning {
	var out []web.Warning
	for _, f := range m.Media().IPXE {
		if f.Error != "" {
			out = append(out, web.Warning{Text: "The iPXE boot file for " + f.For + " (" + f.Name + ") is missing.",
				Hint: "Machines of that kind cannot netboot. Debian's package `ipxe` has every one of these files; else put iPXE's own into " + m.dir + "."})
		}
	}
	for _, s := range m.images.Status() {
		if s.Version != "" {
			return out
		}
	}
	return append(out, web.Warning{Text: "There is no stage-0 image, so machines find nothing to boot.",
		Hint: "Build one with `nix build .#stage0` on a machine with Nix and put it in with `hatchery stage0 add ./result`; a running appliance takes it at once."})
}
