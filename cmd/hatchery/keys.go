package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/durable"
)

// applianceKey is the SSH key pair with which the appliance reaches stage-0 and its installed hosts.
type applianceKey struct {
	path   string // of the private half, 0600
	signer ssh.Signer
}

// authorizedKey is the public half as a line of authorized_keys, without a line end.
func (k applianceKey) authorizedKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.signer.PublicKey()))) + " hatchery"
}

// loadApplianceKey reads DATA/ssh/id_ed25519, and makes it at the first start.
func loadApplianceKey(data string) (applianceKey, error) {
	path := filepath.Join(data, "ssh", "id_ed25519")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = makeKey(path); err != nil {
			return applianceKey{}, fmt.Errorf("appliance's SSH key %s: %w", path, err)
		}
	} else if err != nil {
		return applianceKey{}, fmt.Errorf("appliance's SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		return applianceKey{}, fmt.Errorf("appliance's SSH key %s: %w; restore it from a backup, or move it away to have a new one made (hosts then need it authorised again)", path, err)
	}
	return applianceKey{path: path, signer: signer}, nil
}

func makeKey(path string) ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "hatchery")
	if err != nil {
		return nil, err
	}
	raw := pem.EncodeToMemory(block)
	return raw, durable.WriteFile(path, raw, 0o600)
}
