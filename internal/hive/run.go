package hive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	keepOutput = 64 << 10 // bytes of a program's output that a Failure keeps
	maxStdout  = 8 << 20  // bytes of JSON that nix may print
	// stopGrace is how long a program has after SIGTERM before its whole group is killed.
	stopGrace = 5 * time.Second
)

// tail keeps the last keepOutput bytes written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - keepOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// limited fails the copy when more than maxStdout bytes come.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxStdout {
		return 0, fmt.Errorf("more than %d bytes of output", maxStdout)
	}
	return l.Buffer.Write(p)
}

// environ is ours without what would point git at another repository (set where we run below a git hook).
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"}, name)
	})
}

// run runs a program in its own process group and ends the whole group when ctx ends: SIGTERM,
// and SIGKILL after stopGrace. log may be nil.
func (h *Hive) run(ctx context.Context, log io.Writer, env []string, argv ...string) (stdout []byte, output string, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = h.cfg.Dir
	cmd.Env = append(environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	var out limited
	var end tail
	cmd.Stdout, cmd.Stderr = &out, io.Writer(&end)
	if log != nil {
		cmd.Stderr = io.MultiWriter(&end, log)
	}
	err = cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is left of the group
	}
	return out.Bytes(), strings.ToValidUTF8(string(end.b), "?"), err
}

// nix runs one nix command with a time limit; the error is a *Failure or the caller's own ctx error.
func (h *Hive) nix(ctx context.Context, limit time.Duration, what, which string, log io.Writer, args ...string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	argv := append(append([]string{}, h.cfg.Nix...), "--extra-experimental-features", "nix-command flakes")
	argv = append(argv, args...)
	argv = append(append(argv, "--no-write-lock-file"), h.cfg.NixArgs...)
	start := h.cfg.Now()
	out, text, err := h.run(bounded, log, []string{"NO_COLOR=1"}, argv...)
	h.cfg.Log.Debug("nix", "step", what, "dur", h.cfg.Now().Sub(start), "err", err)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", what, ctx.Err())
	case bounded.Err() != nil:
		return nil, timeoutFailure(what, which, limit, text, bounded.Err())
	}
	return nil, nixFailure(what, which, text, err)
}

func (h *Hive) nixEval(ctx context.Context, what, installable string) ([]byte, error) {
	return h.nix(ctx, h.cfg.EvalTimeout, what+" of the hive", h.cfg.Dir, nil, "eval", "--json", "--show-trace", installable)
}

// nixBuild builds one installable of a host and keeps it from the garbage collector under that name.
func (h *Hive) nixBuild(ctx context.Context, name, installable string, log io.Writer) (string, error) {
	roots := filepath.Join(h.cfg.Dir, ".git", "hatchery-roots")
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return "", fmt.Errorf("build of host %s: %w", name, err)
	}
	what := "building host " + name
	out, err := h.nix(ctx, h.cfg.BuildTimeout, what, "", log,
		"build", "--json", "--print-build-logs", "--show-trace", "--out-link", filepath.Join(roots, name), installable)
	if err != nil {
		return "", err
	}
	var res []struct {
		Outputs map[string]string `json:"outputs"`
	}
	if err := json.Unmarshal(out, &res); err != nil || len(res) != 1 || res[0].Outputs["out"] == "" {
		return "", fmt.Errorf("%s: nix printed no output path: %w", what, errors.Join(err, ErrInvalid))
	}
	return res[0].Outputs["out"], nil
}
