package hive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Config says where the hive is and what to run.
type Config struct {
	// Dir is the repository (DATA/hive); created when it is not there.
	Dir string
	// Source is what to clone when Dir is not there: a path or URL that git knows; "" = the embedded template.
	Source string
	// Nix is the command line of nix; nil = ["nix"].
	Nix []string
	// NixArgs are added to every evaluation and build, e.g. --override-input nixpkgs path:….
	NixArgs []string
	// Git is the git program; "" = "git".
	Git string
	// EvalTimeout bounds one evaluation, 0 = 5 min; BuildTimeout one build, 0 = 2 h; GitTimeout one
	// git command, 0 = 1 min.
	EvalTimeout  time.Duration
	BuildTimeout time.Duration
	GitTimeout   time.Duration
	// Log is nil for none; Now nil for time.Now.
	Log *slog.Logger
	Now func() time.Time
}

// Hive is the repository. Safe for concurrent use; writes happen one after the other.
type Hive struct {
	cfg Config
	mu  sync.Mutex // one writer of the work tree and the branch

	syncMu  sync.Mutex
	syncErr error // of the last exchange with the remote
}

// HostFacts is what WriteHost writes of one host.
type HostFacts struct {
	Host HostFile
	// Facter is nixos-facter's report, a JSON object of at most 4 MiB; nil keeps the one that is there.
	Facter json.RawMessage
}

// Built is what one build gave: store paths, protected from the garbage collector until the host's next build.
type Built struct {
	Commit string
	// Toplevel is the system, Script the install script ("" when the host has no disk plan).
	Toplevel string
	Script   string
	Layout   Layout
	// Bytes is the size of Toplevel's closure, uncompressed; 0 when nix did not tell.
	Bytes uint64
}

// Layout is what the install script leaves behind.
type Layout struct {
	// Mounts below /mnt, sorted by path.
	Mounts []Mount `json:"mounts"`
	// KeyFiles are paths that LUKS layouts read on the machine (--disk-encryption-keys).
	KeyFiles []string `json:"keyFiles"`
}

// Mount is one file system of the installed system.
type Mount struct {
	Path string `json:"path"` // "/", "/boot", …
	FS   string `json:"fs"`
	Slot string `json:"slot"` // "" where a pool hides the disk
}

