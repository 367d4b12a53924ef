package stage0

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Arches are the architectures that an image can be for, as NixOS names them.
func Arches() []string { return []string{"x86_64", "aarch64"} }

// Limits of a manifest.
const (
	maxManifest = 64 << 10
	maxFiles    = 32
	maxCmdline  = 1024
)

// Manifest describes one image: manifest.json of DESIGN section 4.
type Manifest struct {
	Arch    string   `json:"arch"`    // "x86_64", "aarch64"
	Version string   `json:"version"` // for people
	Kernel  string   `json:"kernel"`  // file name
	Initrd  []string `json:"initrd"`  // file names, in the order they are loaded
	Cmdline string   `json:"cmdline"` // kernel command line, ours is added to it
	// SHA256 holds the digest of every file, in hex.
	SHA256 map[string]string `json:"sha256"`
}

// ParseManifest reads and checks a manifest. Unknown fields are skipped: a newer flake may
// say more than this appliance reads.
func ParseManifest(raw []byte) (Manifest, error) {
	var m Manifest
	if len(raw) > maxManifest {
		return m, fmt.Errorf("manifest of %d bytes: at most %d", len(raw), maxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("manifest: not the JSON that is expected: %w", err)
	}
	if !slices.Contains(Arches(), m.Arch) {
		return m, fmt.Errorf("manifest: arch %q: want one of %s", cut(m.Arch), strings.Join(Arches(), ", "))
	}
	if err := checkText("version", m.Version, 128); err != nil {
		return m, err
	}
	if m.Version == "" {
		return m, errors.New("manifest: version is empty")
	}
	if err := checkText("cmdline", m.Cmdline, maxCmdline); err != nil {
		return m, err
	}
	if len(m.SHA256) > maxFiles || len(m.Initrd) == 0 || len(m.Initrd) > 8 {
		return m, fmt.Errorf("manifest: %d files, %d of them initrd: want 1 to 8 initrd and at most %d files", len(m.SHA256), len(m.Initrd), maxFiles)
	}
	for _, f := range append([]string{m.Kernel}, m.Initrd...) {
		if _, ok := m.SHA256[f]; !ok {
			return m, fmt.Errorf("manifest: file %q has no sha256", cut(f))
		}
	}
	for f, sum := range m.SHA256 {
		if err := checkFileName(f); err != nil {
			return m, err
		}
		if b, err := hex.DecodeString(sum); err != nil || len(b) != sha256.Size {
			return m, fmt.Errorf("manifest: sha256 of %s: want 64 hex digits", f)
		}
	}
	return m, nil
}

// checkFileName accepts plain names: they become part of URLs, iPXE lines and kernel words.
func checkFileName(f string) error {
	ok := f != "" && len(f) <= 128 && f != ManifestName
	for i, c := range f {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || i > 0 && strings.ContainsRune("._+-", c))
	}
	if !ok {
		return fmt.Errorf("manifest: file name %q: letters, digits and inner . _ + - only, at most 128", cut(f))
	}
	return nil
}

// checkText accepts printable ASCII without what iPXE or a shell would expand.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("manifest: %s of %d characters: at most %d", field, len(s), limit)
	}
	for _, c := range s {
		if c < ' ' || c > '~' || strings.ContainsRune("$`{}\\\"'|&<>#;", c) {
			return fmt.Errorf("manifest: %s: character %q is not possible there", field, c)
		}
	}
	return nil
}

func cut(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
