package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/agentapi"
)

// addKeys puts the appliance's keys into an authorized_keys file that keeps what else is in
// it. Nothing is written when all are there. The file is 0600, its folder 0700 when it is made here.
func addKeys(file string, keys []string) error {
	if len(keys) > agentapi.MaxKeys {
		keys = keys[:agentapi.MaxKeys]
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("authorized keys: %w", err)
	}
	have := keyBlobs(old)
	content := old
	for _, k := range keys {
		pub, comment, err := oneKey(k)
		if err != nil {
			return fmt.Errorf("a key from the appliance: %w", err)
		}
		if have[string(pub.Marshal())] {
			continue
		}
		have[string(pub.Marshal())] = true
		if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
			content = append(content, '\n')
		}
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
		content = fmt.Appendf(content, "%s %s\n", line, comment)
	}
	if bytes.Equal(old, content) {
		return nil
	}
	return replaceFile(file, content)
}

// oneKey accepts one plain key: no options, which could run commands, and no second line.
func oneKey(line string) (ssh.PublicKey, string, error) {
	if len(line) > agentapi.MaxKeyLine {
		return nil, "", errors.New("longer than a key")
	}
	pub, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New("not one plain line of authorized_keys")
	}
	word := strings.Map(func(r rune) rune {
		if r > ' ' && r < 127 {
			return r
		}
		return -1
	}, comment)
	if word == "" {
		word = "hatchery"
	}
	return pub, word, nil
}

func keyBlobs(file []byte) map[string]bool {
	have := map[string]bool{}
	for l := range bytes.Lines(file) {
		if pub, _, _, _, err := ssh.ParseAuthorizedKey(l); err == nil {
			have[string(pub.Marshal())] = true
		}
	}
	return have
}

// replaceFile writes beside the file and renames, so that sshd never reads half of it.
func replaceFile(file string, content []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("authorized keys: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".authorized_keys-") // made 0600
	if err != nil {
		return fmt.Errorf("authorized keys: %w", err)
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("authorized keys: %w", err)
	}
	return nil
}
