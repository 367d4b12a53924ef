package stage0

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/internal/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testImage writes an image for arch into dir and returns its manifest.
func testImage(t testing.TB, dir, arch, version string) Manifest {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := Manifest{Arch: arch, Version: version, Kernel: "bzImage", Initrd: []string{"initrd"}, Cmdline: "quiet", SHA256: map[string]string{}}
	for _, f := range []string{"bzImage", "initrd"} {
		b := []byte(f + " of " + version)
		s := sha256.Sum256(b)
		m.SHA256[f] = hex.EncodeToString(s[:])
		write(t, filepath.Join(dir, f), b)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "manifest.json"), raw)
	return m
}

// write replaces a file by renaming, as copies that care do.
func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) (*Store, *clocktest.Clock) {
	t.Helper()
	c := clocktest.New(time.Now())
	s, err := Open(Config{Dir: dir, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

func content(t *testing.T, im *Image, name string) string {
	t.Helper()
	f, err := im.Files[name].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// until polls Image as script fetches do, with the clock running, until it has the version.
func until(t *testing.T, s *Store, c *clocktest.Clock, version string) *Image {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		c.Add(2 * time.Second)
		im, err := s.Image("x86_64")
		if err == nil && im.Version == version {
			return im
		}
		if time.Now().After(deadline) {
			t.Fatalf("version %s never came: %v, %v", version, im, err)
		}
	}
}

func TestImageIsServedAsItWasChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := testImage(t, filepath.Join(dir, "x86_64"), "x86_64", "1")
	s, _ := open(t, dir)
	im, err := s.Image("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, im.Manifest); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := content(t, im, "initrd"); got != "initrd of 1" {
		t.Errorf("initrd: %q", got)
	}
	if im.Bytes() != int64(len("bzImage of 1")+len("initrd of 1")) {
		t.Errorf("%d bytes", im.Bytes())
	}
}

// TestImageOfTheSameSizeAndAgeIsNoticed replaces an image as rsync -a does from one Nix store to another: each file is from 1970.
func TestImageOfTheSameSizeAndAgeIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(version string) {
		testImage(t, filepath.Join(dir, "x86_64"), "x86_64", version)
		for _, f := range []string{"bzImage", "initrd", "manifest.json"} {
			if err := os.Chtimes(filepath.Join(dir, "x86_64", f), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("1")
	s, c := open(t, dir)
	put("2")
	until(t, s, c, "2")
}

func TestHalfCopyOfAKilledAddIsRemoved(t *testing.T) {
	t.Parallel()
	src, dir := t.TempDir(), t.TempDir()
	testImage(t, filepath.Join(src, "x86_64"), "x86_64", "1")
	versions := filepath.Join(dir, versionsDir, "x86_64")
	for name, age := range map[string]time.Duration{incoming + "old": 2 * time.Hour, incoming + "now": 0} {
		half := filepath.Join(versions, name, "initrd")
		if err := os.MkdirAll(filepath.Dir(half), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, half, []byte("half"))
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Dir(half), at, at); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := open(t, dir)
	if _, err := s.Add(src); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(versions, incoming+"old")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(versions, incoming+"now")); err != nil {
		t.Errorf("one that may still be written: %v", err)
	}
	s.Close()
	if im, err := s.Image("x86_64"); !errors.Is(err, ErrNoImage) {
		t.Errorf("after Close: got %v, %v", im, err)
	}
}

func TestMissingImageSaysHowToGetOne(t *testing.T) {
	t.Parallel()
	s, c := open(t, filepath.Join(t.TempDir(), "not", "there"))
	_, err := s.Image("aarch64")
	if !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "nix build .#stage0") || !strings.Contains(err.Error(), "hatchery stage0 add") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Image("riscv"); !errors.Is(err, ErrNoImage) {
		t.Errorf("unknown architecture: %v", err)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	testImage(t, filepath.Join(s.dir, "x86_64"), "x86_64", "1")
	until(t, s, c, "1")
}

func TestDamagedImages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, dir string)
	}{
		{"a changed file", "damaged or half copied", func(t *testing.T, d string) { write(t, filepath.Join(d, "initrd"), []byte("x")) }},
		{"a missing file", "is missing", func(t *testing.T, d string) {
			if err := os.Remove(filepath.Join(d, "initrd")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a manifest that is no JSON", "JSON", func(t *testing.T, d string) { write(t, filepath.Join(d, "manifest.json"), []byte("{")) }},
		{"a manifest of another architecture", "says aarch64", func(t *testing.T, d string) { testImage(t, d, "aarch64", "1") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := filepath.Join(dir, "x86_64")
			testImage(t, d, "x86_64", "1")
			c.spoil(t, d)
			s, clk := open(t, dir)
			_, err := s.Image("x86_64")
			if !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if st := s.Status(); st[0].Problem == "" || st[0].Version != "" {
				t.Errorf("status %+v", st[0])
			}
			testImage(t, d, "x86_64", "2")
			clk.Add(time.Minute)
			until(t, s, clk, "2")
		})
	}
}

func TestSwapKeepsTheVersionInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := filepath.Join(dir, "x86_64")
	testImage(t, d, "x86_64", "1")
	s, c := open(t, dir)
	old, err := s.Image("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	testImage(t, d, "x86_64", "2")
	if im := until(t, s, c, "2"); content(t, im, "bzImage") != "bzImage of 2" {
		t.Error("the new image has old bytes")
	}
	again, err := s.ByDigest("x86_64", old.Digest)
	if err != nil || content(t, again, "bzImage") != "bzImage of 1" {
		t.Errorf("the old version: %v", err)
	}
	write(t, filepath.Join(d, "initrd"), []byte("half a copy"))
	raw, err := os.ReadFile(filepath.Join(d, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d, "manifest.json"), append(raw, ' '))
	for range 3 { // a damaged newer image leaves the last good one
		c.Add(time.Minute)
		if im, err := s.Image("x86_64"); err != nil || im.Version != "2" {
			t.Errorf("got %v, %v", im, err)
		}
	}
	for deadline := time.Now().Add(60 * time.Second); s.Status()[0].Problem == ""; time.Sleep(time.Millisecond) {
		c.Add(time.Minute)
		if time.Now().After(deadline) {
			t.Fatal("the damaged image is not reported")
		}
	}
}

// TestNobodyWaitsWhileAnOldVersionIsHashed has the old version's initrd be a pipe, so that its hashing lasts until the test writes.
func TestNobodyWaitsWhileAnOldVersionIsHashed(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), t.TempDir()
	s, c := open(t, dir)
	for _, v := range []string{"1", "2"} {
		testImage(t, src, "x86_64", v)
		if _, err := s.Add(src); err != nil {
			t.Fatal(err)
		}
	}
	vs, err := s.List()
	if err != nil || len(vs) != 2 {
		t.Fatal(vs, err)
	}
	old := vs[0]
	if old.Current {
		old = vs[1]
	}
	s, c = open(t, dir) // one that has not opened the old one yet
	pipe := filepath.Join(s.versionDir("x86_64", old.Digest), "initrd")
	if err := errors.Join(os.Remove(pipe), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := s.ByDigest("x86_64", old.Digest); done <- err }()
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns once ByDigest reads
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		c.Add(time.Minute)
		_, err := s.Image("x86_64")
		served <- err
	}()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("who boots the current image waits for the old one")
	}
	_, err = w.WriteString("initrd of 1")
	if err := errors.Join(err, w.Close(), <-done); err != nil {
		t.Error(err)
	}
}

func TestChangeInPlaceIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	initrd := filepath.Join(dir, "x86_64", "initrd")
	testImage(t, filepath.Join(dir, "x86_64"), "x86_64", "1")
	s, c := open(t, dir)
	im, err := s.Image("x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(initrd, []byte("overwritten bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := im.Files["initrd"].Open(); err == nil || !strings.Contains(err.Error(), "changed in place") {
		t.Errorf("got %v", err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		c.Add(time.Minute)
		if _, err := s.Image("x86_64"); errors.Is(err, ErrNoImage) && strings.Contains(err.Error(), "damaged") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an image whose bytes are gone is still offered")
		}
	}
	if err := os.WriteFile(initrd, []byte("initrd of 1"), 0o600); err != nil { // copied again, the manifest untouched
		t.Fatal(err)
	}
	if im := until(t, s, c, "1"); content(t, im, "initrd") != "initrd of 1" {
		t.Error("wrong bytes")
	}
}

func TestAddUseListRemove(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), t.TempDir()
	s, c := open(t, filepath.Join(dir, "stage0"))
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(src); err == nil || !strings.Contains(err.Error(), "holds no stage-0 image") {
		t.Errorf("an empty folder: %v", err)
	}
	testImage(t, filepath.Join(src, "x86_64"), "x86_64", "1")
	testImage(t, filepath.Join(src, "aarch64"), "aarch64", "1")
	first, err := s.Add(src)
	if err != nil || len(first) != 2 {
		t.Fatalf("add: %v, %v", first, err)
	}
	until(t, s, c, "1")
	testImage(t, filepath.Join(src, "x86_64"), "x86_64", "2")
	second, err := s.Add(filepath.Join(src, "x86_64")) // one image's own folder
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, c, "2")
	if err := s.Use("x86_64", first[0].Digest); err != nil {
		t.Fatal(err)
	}
	until(t, s, c, "1")
	vs, err := s.List()
	if err != nil || len(vs) != 3 {
		t.Fatalf("list: %+v, %v", vs, err)
	}
	for _, v := range vs {
		if v.Current != (v.Digest != second[0].Digest) {
			t.Errorf("%s %s: current %v", v.Arch, v.Version, v.Current)
		}
	}
	if err := s.Remove("x86_64", first[0].Digest); err == nil {
		t.Error("the current version was removed")
	}
	if err := s.Remove("x86_64", second[0].Digest); err != nil {
		t.Error(err)
	}
	if err := s.Use("x86_64", second[0].Digest); !errors.Is(err, ErrGone) {
		t.Errorf("use of a removed version: %v", err)
	}
	if err := s.Use("../x86_64", second[0].Digest); !errors.Is(err, ErrGone) {
		t.Errorf("using another folder as an architecture: %v", err)
	}
	if err := s.Use("x86_64", "../../etc"); !errors.Is(err, ErrGone) {
		t.Errorf("use of a path: %v", err)
	}
	other, err := Open(Config{Dir: s.dir}) // after a restart
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if im, err := other.Image("x86_64"); err != nil || im.Version != "1" {
		t.Errorf("after a restart: %v, %v", im, err)
	}
}

