package pipeline

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
)

// vault keeps the secrets that are planted on hosts, in files of mode 0600 below the data
// directory: the SSH host keys (ssh/hosts/ID) and the cluster tokens (secrets/k3s/CLUSTER/…).
// Everything it hands out is made known to the masks first. Its methods are called under the runner's lock.
type vault struct {
	dir   string
	masks *masks
}

// hostKey is the SSH host key of a host: made at the first call, the same ever after, so that a
// reinstall keeps the host's identity. known is Host.InstalledKey: a forgotten host that came back under
// a new id finds its key by it.
func (v *vault) hostKey(id inventory.HostID, known string) (private secret, public string, err error) {
	path := filepath.Join(v.dir, "ssh", "hosts", string(id))
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = v.oldKey(known); raw == nil && err == nil {
			raw, err = newKey(string(id))
		}
		if err == nil {
			err = durable.WriteFile(path, raw, 0o600)
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("SSH host key of host %s: %w", id, err)
	}
	signer, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		return "", "", fmt.Errorf("SSH host key of host %s in %s: %w", id, path, err)
	}
	v.masks.add(secret(raw))
	return secret(raw), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// oldKey finds the private key whose public half is known; nil when there is none.
func (v *vault) oldKey(known string) ([]byte, error) {
	if known == "" {
		return nil, nil
	}
	want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(known))
	if err != nil {
		return nil, nil // not a key of ours: a new one is made
	}
	files, err := filepath.Glob(filepath.Join(v.dir, "ssh", "hosts", "*"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if s, err := ssh.ParsePrivateKey(raw); err == nil && string(s.PublicKey().Marshal()) == string(want.Marshal()) {
			return raw, nil
		}
	}
	return nil, nil
}

func newKey(comment string) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// The kinds of cluster token.
const (
	tokenServer = "server-token"
	tokenAgent  = "agent-token"
)

// token is a cluster's secret of that kind, made at the first call. k3s takes any text without
// spaces as a token; 32 random bytes in hex are what it makes itself.
func (v *vault) token(cluster, kind string) (secret, error) {
	if err := inventory.CheckRole(cluster); err != nil || cluster == "" {
		return "", fmt.Errorf("cluster %q: a letter, then letters, digits, '-' and '_': %w", inventory.Clean(cluster, 64), inventory.ErrInvalid)
	}
	path := filepath.Join(v.dir, "secrets", "k3s", cluster, kind)
	s, err := v.secretFile(path)
	if err != nil {
		return "", fmt.Errorf("%s of cluster %s: %w", kind, cluster, err)
	}
	return s, nil
}

// diskKeyRE is where a layout may read a disk's key on the machine.
var diskKeyRE = regexp.MustCompile(`^/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

// diskKey is the local file with the key of a host's encrypted disks that the layout reads at `remote`:
// made once and kept, so that a reinstall opens the persistent disks again.
func (r *Runner) diskKey(id inventory.HostID, remote string) (string, error) {
	if !diskKeyRE.MatchString(remote) || len(remote) > 200 || strings.Contains(remote, "..") {
		return "", fmt.Errorf("key file %q of the layout: not a plain path", inventory.Clean(remote, 200))
	}
	r.keyMu.Lock()
	defer r.keyMu.Unlock()
	path := filepath.Join(r.cfg.Dir, "secrets", "disks", string(id), strings.ReplaceAll(remote[1:], "/", "_"))
	_, err := r.vault.secretFile(path)
	return path, err
}

// secretFile reads a secret of 32 random bytes in hex, made at the first call.
func (v *vault) secretFile(path string) (secret, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var b [32]byte
		rand.Read(b[:])
		raw = []byte(hex.EncodeToString(b[:]))
		err = durable.WriteFile(path, raw, 0o600) // before a disk is encrypted with it
	}
	if err != nil {
		return "", err
	}
	s := secret(strings.TrimSpace(string(raw)))
	v.masks.add(s)
	return s, nil
}

// known makes every secret on disk known to the masks, for lines that are printed before a secret is used.
func (v *vault) known() error {
	for _, pattern := range []string{"ssh/hosts/*", "secrets/k3s/*/*", "secrets/disks/*/*"} {
		files, err := filepath.Glob(filepath.Join(v.dir, pattern))
		if err != nil {
			return fmt.Errorf("secrets: %w", err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				return fmt.Errorf("secrets: %w", err)
			}
			v.masks.add(secret(raw))
		}
	}
	return nil
}

// planted is what --extra-files puts on an installed host.
type planted struct {
	hostKey                 secret
	serverToken, agentToken secret // "" = none
	hostJSON                []byte
}

// writeExtra makes the --extra-files tree below dir, which must not exist: modes are kept by
// nixos-anywhere's tar, the owner becomes root (nix-facts section 2).
func writeExtra(dir string, p planted) error {
	files := []struct {
		path    string
		content []byte
		mode    fs.FileMode
	}{
		{"etc/ssh/ssh_host_ed25519_key", []byte(p.hostKey), 0o600},
		{"var/lib/hatchery/host.json", p.hostJSON, 0o644},
		{"var/lib/hatchery/k3s-token", []byte(p.serverToken), 0o600},
		{"var/lib/hatchery/k3s-agent-token", []byte(p.agentToken), 0o600},
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("files to plant: %w", err)
	}
	for _, f := range files {
		if len(f.content) == 0 {
			continue
		}
		path := filepath.Join(dir, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("files to plant: %w", err)
		}
		if err := os.WriteFile(path, f.content, f.mode); err != nil {
			return fmt.Errorf("files to plant: %w", err)
		}
	}
	// The machine's own directories take these modes over: they become what a NixOS system has,
	// whatever the appliance's umask is.
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == dir {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
