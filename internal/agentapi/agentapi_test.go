package agentapi

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

const (
	testNonce  = "00112233445566778899aabbccddeeff"
	testBootID = "11111111-2222-4333-8444-555555555555"
)

func newKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	s := sshtest.NewKey(t)
	return s, sshtest.PublicLine(s)
}

func testCheckIn(key string) CheckIn {
	return CheckIn{Nonce: testNonce, HostKey: key, BootID: testBootID, Facts: inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "ACME\x00\n"}}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	key, line := newKey(t)
	_, otherLine := newKey(t)
	body := []byte(`{"a":1}`)
	good, err := Sign(key, PathCheckIn, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, key, path, body, header string
		ok                            bool
	}{
		{"the signed body", line, PathCheckIn, `{"a":1}`, good, true},
		{"another body", line, PathCheckIn, `{"a":2}`, good, false},
		{"another path", line, PathProgress, `{"a":1}`, good, false},
		{"another key", otherLine, PathCheckIn, `{"a":1}`, good, false},
		{"no signature", line, PathCheckIn, `{"a":1}`, "", false},
		{"no base64", line, PathCheckIn, `{"a":1}`, "!!", false},
		{"a cut signature", line, PathCheckIn, `{"a":1}`, good[:20], false},
		{"a long header", line, PathCheckIn, `{"a":1}`, strings.Repeat("A", 4096), false},
	} {
		err := Verify(c.key, c.path, []byte(c.body), c.header)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestOnlyEd25519HostKeys(t *testing.T) {
	t.Parallel()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(s, PathCheckIn, nil); err == nil {
		t.Error("an RSA key signed")
	}
	_, line := newKey(t)
	for _, c := range []struct {
		name, line string
		ok         bool
	}{
		{"a plain key", line, true},
		{"a key with a comment", line + " root@stage0", true},
		{"an RSA key", string(ssh.MarshalAuthorizedKey(s.PublicKey())), false},
		{"a key with options", `command="evil" ` + line, false},
		{"two keys", line + "\n" + line, false},
		{"nothing", "", false},
		{"a long line", line + strings.Repeat("x", 2000), false},
	} {
		got, err := CanonicalKey(c.line)
		if (err == nil) != c.ok || c.ok && got != line {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestDecodeCheckIn(t *testing.T) {
	t.Parallel()
	_, key := newKey(t)
	want := testCheckIn(key)
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeCheckIn(raw)
	want.Facts.Vendor = "ACME"
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n-want +got:\n%s", err, cmp.Diff(want, got))
	}
	for _, c := range []struct {
		name   string
		change func(*CheckIn)
		want   string
	}{
		{"a short nonce", func(c *CheckIn) { c.Nonce = "00" }, "nonce"},
		{"a nonce with upper case", func(c *CheckIn) { c.Nonce = strings.ToUpper(testNonce) }, "nonce"},
		{"no boot id", func(c *CheckIn) { c.BootID = "" }, "boot id"},
		{"no host key", func(c *CheckIn) { c.HostKey = "" }, "host key"},
		{"an unknown architecture", func(c *CheckIn) { c.Facts.Arch = "mips" }, "architecture"},
		{"too many disks", func(c *CheckIn) { c.Facts.Disks = make([]inventory.Disk, 1000) }, "disks"},
		{"a disk id that is a path", func(c *CheckIn) { c.Facts.Disks = []inventory.Disk{{ID: "../sda"}} }, "disk id"},
	} {
		m := testCheckIn(key)
		c.change(&m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeCheckIn(raw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	for name, body := range map[string]string{
		"two values": string(raw) + "{}", "an unknown field alone": `{"x":1}`, "an unknown field that is too deep": strings.Replace(string(raw), "{", `{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+",", 1), "a known field of another kind": strings.Replace(string(raw), "{", `{"agent":[],`, 1), "an array": "[]", "nothing": "", "deep nesting": strings.Repeat("[", 20000), "very many small things": `{"facts":{"disks":[` + strings.Repeat("{},", 100_000) + "{}]}}", "too much": strings.Repeat(" ", MaxCheckIn+1),
	} {
		if _, err := DecodeCheckIn([]byte(body)); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

// TestFieldsOfANewerAgentAreSkipped: an appliance that was put back to an earlier version, or one whose stage-0 was updated
// first, still takes machines in; what it knows of them it checks as ever.
func TestFieldsOfANewerAgentAreSkipped(t *testing.T) {
	t.Parallel()
	_, key := newKey(t)
	want := testCheckIn(key)
	want.Facts.Disks = []inventory.Disk{{ID: "ata-DISK", Name: "sda"}}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.NewReplacer(`{"nonce"`, `{"later":{"a":[1,{"b":null}]},"nonce"`, `"id":"ata-DISK"`, `"id":"ata-DISK","place":"slot 3"`).Replace(string(raw))
	if strings.Count(newer, "later")+strings.Count(newer, "slot 3") != 2 {
		t.Fatalf("nothing was added: %s", newer)
	}
	known, err := DecodeCheckIn(raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeCheckIn([]byte(newer))
	if diff := cmp.Diff(known, got); err != nil || diff != "" {
		t.Errorf("with fields of a newer agent: %v (-want +got):\n%s", err, diff)
	}
	if _, err := DecodeProgress([]byte(`{"nonce":"` + testNonce + `","boot_id":"` + want.BootID + `","mood":"good"}`)); err != nil {
		t.Errorf("a newer agent's report: %v", err)
	}
}

func TestDecodeProgressCutsTheLog(t *testing.T) {
	t.Parallel()
	p := Progress{Nonce: testNonce, BootID: testBootID, Log: make([]string, 100)}
	p.Log[0] = "a\x1b[31m\n" + strings.Repeat("b", 1000)
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeProgress(raw)
	if err != nil || len(got.Log) != MaxLogLines || len(got.Log[0]) > MaxLogLine || strings.ContainsAny(got.Log[0], "\x1b\n") {
		t.Errorf("%v, %d lines, first %q", err, len(got.Log), got.Log)
	}
}

func TestDecodeJoin(t *testing.T) {
	t.Parallel()
	mac, err := inventory.ParseMAC("52:54:00:00:00:01")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   Join
		ok   bool
	}{
		{"a machine", Join{Token: "t", MACs: []inventory.MAC{mac}, Arch: "x86_64", Firmware: "bios"}, true},
		{"no token", Join{MACs: []inventory.MAC{mac}, Arch: "x86_64", Firmware: "bios"}, false},
		{"a long token", Join{Token: strings.Repeat("t", 300), MACs: []inventory.MAC{mac}, Arch: "x86_64", Firmware: "bios"}, false},
		{"no MAC", Join{Token: "t", Arch: "x86_64", Firmware: "bios"}, false},
		{"an empty MAC", Join{Token: "t", MACs: []inventory.MAC{{}}, Arch: "x86_64", Firmware: "bios"}, false},
		{"no architecture", Join{Token: "t", MACs: []inventory.MAC{mac}, Firmware: "bios"}, false},
	} {
		raw, err := json.Marshal(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeJoin(raw); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestNewNonce(t *testing.T) {
	t.Parallel()
	a, err := NewNonce(rand.Reader)
	if err != nil || CheckNonce(a) != nil {
		t.Errorf("%q: %v, %v", a, err, CheckNonce(a))
	}
	if _, err := NewNonce(bytes.NewReader([]byte{1, 2})); err == nil {
		t.Error("too little randomness passed")
	}
	if NonceHash(a) == TokenHash(a) || NonceHash(a) == a {
		t.Error("hashes are not kept apart")
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	for in, want := range map[int]time.Duration{0: ReportEvery, -5: ReportEvery, 3: 3 * time.Second, 1 << 40: 10 * time.Minute} {
		if got := (Status{ReportSeconds: in}).Interval(); got != want {
			t.Errorf("%d: %v, want %v", in, got, want)
		}
	}
}

func FuzzDecodeCheckIn(f *testing.F) {
	_, key := newKey(f)
	raw, err := json.Marshal(testCheckIn(key))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"facts":{"disks":[{"id":"x"}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := DecodeCheckIn(body)
		if err != nil {
			return
		}
		for _, s := range []string{c.Facts.Vendor, c.Facts.Product, c.Facts.Serial, c.Facts.UUID, c.Agent} {
			if len(s) > inventory.MaxFactLen || strings.ContainsAny(s, "\n\x00\x1b") {
				t.Errorf("%q passed", s)
			}
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := DecodeCheckIn(again); err != nil || cmp.Diff(c, d) != "" {
			t.Errorf("written and read again: %v\n%s", err, cmp.Diff(c, d))
		}
	})
}

func FuzzDecodeJoin(f *testing.F) {
	f.Add([]byte(`{"token":"t","macs":["52:54:00:00:00:01"],"uuid":"u\u001b[2J","serial":"s\n","arch":"x86_64","firmware":"uefi"}`))
	f.Add([]byte(`{"token":"t","macs":["00:00:00:00:00:00"],"arch":"x86_64","firmware":"bios"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		j, err := DecodeJoin(body)
		if err != nil {
			return
		}
		if j.Token == "" || len(j.Token) > MaxToken || len(j.MACs) == 0 || len(j.MACs) > inventory.MaxNICs {
			t.Errorf("%+v passed", j)
		}
		for _, s := range []string{j.UUID, j.Serial} {
			if len(s) > inventory.MaxFactLen || strings.ContainsAny(s, "\n\x00\x1b") {
				t.Errorf("%q passed", s)
			}
		}
	})
}

func FuzzParsePersonal(f *testing.F) {
	f.Add([]byte(`{"version":1,"urls":["https://192.0.2.1:8443/"],"fingerprint":"` + strings.Repeat("ab", 32) + `","token":"t","static":{"address":"192.0.2.5/24","gateway":"192.0.2.1"}}` + "\n\n"))
	f.Add([]byte("\n\n\n"))
	f.Add([]byte(`{"version":1,"urls":["http://192.0.2.1"],"token":"t"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePersonal(text)
		if err != nil {
			return
		}
		for _, u := range p.URLs {
			if !strings.HasPrefix(strings.ToLower(u), "https://") {
				t.Errorf("the token would go to %q", u)
			}
		}
		if len(p.URLs) == 0 || len(p.URLs) > MaxURLs || p.Token == "" || p.Static != nil && p.Static.Check() != nil {
			t.Errorf("%+v passed", p)
		}
	})
}
