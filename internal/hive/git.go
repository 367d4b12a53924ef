package hive

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/inventory"
)

// template is what a new hive begins with; the same files are `nix flake init -t …#fleet`.
//
//go:embed all:template
var template embed.FS

const (
	branch        = "main"
	maxFacterSize = 4 << 20
)

// git runs one git command in the repository; the error is a *Failure.
func (h *Hive) git(ctx context.Context, what string, args ...string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, h.cfg.GitTimeout)
	defer cancel()
	// what a commit consists of is on the disk when it is made, also after a power cut;
	// no hooks, signing or prompts of the user's own git configuration; quotePath keeps file names readable
	argv := append([]string{h.cfg.Git, "-c", "core.fsync=all", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "core.quotePath=false"}, args...)
	env := []string{"GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "GIT_EDITOR=true",
		"GIT_AUTHOR_NAME=Hatchery", "GIT_AUTHOR_EMAIL=hatchery@localhost",
		"GIT_COMMITTER_NAME=Hatchery", "GIT_COMMITTER_EMAIL=hatchery@localhost"}
	out, text, err := h.run(bounded, nil, env, argv...)
	switch {
	case err == nil:
		return strings.TrimSpace(string(out)), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", what, ctx.Err())
	case bounded.Err() != nil:
		return "", timeoutFailure(what, h.cfg.Dir, h.cfg.GitTimeout, text, bounded.Err())
	case errors.Is(err, exec.ErrNotFound):
		return "", &Failure{Kind: KindMissing, What: what, Which: h.cfg.Dir, Cause: "git is not there",
			Next: "Install git on the appliance.", Err: err}
	}
	cause := strings.TrimSpace(text)
	if i := strings.LastIndexByte(cause, '\n'); i >= 0 {
		cause = cause[i+1:]
	}
	return "", &Failure{Kind: KindGit, What: what, Which: h.cfg.Dir, Cause: "git said: " + clip200(cause), Output: text, Err: err,
		Next: "Look at the repository with git status; the appliance goes on once it is in order."}
}

func clip200(s string) string {
	if s == "" {
		return "nothing"
	}
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// ensureRepo makes the repository when it is not there: beside its place, and moved there once it is whole and on the
// disk, so that a start that is cut short leaves none behind that no later start would look at.
func (h *Hive) ensureRepo(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(h.cfg.Dir, ".git"))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hive %s: %w", h.cfg.Dir, err)
	}
	if err := os.MkdirAll(h.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("hive: %w", err)
	}
	if old, err := os.ReadDir(h.cfg.Dir); err != nil || len(old) > 0 {
		return fmt.Errorf("hive %s is neither empty nor a git repository: move it away, or run git init and commit there: %w",
			h.cfg.Dir, errors.Join(err, ErrInvalid))
	}
	young := &Hive{cfg: h.cfg}
	young.cfg.Dir = h.cfg.Dir + ".new"
	if err := errors.Join(os.RemoveAll(young.cfg.Dir), os.Mkdir(young.cfg.Dir, 0o755)); err != nil {
		return fmt.Errorf("hive: %w", err)
	}
	if err := young.create(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(young.cfg.Dir))
	}
	if err := errors.Join(syncDisk(young.cfg.Dir), unix.Rename(young.cfg.Dir, h.cfg.Dir), syncDisk(filepath.Dir(h.cfg.Dir))); err != nil {
		return fmt.Errorf("hive: %w", err)
	}
	return nil
}

// create fills the empty folder with a clone of the source, or with the template.
func (h *Hive) create(ctx context.Context) error {
	if h.cfg.Source != "" {
		if strings.HasPrefix(h.cfg.Source, "-") {
			return fmt.Errorf("hive source %q: %w", clip(h.cfg.Source), ErrInvalid)
		}
		_, err := h.git(ctx, "cloning the hive", "clone", "--quiet", "--", h.cfg.Source, h.cfg.Dir)
		return err
	}
	if _, err := h.git(ctx, "creating the hive", "init", "--quiet", "--initial-branch="+branch, h.cfg.Dir); err != nil {
		return err
	}
	if err := writeTemplate(h.cfg.Dir); err != nil {
		return err
	}
	if _, err := h.git(ctx, "creating the hive", "add", "--", "."); err != nil {
		return err
	}
	_, err := h.git(ctx, "creating the hive", "commit", "--quiet", "-m", "hive: start from the fleet template")
	return err
}