func TestAddRefusesWhatItCannotManage(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), t.TempDir()
	testImage(t, filepath.Join(dir, "x86_64"), "x86_64", "plain")
	testImage(t, filepath.Join(src, "x86_64"), "x86_64", "2")
	s, _ := open(t, dir)
	if _, err := s.Add(src); err == nil || !strings.Contains(err.Error(), "something else manages") {
		t.Errorf("got %v", err)
	}
	if im, err := s.Image("x86_64"); err != nil || im.Version != "plain" {
		t.Errorf("got %v, %v", im, err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	good := func() map[string]any {
		return map[string]any{"arch": "x86_64", "version": "1", "kernel": "k", "initrd": []string{"i"}, "cmdline": "init=/nix/store/abc-x/init", "sha256": map[string]string{"k": sum, "i": sum}, "extra": 1}
	}
	for _, c := range []struct {
		name  string
		field string
		value any
		want  string
	}{
		{"nothing wrong", "version", "26.05.1", ""},
		{"an unknown architecture", "arch", "mips", "arch"},
		{"no version", "version", "", "version"},
		{"an iPXE expansion in the command line", "cmdline", "a=${x}", "cmdline"},
		{"a new line in the command line", "cmdline", "a\nb", "cmdline"},
		{"a path as kernel", "kernel", "../k", "no sha256"},
		{"no initrd", "initrd", []string{}, "initrd"},
		{"a path as a file", "sha256", map[string]string{"k": sum, "i": sum, "../x": sum}, "file name"},
		{"a short digest", "sha256", map[string]string{"k": sum, "i": "ab"}, "64 hex"},
		{"the manifest itself", "sha256", map[string]string{"k": sum, "i": sum, "manifest.json": sum}, "file name"},
	} {
		m := good()
		m[c.field] = c.value
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseManifest(raw)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	sum := strings.Repeat("a", 64)
	f.Add([]byte(`{"arch":"x86_64","version":"1","kernel":"k","initrd":["i"],"cmdline":"quiet","sha256":{"k":"` + sum + `","i":"` + sum + `"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw)
		if err != nil {
			return
		}
		for name := range m.SHA256 {
			if strings.ContainsAny(name, "/\\ \n${}") || name == ".." {
				t.Errorf("file name %q passed", name)
			}
		}
		if strings.ContainsAny(m.Cmdline+m.Version, "\n\r${}") {
			t.Errorf("cmdline %q, version %q passed", m.Cmdline, m.Version)
		}
	})
}
