package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a support bundle.
const (
	supportLog     = 512 << 10 // of the appliance's own log, in bytes
	supportJobLog  = 64 << 10  // of the end of one job's log
	supportJobLogs = 20        // the newest ones
	supportFile    = 8 << 20   // of any other file
)

const supportReadme = `Support bundle of a Hatchery appliance.

It holds no passwords, tokens or private keys: known ones are replaced by "[secret]" wherever they stand, and so is what
looks like one. It does name machines, addresses, MACs, serial numbers and disk contents: look through it before you
give it away.

versions.txt    what runs here
settings.json   the settings as they are in force
doctor.json     what ` + "`hatchery doctor`" + ` finds
log.txt         the end of the appliance's log
jobs/           the ends of the newest jobs' logs
metrics.txt     all counters
*.json          the API's answers: machines, jobs, leases, decisions, …
errors.txt      what could not be had, if anything
`

// supportLists are the API's answers in a bundle, by their file's name.
var supportLists = []struct{ file, path string }{
	{"hosts.json", "/hosts"}, {"jobs.json", "/jobs"}, {"network.json", "/network"}, {"decisions.json", "/decisions"}, {"leases.json", "/leases"},
	{"reservations.json", "/reservations"}, {"media.json", "/media"}, {"roles.json", "/roles"}, {"warnings.json", "/warnings"}, {"activity.json", "/activity"},
}

// support writes the bundle. What cannot be had is named in it.
func (c care) support(ctx context.Context, w io.Writer) error {
	zip := gzip.NewWriter(w)
	b := &bundle{tar: tar.NewWriter(zip), at: time.Now(), hide: knownSecrets(c.a.cfg.Data)}
	b.add("README.txt", []byte(supportReadme))
	b.add("versions.txt", versions(ctx, c.a.cfg.Nix))
	b.json("settings.json", c.a.cfg.settings)
	checks, err := c.Doctor(ctx)
	b.note("doctor", err)
	b.json("doctor.json", checks)
	b.add("log.txt", c.a.tail.bytes())
	c.jobLogs(b)
	c.answers(ctx, b)
	if len(b.trouble) > 0 {
		b.add("errors.txt", []byte(strings.Join(b.trouble, "\n")+"\n"))
	}
	return errors.Join(b.err, b.tar.Close(), zip.Close())
}

// answers adds what the API says, read as any other client on this box would.
func (c care) answers(ctx context.Context, b *bundle) {
	r := &remote{data: c.a.cfg.Data}
	for _, l := range supportLists {
		var got any
		var err error
		if l.path == "/network" || l.path == "/media" || l.path == "/roles" {
			err = r.call(ctx, http.MethodGet, l.path, nil, &got)
		} else {
			got, err = r.newest(ctx, l.path, 2000)
		}
		if b.note(l.path, err); err == nil {
			b.json(l.file, got)
		}
	}
	text, err := r.plain(ctx, "/metrics")
	b.note("/metrics", err)
	b.add("metrics.txt", text)
}

// jobLogs adds the ends of the newest jobs' logs.
func (c care) jobLogs(b *bundle) {
	type log struct {
		path string
		at   time.Time
	}
	var all []log
	dir := filepath.Join(c.a.cfg.Data, "logs")
	b.note("logs", filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if st, err := e.Info(); err == nil {
			all = append(all, log{path, st.ModTime()})
		}
		return nil
	}))
	slices.SortFunc(all, func(x, y log) int { return y.at.Compare(x.at) })
	for _, l := range all[:min(len(all), supportJobLogs)] {
		text, err := endOf(l.path, supportJobLog)
		b.note(l.path, err)
		name, _ := filepath.Rel(dir, l.path)
		b.add("jobs/"+name, text)
	}
}

// endOf is the last n bytes of a file.
func endOf(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, st.Size()-n), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, n))
}

func versions(ctx context.Context, nix string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "hatchery %s, %s, %s/%s, up since process start, %d processors\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Fprintf(&out, "kernel %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]))
	}
	if raw, err := os.ReadFile("/etc/os-release"); err == nil {
		out.Write(raw)
	}
	if nix == "" {
		nix = "nix"
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	words := strings.Fields(nix)
	text, err := exec.CommandContext(ctx, words[0], append(words[1:], "--version")...).CombinedOutput()
	fmt.Fprintf(&out, "%s", text)
	if err != nil {
		fmt.Fprintf(&out, "nix: %v\n", err)
	}
	return out.Bytes()
}