// syncDisk returns once all that was written to the folder's file system is on the disk.
func syncDisk(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

func writeTemplate(dir string) error {
	return fs.WalkDir(template, "template", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(p, "template"))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		raw, err := template.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, raw, 0o644)
	})
}

func (h *Hive) head(ctx context.Context) (string, error) {
	c, err := h.git(ctx, "reading the hive", "rev-parse", "--verify", "HEAD^{commit}")
	if err == nil && !commitRE.MatchString(c) {
		err = fmt.Errorf("reading the hive: git printed %q: %w", clip(c), ErrInvalid)
	}
	return c, err
}

// WriteHost writes hosts/NAME/{host.json,facter.json}, commits (when something changed) and pushes
// where there is a remote; the commit to build from is returned. A push that fails is told by
// SyncError, not here: the build does not need it. ErrInvalid, or a [*Failure].
func (h *Hive) WriteHost(ctx context.Context, f HostFacts) (commit string, err error) {
	f.Host.Schema = SchemaVersion
	if err := f.Host.Check(); err != nil {
		return "", err
	}
	if f.Host.Plan != nil {
		p := *f.Host.Plan
		p.WipePersistent = slices.Sorted(slices.Values(append([]string{}, p.WipePersistent...)))
		if p.WipePersistent == nil {
			p.WipePersistent = []string{}
		}
		f.Host.Plan = &p
	}
	files := map[string]any{"host.json": f.Host}
	if f.Facter != nil {
		var report map[string]any
		if len(f.Facter) > maxFacterSize || json.Unmarshal(f.Facter, &report) != nil {
			return "", fmt.Errorf("hardware report of host %s: not a JSON object of at most %d bytes: %w", f.Host.Name, maxFacterSize, ErrInvalid)
		}
		files["facter.json"] = report
	}
	dir := filepath.Join("hosts", f.Host.Name)
	return h.commit(ctx, "host "+f.Host.Name, func() ([]string, error) {
		if err := os.MkdirAll(filepath.Join(h.cfg.Dir, dir), 0o755); err != nil {
			return nil, err
		}
		var paths []string
		for n, v := range files {
			paths = append(paths, filepath.Join(dir, n))
			if err := h.writeJSON(filepath.Join(dir, n), v); err != nil {
				return nil, err
			}
		}
		return paths, h.stage(ctx, paths)
	})
}

// WriteAppliance writes appliance.json like WriteHost writes a host.
func (h *Hive) WriteAppliance(ctx context.Context, f ApplianceFile) (commit string, err error) {
	f.Schema = SchemaVersion
	f.SSHKeys = append([]string{}, f.SSHKeys...)
	f.URLs = append([]string{}, f.URLs...)
	if err := f.Check(); err != nil {
		return "", err
	}
	return h.commit(ctx, "appliance", func() ([]string, error) {
		if err := h.writeJSON("appliance.json", f); err != nil {
			return nil, err
		}
		return []string{"appliance.json"}, h.stage(ctx, []string{"appliance.json"})
	})
}

// RemoveHost removes hosts/NAME (a forgotten or renamed host) and commits; no error when it is not there.
func (h *Hive) RemoveHost(ctx context.Context, name string) (commit string, err error) {
	if err := inventory.CheckName(name); err != nil || name == "" {
		return "", fmt.Errorf("host name %q: %w", clip(name), ErrInvalid)
	}
	return h.commit(ctx, "remove host "+name, func() ([]string, error) {
		dir := filepath.Join("hosts", name)
		if _, err := h.git(ctx, "removing host "+name, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", dir); err != nil {
			return nil, err
		}
		return []string{dir}, os.RemoveAll(filepath.Join(h.cfg.Dir, dir))
	})
}

