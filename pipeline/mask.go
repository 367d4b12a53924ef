package pipeline

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// secret is text that must never be printed: a token or a private key.
type secret string

// LogValue hides it.
func (secret) LogValue() slog.Value { return slog.StringValue("•••") }

// String hides it.
func (secret) String() string { return "•••" }

// masks replaces every known secret in text. Safe for concurrent use.
type masks struct {
	mu   sync.RWMutex
	list []string
}

// add makes a secret known; a text of several lines (a private key) is masked line by line.
// Lines under 12 characters are too short to be secret and would mask ordinary text.
func (m *masks) add(s secret) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.Lines(string(s)) {
		line = strings.TrimSpace(line)
		if len(line) < 12 || strings.HasPrefix(line, "-----") || slices.Contains(m.list, line) {
			continue
		}
		m.list = append(m.list, line)
	}
	// The longest first, so that no secret's tail is left when another one is its beginning.
	slices.SortFunc(m.list, func(a, b string) int { return len(b) - len(a) })
}

// apply is the text with every secret replaced.
func (m *masks) apply(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, s := range m.list {
		text = strings.ReplaceAll(text, s, "•••")
	}
	return text
}
