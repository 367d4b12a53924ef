package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/staged-hive/hatchery/internal/durable"
)

// secret is a token; it never shows itself in a log.
type secret string

// LogValue hides it.
func (secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// String hides it.
func (secret) String() string { return "(secret)" }

// is compares in constant time.
func (s secret) is(other string) bool {
	a, b := sha256.Sum256([]byte(s)), sha256.Sum256([]byte(other))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// mark identifies the token without telling it: sessions carry it, so that a new token ends them.
func (s secret) mark() string {
	sum := sha256.Sum256([]byte("hatchery session\n" + string(s)))
	return hex.EncodeToString(sum[:8])
}

// adminToken reads DIR/admin-token, or makes it.
func adminToken(dir string) (secret, error) {
	file := filepath.Join(dir, "admin-token")
	raw, err := os.ReadFile(file)
	if err == nil {
		t := strings.TrimSpace(string(raw))
		if len(t) < 16 {
			return "", fmt.Errorf("admin token %s: shorter than 16 characters; remove the file to get a new one", file)
		}
		return secret(t), os.Chmod(file, 0o600)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin token: %w", err)
	}
	t := rand.Text() // 26 letters and digits, 130 bits, easy to type
	if err := durable.WriteFile(file, []byte(t+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return secret(t), nil
}