func (h *Hive) stage(ctx context.Context, paths []string) error {
	slices.Sort(paths)
	_, err := h.git(ctx, "staging "+strings.Join(paths, ", "), append([]string{"add", "--force", "--"}, paths...)...)
	return err
}

// commit takes in the remote's changes, lets write change and stage files, commits exactly those and pushes.
func (h *Hive) commit(ctx context.Context, subject string, write func() ([]string, error)) (_ string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocks(abandoned)
	start := time.Now()
	defer func() {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) { // git was ended; the file's clock is coarser than ours
			h.dropLocks(func(made time.Time) bool { return made.After(start.Add(-100 * time.Millisecond)) })
		}
	}()
	h.setSync(h.pull(ctx))
	paths, err := write()
	if err != nil {
		return "", fmt.Errorf("writing %s into the hive: %w", subject, err)
	}
	what := "committing " + subject
	changed, err := h.git(ctx, what, append([]string{"diff", "--cached", "--name-only", "HEAD", "--"}, paths...)...)
	if err != nil {
		return "", err
	}
	if changed != "" {
		// --only: what a person has staged meanwhile stays theirs
		if _, err := h.git(ctx, what, append([]string{"commit", "--quiet", "--only", "-m", "hosts: " + subject, "--"}, paths...)...); err != nil {
			return "", err
		}
	}
	if h.SyncError() == nil {
		h.setSync(h.push(ctx))
	}
	return h.head(ctx)
}

func (h *Hive) writeJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(h.cfg.Dir, name), append(raw, '\n'), 0o644)
}

// ensureLock pins the inputs that are not pinned yet, once, unless every run brings its own nixpkgs anyway.
func (h *Hive) ensureLock(ctx context.Context) error {
	if h.overrides("nixpkgs") || h.locked() {
		return nil
	}
	const what = "pinning the hive's inputs"
	if _, err := h.nixLock(ctx); err != nil {
		return err
	}
	if err := h.stage(ctx, []string{"flake.lock"}); err != nil {
		return err
	}
	changed, err := h.git(ctx, what, "diff", "--cached", "--name-only", "HEAD", "--", "flake.lock")
	if err != nil || changed == "" {
		return err
	}
	_, err = h.git(ctx, what, "commit", "--quiet", "--only", "-m", "flake: pin the inputs", "--", "flake.lock")
	return err
}

// locked reports whether flake.lock pins the hatchery input (the template's pins only the others), or
// that is overridden.
func (h *Hive) locked() bool {
	raw, err := os.ReadFile(filepath.Join(h.cfg.Dir, "flake.lock"))
	if err != nil {
		return false
	}
	var lock struct {
		Nodes map[string]struct {
			Inputs map[string]any `json:"inputs"`
		} `json:"nodes"`
	}
	if json.Unmarshal(raw, &lock) != nil {
		return true // nix says better what is wrong with it
	}
	_, has := lock.Nodes["root"].Inputs["hatchery"]
	return has || h.overrides("hatchery")
}

// overrides reports whether the nix arguments put something else in an input's place.
func (h *Hive) overrides(input string) bool {
	for i, a := range h.cfg.NixArgs {
		if a == "--override-input" && i+1 < len(h.cfg.NixArgs) && h.cfg.NixArgs[i+1] == input {
			return true
		}
	}
	return false
}

func (h *Hive) nixLock(ctx context.Context) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, h.cfg.EvalTimeout)
	defer cancel()
	argv := append(append([]string{}, h.cfg.Nix...), "--extra-experimental-features", "nix-command flakes", "flake", "lock", h.cfg.Dir)
	out, text, err := h.run(bounded, nil, nil, argv...)
	if err != nil && ctx.Err() == nil {
		return nil, nixFailure("pinning the hive's inputs", h.cfg.Dir, text, err)
	}
	return out, err
}
