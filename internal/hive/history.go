package hive

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// maxHistory bounds how far back History looks, in commits.
const maxHistory = 2000

// Commit is one commit of the hive, and the files it changed against its first parent.
type Commit struct {
	Hash  string
	Files []string // paths from the top of the repository
}

// History lists the newest commits, newest first, at most 2,000.
func (h *Hive) History(ctx context.Context) ([]Commit, error) {
	out, err := h.git(ctx, "reading the hive's history", "log", "--first-parent", "-m", "--no-renames", "--name-only",
		"--format=%x00%H", fmt.Sprintf("--max-count=%d", maxHistory))
	if err != nil {
		return nil, err
	}
	var list []Commit
	for rec := range strings.SplitSeq(out, "\x00") {
		hash, files, _ := strings.Cut(rec, "\n")
		if hash = strings.TrimSpace(hash); hash == "" {
			continue
		}
		list = append(list, Commit{Hash: hash, Files: strings.Fields(files)})
	}
	return list, nil
}

// Behind counts the commits since `commit` that concern the host of that name: everything but what the
// appliance wrote of other hosts. -1 says that the history does not have the commit.
func Behind(history []Commit, commit, name string) int {
	n := 0
	for _, c := range history {
		if c.Hash == commit {
			return n
		}
		for _, f := range c.Files {
			if strings.HasPrefix(f, "hosts/") && !strings.HasPrefix(f, "hosts/"+name+"/") {
				continue
			}
			n++
			break
		}
	}
	return -1
}

// ReadHost reads what the hive's newest commit says of a host; false when it says nothing.
func (h *Hive) ReadHost(ctx context.Context, name string) (f HostFile, known bool, err error) {
	at := path.Join("hosts", name, "host.json")
	list, err := h.git(ctx, "reading host "+name, "ls-tree", "--name-only", "HEAD", "--", at)
	if err != nil || list == "" {
		return f, false, err
	}
	raw, err := h.git(ctx, "reading host "+name, "show", "HEAD:"+at)
	if err != nil {
		return f, false, err
	}
	if err := json.Unmarshal([]byte(raw), &f); err != nil {
		return f, false, fmt.Errorf("%s in the hive: %w", at, err)
	}
	return f, true, f.Check()
}
