package web

import (
	"io"
	"strings"
	"testing"
)

func TestBackupIsServedToPrograms(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) {
		c.Backup = func(w io.Writer) error { _, err := io.WriteString(w, "all state"); return err }
	})
	if a := b.api("GET", "/backup", nil, 200, nil); a.body != "all state" || a.header.Get("Content-Type") != "application/gzip" {
		t.Errorf("got %q %v", a.body, a.header)
	}
	b.signIn()
	if p := b.page("/activity"); !strings.Contains(p, "A backup was downloaded by admin.") {
		t.Error("the activity does not tell of it")
	}
	start(t, nil).api("GET", "/backup", nil, 501, nil)
}
