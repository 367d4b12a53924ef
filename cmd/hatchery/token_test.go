package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// urlOf is where the appliance of a data folder serves its pages.
func urlOf(t *testing.T, data string) string {
	t.Helper()
	var about struct {
		URL string `json:"url"`
	}
	r := &remote{data: data}
	if err := r.call(t.Context(), "GET", "/appliance", nil, &about); err != nil {
		t.Fatal(err)
	}
	return about.URL
}

func TestTokenFilesOpenTheAppliance(t *testing.T) {
	t.Parallel()
	data, _ := served(t)
	url, dir := urlOf(t, data), t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(args ...string) string {
		t.Helper()
		out, code := hatchery(t, args...)
		if code != 0 {
			t.Fatalf("%s: exit code %d, %s", strings.Join(args, " "), code, out)
		}
		return out
	}
	admin := must("token", "--data", data)
	reader := must("token", "create", "reader", "--expires", "12h", "--data", data)
	bare := must("token", "create", "bare", "--scope", "operate", "--expires", "never", "--no-pin", "--data", data)
	if n := strings.Count(admin, "\n"); n != 2 || strings.Count(reader, "\n") != 2 || strings.Count(bare, "\n") != 1 {
		t.Fatalf("token files: got %q, %q and %q", admin, reader, bare)
	}
	pin := strings.Fields(admin)[1]
	if strings.Fields(reader)[1] != pin || !strings.HasPrefix(pin, "sha256//") {
		t.Errorf("pins: got %q and %q", admin, reader)
	}
	over := func(name, text, url, args string) (string, int) {
		return hatchery(t, append(strings.Fields(args), "--server", url, "--token-file", file(name, text))...)
	}
	for _, c := range []struct {
		name, file, url, args string
		code                  int
		want                  string
	}{
		{"the admin token does everything", admin, url, "hosts add --mac 52:54:00:00:00:07 --name seven", 0, "seven"},
		{"a reader reads", reader, url, "hosts show seven", 0, "expected"},
		{"a reader does not act", reader, url, "hosts ignore seven", exitRefused, "needs scope operate"},
		{"another key is refused", strings.Fields(reader)[0] + "\nsha256//" + strings.Repeat("A", 43) + "=\n", url, "hosts list", exitError, "hatchery token"},
		{"no pin needs a certificate that is trusted anyway", bare, url, "hosts list", exitError, "unknown authority"},
		{"a pin does not go with plain HTTP", reader, "http" + strings.TrimPrefix(url, "https"), "hosts list", exitUsage, "https://"},
		{"a wrong token", "hatchery_x_y\n" + pin, url, "hosts list", exitRefused, "neither revoked nor is over"},
		{"half a pin", "x\nsha256//abc", url, "hosts list", exitError, "want sha256//BASE64"},
		{"the admin token does not travel", admin, url, "token", exitUsage, "on the appliance itself"},
	} {
		if out, code := over("t", c.file, c.url, c.args); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", c.name, code, out, c.code, c.want)
		}
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(must("token", "list", "--json", "--data", data)), &list); err != nil || len(list) != 2 {
		t.Errorf("list: got %v, %v", list, err)
	}
	must("token", "revoke", "reader", "--data", data)
	if out, code := over("t", reader, url, "hosts list"); code != exitRefused {
		t.Errorf("a revoked token: got exit code %d and %q", code, out)
	}
	if out, code := hatchery(t, "token", "revoke", "reader", "--data", data); code != exitNotFound {
		t.Errorf("revoked twice: got exit code %d and %q", code, out)
	}
}

func TestParseEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{"never": {}, "90d": now.AddDate(0, 0, 90), "12h": now.Add(12 * time.Hour),
		"2027-01-31": time.Date(2027, 2, 1, 0, 0, 0, 0, time.Local)} {
		if got, err := parseEnd(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0d", "-1h", "90", "d", "99999d", "yesterday"} {
		if got, err := parseEnd(in, now); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}
