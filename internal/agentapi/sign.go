package agentapi

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// SignatureHeader carries the signature of a check-in or report.
const SignatureHeader = "Hatchery-Signature"

// ErrSignature says that a body was not signed by the key it names.
var ErrSignature = errors.New("the signature does not match the body and the host key")

// message is what is signed: a version word keeps signatures of one use apart from others'.
func message(path string, body []byte) []byte {
	return append([]byte("hatchery-agent-v1\n"+path+"\n"), body...)
}

// Sign signs a body for a path with the machine's SSH host key; the result is the header's value.
func Sign(key ssh.Signer, path string, body []byte) (string, error) {
	if key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return "", fmt.Errorf("host key of type %s: want ed25519", key.PublicKey().Type())
	}
	sig, err := key.Sign(rand.Reader, message(path, body))
	if err != nil {
		return "", fmt.Errorf("signing for %s: %w", path, err)
	}
	return base64.StdEncoding.EncodeToString(ssh.Marshal(sig)), nil
}

// Verify checks a header's value against a host key in authorized_keys form. ErrSignature.
func Verify(hostKey, path string, body []byte, header string) error {
	key, err := parseKey(hostKey)
	if err != nil {
		return err
	}
	if len(header) > 512 {
		return fmt.Errorf("%s header of %d bytes: %w", SignatureHeader, len(header), ErrSignature)
	}
	raw, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		return fmt.Errorf("%s header: not base64: %w", SignatureHeader, ErrSignature)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(raw, &sig); err != nil {
		return fmt.Errorf("%s header: not an SSH signature: %w", SignatureHeader, ErrSignature)
	}
	if err := key.Verify(message(path, body), &sig); err != nil {
		return ErrSignature
	}
	return nil
}

// CanonicalKey checks an ed25519 key in authorized_keys form and returns it without
// options and comment, so that equal keys are equal strings.
func CanonicalKey(line string) (string, error) {
	k, err := parseKey(line)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))), nil
}

func parseKey(line string) (ssh.PublicKey, error) {
	if len(line) > MaxKeyLine {
		return nil, fmt.Errorf("host key of %d bytes: want one ed25519 key", len(line))
	}
	k, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, errors.New("host key: want one line in the form of /etc/ssh/ssh_host_ed25519_key.pub")
	}
	if k.Type() != ssh.KeyAlgoED25519 || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("host key of type %s: want exactly one ed25519 key", k.Type())
	}
	return k, nil
}