var commitRE = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// Open creates or clones the repository if it is not there and checks that git works. It starts nothing.
func Open(ctx context.Context, cfg Config) (*Hive, error) {
	if cfg.Dir == "" {
		return nil, errors.New("hive: no directory given")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("hive %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if len(cfg.Nix) == 0 {
		cfg.Nix = []string{"nix"}
	}
	if cfg.Git == "" {
		cfg.Git = "git"
	}
	cfg.EvalTimeout = orElse(cfg.EvalTimeout, 5*time.Minute)
	cfg.BuildTimeout = orElse(cfg.BuildTimeout, 2*time.Hour)
	cfg.GitTimeout = orElse(cfg.GitTimeout, time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Hive{cfg: cfg}
	if err := h.ensureRepo(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

func orElse(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Dir is the repository's directory.
func (h *Hive) Dir() string { return h.cfg.Dir }

// SyncError is why the last exchange with the remote failed; nil when it did not or there is no remote.
func (h *Hive) SyncError() error {
	h.syncMu.Lock()
	defer h.syncMu.Unlock()
	return h.syncErr
}

func (h *Hive) setSync(err error) {
	h.syncMu.Lock()
	h.syncErr = err
	h.syncMu.Unlock()
	if err != nil {
		h.cfg.Log.Warn("hive not in step with its remote", "err", err)
	}
}

// Roles takes in what the remote has (if there is one), evaluates the roles at the newest commit and
// checks them. The result's Error says why the remote could not be followed. On an error of its own
// the caller keeps the roles it has. The error is a [*Failure] where git or nix failed.
func (h *Hive) Roles(ctx context.Context) (inventory.Hive, error) {
	h.mu.Lock()
	syncErr := h.pull(ctx)
	var commit string
	err := h.ensureLock(ctx)
	if err == nil {
		commit, err = h.head(ctx)
	}
	h.mu.Unlock()
	if err != nil {
		return inventory.Hive{}, err
	}
	out := inventory.Hive{Revision: commit, ReadAt: h.cfg.Now()}
	if syncErr != nil {
		out.Error = syncErr.Error()
	}
	raw, err := h.nixEval(ctx, "reading the roles", h.flake(commit)+"#hatchery.roles")
	if err != nil {
		return out, err
	}
	out.Roles, err = ParseRoles(raw)
	if err != nil {
		return out, &Failure{Kind: KindEval, What: "reading the roles of the hive", Which: "commit " + short(commit),
			Cause: err.Error(), Next: "Correct hatchery.roles in " + h.cfg.Dir + " and commit.", Err: err}
	}
	return out, nil
}

// Head is the newest commit.
func (h *Hive) Head(ctx context.Context) (string, error) { return h.head(ctx) }

// Build builds a host's system, install script and layout at a commit. nix's output goes to log as it
// comes. Nothing of the work tree is read. The error is a [*Failure]; ctx's own error when ctx ended.
func (h *Hive) Build(ctx context.Context, commit, name string, log io.Writer) (Built, error) {
	b := Built{Commit: commit}
	if err := checkTarget(commit, name); err != nil {
		return b, err
	}
	out, err := h.nixBuild(ctx, name, h.flake(commit)+`#nixosConfigurations."`+name+`".config.system.build.hatchery`, log)
	if err != nil {
		return b, err
	}
	if b, err = readBundle(b, out); err == nil {
		b.Bytes = h.closureBytes(ctx, b.Toplevel)
	}
	return b, err
}

// closureBytes is the size of a store path with all that it needs. It only serves to show how much is done: when nix
// does not tell, it is 0.
func (h *Hive) closureBytes(ctx context.Context, path string) uint64 {
	out, err := h.nix(ctx, h.cfg.EvalTimeout, "size of "+path, "", nil, "path-info", "--json", "--closure-size", path)
	if err != nil {
		h.cfg.Log.Warn("closure size", "err", err)
		return 0
	}
	return parseClosureBytes(out)
}

// parseClosureBytes reads `nix path-info --json`: a list up to nix 2.18, then an object keyed by path.
func parseClosureBytes(out []byte) (n uint64) {
	type info struct {
		ClosureSize uint64 `json:"closureSize"`
	}
	var list []info
	if json.Unmarshal(out, &list) != nil {
		var keyed map[string]info
		if json.Unmarshal(out, &keyed) != nil {
			return 0
		}
		list = slices.Collect(maps.Values(keyed))
	}
	for _, i := range list {
		n += i.ClosureSize
	}
	return n
}

// BuildFormat builds the script that wipes and formats one persistent slot of a host's plan, and nothing
// else; it judges the disk like the install script and has the same exit codes. Errors as of Build.
func (h *Hive) BuildFormat(ctx context.Context, commit, name, slot string, log io.Writer) (script string, err error) {
	if err := errors.Join(checkTarget(commit, name), CheckSlot(slot)); err != nil {
		return "", err
	}
	return h.nixBuild(ctx, name+".format", h.flake(commit)+`#nixosConfigurations."`+name+`".config.system.build.hatcheryFormat."`+slot+`"`, log)
}

func checkTarget(commit, name string) error {
	if !commitRE.MatchString(commit) {
		return fmt.Errorf("commit %q of host %q: %w", clip(commit), clip(name), ErrInvalid)
	}
	if err := inventory.CheckName(name); err != nil || name == "" {
		return fmt.Errorf("host name %q: %w", clip(name), ErrInvalid)
	}
	return nil
}

// readBundle reads the links of a built `hatchery` output.
func readBundle(b Built, out string) (Built, error) {
	var err error
	if b.Toplevel, err = filepath.EvalSymlinks(filepath.Join(out, "toplevel")); err != nil {
		return b, fmt.Errorf("built output %s: %w", out, err)
	}
	b.Script, err = filepath.EvalSymlinks(filepath.Join(out, "install"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return b, fmt.Errorf("built output %s: %w", out, err)
	}
	raw, err := os.ReadFile(filepath.Join(out, "layout.json"))
	if err != nil {
		return b, fmt.Errorf("built output %s: %w", out, err)
	}
	if err := json.Unmarshal(raw, &b.Layout); err != nil {
		return b, fmt.Errorf("layout of %s: %w", out, err)
	}
	return b, nil
}

// flake is the URL of the repository at a commit.
func (h *Hive) flake(commit string) string {
	return (&url.URL{Scheme: "git+file", Path: h.cfg.Dir, RawQuery: "rev=" + commit}).String()
}

func short(commit string) string { return commit[:min(12, len(commit))] }
