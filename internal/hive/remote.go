package hive

import (
	"context"
	"errors"
	"strings"
)

// pull takes in what the remote has: nothing to do, a fast-forward, or a merge. A merge that conflicts
// is undone and told, never forced. nil without a remote.
func (h *Hive) pull(ctx context.Context) error {
	remotes, err := h.git(ctx, "reading the hive", "remote")
	if err != nil || !hasLine(remotes, "origin") {
		return err
	}
	const what = "following the hive's remote"
	ref, err := h.upstream(ctx)
	if err != nil || ref == "" {
		return err
	}
	if _, err := h.git(ctx, what, "fetch", "--quiet", "origin"); err != nil {
		return err
	}
	if _, err := h.git(ctx, what, "rev-parse", "--verify", "--quiet", "origin/"+ref); err != nil {
		return nil // the remote is still empty: the first push makes the branch
	}
	if _, err := h.git(ctx, what, "merge", "--quiet", "--no-edit", "-m", "hive: take in the remote", "origin/"+ref); err != nil {
		return h.mergeFailed(ctx, err)
	}
	return nil
}

// mergeFailed names the files in conflict and puts the work tree back as it was.
func (h *Hive) mergeFailed(ctx context.Context, err error) error {
	files, _ := h.git(ctx, "reading the conflict", "diff", "--name-only", "--diff-filter=U")
	if files == "" {
		return err // refused before it began: local edits in the way
	}
	_, abortErr := h.git(ctx, "undoing the merge", "merge", "--abort")
	return &Failure{Kind: KindConflict, What: "following the hive's remote", Which: h.cfg.Dir,
		Cause: "the remote and the appliance changed the same lines of " + strings.ReplaceAll(files, "\n", ", "),
		Next:  "Merge by hand in " + h.cfg.Dir + " (git merge), commit; the appliance pushes the result.",
		Err:   errors.Join(err, abortErr)}
}

// upstream is the name of the branch that is checked out.
func (h *Hive) upstream(ctx context.Context) (string, error) {
	return h.git(ctx, "reading the hive", "symbolic-ref", "--short", "-q", "HEAD")
}

// push sends our commits; when the remote has newer ones it takes them in and tries once more.
func (h *Hive) push(ctx context.Context) error {
	remotes, err := h.git(ctx, "reading the hive", "remote")
	if err != nil || !hasLine(remotes, "origin") {
		return err
	}
	ref, err := h.upstream(ctx)
	if err != nil || ref == "" {
		return err
	}
	const what = "pushing the hive"
	if _, err = h.git(ctx, what, "push", "--quiet", "origin", "HEAD:refs/heads/"+ref); err == nil {
		return nil
	}
	if perr := h.pull(ctx); perr != nil {
		return perr
	}
	_, err = h.git(ctx, what, "push", "--quiet", "origin", "HEAD:refs/heads/"+ref)
	return err
}

func hasLine(s, want string) bool {
	for l := range strings.Lines(s) {
		if strings.TrimSpace(l) == want {
			return true
		}
	}
	return false
}
