package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/web"
)

func TestTheDoctorLooksAtTheBoxWhileNoApplianceRuns(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"doctor", "--data", t.TempDir(), "--json"}, &out, &errs)
	var checks []web.Check
	if err := json.Unmarshal(out.Bytes(), &checks); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if code != exitError || len(checks) < 10 || checks[0].Name != "appliance" || checks[0].State != web.CheckFail {
		t.Errorf("got exit code %d, %+v", code, checks)
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	if got := portFree(t.Context(), "tcp", "0", "any"); got.State != web.CheckOK {
		t.Errorf("a free port: %+v", got)
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := portFree(t.Context(), "tcp", port, "boot files"); got.State != web.CheckFail || !strings.Contains(got.Text, "TCP "+port+" (boot files) is taken") {
		t.Errorf("a taken port: %+v", got)
	}
}

func TestMaskHidesWhatIsSecretAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"admin-token": "hhhhhhhhadmin\n", "secrets/k3s/home/token": "K10abc", "tls/key.pem": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n", "tls/cert.pem": "publiccertificate\n", "ssh/id.pub": "ssh-ed25519 AAAApublic\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hide := knownSecrets(dir)
	for in, want := range map[string]string{
		"it is hhhhhhhhadmin.":                                      "it is [secret].",
		"key MIGHAgEAMBMGByqGSM49 of":                               "key [secret] of",
		"publiccertificate, ssh-ed25519 AAAApublic":                 "publiccertificate, ssh-ed25519 AAAApublic",
		"fetch https://joe:pass@git.example/x":                      "fetch https://[secret]@git.example/x",
		"fetch https://git.example/x?a=b@c":                         "fetch https://git.example/x?a=b@c",
		"http://[fd00::1]:8443/ mail@example.org":                   "http://[fd00::1]:8443/ mail@example.org",
		`"access-tokens", "github.com=ghx123456"`:                   `"access-tokens", "github.com=[secret]"`,
		"--option access-tokens github.com=abcdef":                  "--option access-tokens github.com=[secret]",
		`password: "hunter22"`:                                      `password: "[secret]"`,
		"Authorization: Bearer abc.def":                             "Authorization: Bearer [secret]",
		"hatchery.nonce=00112233445566":                             "hatchery.nonce=[secret]",
		"one-time code code=IDXSQ-3FTZQ":                            "one-time code code=[secret]",
		"hatchery_dhcp_decisions_total{kind=\"pxe\"} 3":             "hatchery_dhcp_decisions_total{kind=\"pxe\"} 3",
		"serial CODE-AB12 code: 1, message: file not found":         "serial CODE-AB12 code: 1, message: file not found",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\nno end":          "[secret]",
		"by token laptop, scope read":                               "by token laptop, scope read",
		"K10" + strings.Repeat("0a", 32) + "::server:abcdef joined": "[secret] joined",
	} {
		if got := hide.mask(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTheLogsEndIsKeptFromALinesBeginning(t *testing.T) {
	t.Parallel()
	var l logTail
	line := []byte(strings.Repeat("x", 999) + "\n")
	for range 5000 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	got := l.bytes()
	if len(got) > supportLog || len(got) < supportLog-2000 || got[0] != 'x' || len(got)%1000 != 0 || cap(l.buf) > 4*supportLog {
		t.Errorf("%d bytes are kept, room for %d", len(got), cap(l.buf))
	}
}

func TestTheClockOfAnotherAgeIsWrong(t *testing.T) {
	t.Parallel()
	if got := clock(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)); got.State != web.CheckFail || !strings.Contains(got.Hint, "year is wrong") {
		t.Errorf("got %+v", got)
	}
	if got := clock(time.Now()); got.State != web.CheckOK {
		t.Errorf("got %+v", got)
	}
}