// bundle is a support bundle that is being made.
type bundle struct {
	tar     *tar.Writer
	at      time.Time
	hide    secrets
	trouble []string // what could not be had
	err     error    // why it cannot be written
}

func (b *bundle) note(what string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.trouble = append(b.trouble, b.hide.mask(fmt.Sprintf("%s: %v", what, err)))
	}
}

func (b *bundle) json(name string, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	b.note(name, err)
	b.add(name, raw)
}

// add writes one file, masked and bounded: of a longer one the end.
func (b *bundle) add(name string, raw []byte) {
	if b.err != nil {
		return
	}
	text := b.hide.mask(string(raw[max(0, len(raw)-supportFile):]))
	b.err = b.tar.WriteHeader(&tar.Header{Name: "hatchery-support/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.at})
	if b.err == nil {
		_, b.err = io.WriteString(b.tar, text)
	}
}

// secrets are texts that must not leave the box, the longest first.
type secrets []string

// knownSecrets are the lines of all files of the data folder that hold secrets.
func knownSecrets(data string) (all secrets) {
	take := func(raw []byte) {
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimSpace(line); len(line) >= 8 && !strings.HasPrefix(line, "-----") && !slices.Contains(all, line) {
				all = append(all, line)
			}
		}
	}
	for _, name := range []string{"admin-token", "secrets", "ssh", "tls"} {
		_ = filepath.WalkDir(filepath.Join(data, name), func(path string, e fs.DirEntry, err error) error { // what cannot be read cannot be shown either
			if err != nil || !e.Type().IsRegular() || strings.HasSuffix(path, ".pub") || strings.HasSuffix(path, "cert.pem") {
				return nil
			}
			if raw, err := endOf(path, 1<<20); err == nil {
				take(raw)
			}
			return nil
		})
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// secretLooks are what looks like a secret wherever it stands: credentials in URLs, private keys, values of options that say
// what they are, and tokens by their usual beginnings.
var secretLooks = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), "[secret]"},
	{regexp.MustCompile(`(://)[^/\s:@"']+(:[^/\s@"']*)?@`), "${1}[secret]@"},
	{regexp.MustCompile(`(?i)((?:access[-_]tokens?|password|passwd|passphrase|secret|token|api[-_]?key|private[-_]key|nonce)["']?\s*[:=]\s*["']?)([^\s"',}]{6,})`), "${1}[secret]"},
	{regexp.MustCompile(`(?i)(access-tokens["']?[\s,=]+["']?[^\s"'=]+=)([^\s"',]+)`), "${1}[secret]"}, // nix.conf(5)
	{regexp.MustCompile(`(\bcode["']?[=:]["']?)[A-Z2-9]{4,6}-[A-Z2-9]{4,6}\b`), "${1}[secret]"},       // of the first run
	{regexp.MustCompile(`(?i)(bearer\s+)\S+`), "${1}[secret]"},
	{regexp.MustCompile(`\b(ghp|gho|ghs|github_pat|glpat)[_-][A-Za-z0-9_-]{10,}`), "[secret]"},
	{regexp.MustCompile(`K10[0-9a-f]{40,}::\S+`), "[secret]"}, // k3s
}

// mask is the text without what is known to be secret and what looks so.
func (s secrets) mask(text string) string {
	for _, known := range s {
		text = strings.ReplaceAll(text, known, "[secret]")
	}
	for _, l := range secretLooks {
		text = l.re.ReplaceAllString(text, l.with)
	}
	return text
}

// logTail keeps the end of the log in memory, for support bundles. Safe for concurrent use.
type logTail struct {
	mu  sync.Mutex
	buf []byte // at most 2 × supportLog
}

// Write implements io.Writer; it never fails.
func (t *logTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf)+len(p) > 2*supportLog {
		t.buf = append(t.buf[:0], t.buf[max(0, len(t.buf)-supportLog):]...)
	}
	t.buf = append(t.buf, p[max(0, len(p)-supportLog):]...)
	return len(p), nil
}

// bytes is the end of the log, from a line's beginning.
func (t *logTail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := t.buf[max(0, len(t.buf)-supportLog):]
	if len(end) < len(t.buf) {
		_, end, _ = bytes.Cut(end, []byte("\n"))
	}
	return slices.Clone(end)
}
