package inventory_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func TestParseMAC(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"52:54:00:AB:cd:01": "52:54:00:ab:cd:01", "52-54-00-ab-cd-01": "52:54:00:ab:cd:01", "525400ABCD01": "52:54:00:ab:cd:01",
		"": "", "52:54:00:ab:cd": "", "52:54-00:ab:cd:01": "", "52.54.00.ab.cd.01": "", "52:54:00:ab:cd:0g": "", "00:00:00:00:00:00": "",
		"01:00:5e:00:00:01": "", "ff:ff:ff:ff:ff:ff": "", "52:54:00:ab:cd:01 ": "", "5:254:00:ab:cd:01": "", "52540000ab": "",
	} {
		got, err := inventory.ParseMAC(in)
		if got.String() != want || (err != nil) != (want == "") {
			t.Errorf("ParseMAC(%q): got %s, %v, want %q", in, got, err, want)
		}
	}
	m, err := inventory.ParseMAC("52:54:00:ab:cd:01")
	if err != nil || m.Hyphens() != "52-54-00-ab-cd-01" {
		t.Errorf("hyphens: got %s, %v", m.Hyphens(), err)
	}
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"52:54:00:ab:cd:01", "52-54-00-AB-CD-01", "525400abcd01", "ff:ff:ff:ff:ff:ff", "é2:54:00:ab:cd:", "::::::::::::", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := inventory.ParseMAC(s)
		if err != nil {
			if !m.IsZero() {
				t.Errorf("an error and %s", m)
			}
			return
		}
		for _, text := range []string{m.String(), m.Hyphens(), strings.ToUpper(m.String())} {
			if back, err := inventory.ParseMAC(text); err != nil || back != m {
				t.Errorf("%q: got %s, %v, want %s", text, back, err, m)
			}
		}
	})
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for n, ok := range map[string]bool{
		"": true, "a": true, "node-1": true, "1": true, strings.Repeat("a", 63): true, "0123456789abcdeg": true,
		"-a": false, "a-": false, "A": false, "a.b": false, "a_b": false, "ä": false, strings.Repeat("a", 64): false, "a b": false,
		"525400abcd01": false, "52-54-00-ab-cd-01": false, "0123456789abcdef": false,
	} {
		if err := inventory.CheckName(n); (err == nil) != ok || err != nil && !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("CheckName(%q): got %v, want ok %v", n, err, ok)
		}
	}
}

func TestCheckRoleKernelArgsAndDiskID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		check func(string) error
		name  string
		good  []string
		bad   []string
	}{
		{inventory.CheckRole, "role", []string{"", "worker", "a1", "A_b-c"}, []string{"1a", "-a", "a b", "a.b", "a$", strings.Repeat("a", 64)}},
		{inventory.CheckKernelArgs, "kernel arguments", []string{"", "console=ttyS0,115200 quiet", "a=b,c:d/e"},
			[]string{"a\nb", "${x}", "a;b", "a|b", "\"", "é", strings.Repeat("a", 513)}},
		{inventory.CheckDiskID, "disk id", []string{"ata-WDC_WD10-1", "nvme-eui.0025", "wwn-0x5000c500", "a:b@c+d#e="},
			[]string{"", ".", "..", "a/b", "a b", "a\x00", "$(x)", strings.Repeat("a", 256)}},
	} {
		for _, s := range c.good {
			if err := c.check(s); err != nil {
				t.Errorf("%s %q: got %v", c.name, s, err)
			}
		}
		for _, s := range c.bad {
			if err := c.check(s); !errors.Is(err, inventory.ErrInvalid) {
				t.Errorf("%s %q: got %v, want ErrInvalid", c.name, s, err)
			}
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"}, {"  spaces\t\n", 20, "spaces"}, {"a\x00b\x1b[31mc", 20, "ab[31mc"}, {"\xff\xfea", 5, "a"},
		{"ünïcödé", 4, "ün"}, {"𝄞𝄞𝄞", 5, "𝄞"}, {"𝄞𝄞", 0, ""}, {"𝄞", 3, ""}, {"abc", 2, "ab"}, {"a\u202eb", 9, "ab"}, {"ab  cd", 4, "ab"},
	} {
		if got := inventory.Clean(c.in, c.limit); got != c.want {
			t.Errorf("Clean(%q, %d): got %q, want %q", c.in, c.limit, got, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain", 10)
	f.Add("𝄞𝄞\xff\x00 ", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit %= 1000
		got := inventory.Clean(s, limit)
		if len(got) > max(limit, 0) || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(got) != got {
			t.Errorf("Clean(%q, %d): got %q", s, limit, got)
		}
	})
}

func goodFacts() inventory.Facts {
	return inventory.Facts{Arch: "x86_64", Firmware: "uefi", UUID: uuid(1), Disks: []inventory.Disk{{ID: "ata-x", ByID: []string{"ata-x"}, Signatures: []string{"gpt"},
		Partitions: []inventory.Partition{{Number: 1, FS: "ext4"}}}}, NICs: []inventory.NIC{{Name: "eth0", MAC: mac(1), Addrs: []string{"10.0.0.1/24"}}}}
}

func TestFactsCheck(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*inventory.Facts){
		"an unknown architecture": func(f *inventory.Facts) { f.Arch = "z80" },
		"an unknown firmware":     func(f *inventory.Facts) { f.Firmware = "${x}" },
		"too many disks":          func(f *inventory.Facts) { f.Disks = make([]inventory.Disk, inventory.MaxDisks+1) },
		"too many interfaces":     func(f *inventory.Facts) { f.NICs = make([]inventory.NIC, inventory.MaxNICs+1) },
		"too many signatures":     func(f *inventory.Facts) { f.Disks[0].Signatures = make([]string, inventory.MaxSignatures+1) },
		"too many partitions": func(f *inventory.Facts) {
			f.Disks[0].Partitions = make([]inventory.Partition, inventory.MaxPartitions+1)
		},
		"too many names of a disk":   func(f *inventory.Facts) { f.Disks[0].ByID = make([]string, 65) },
		"a disk id that is a path":   func(f *inventory.Facts) { f.Disks[0].ID = "../../etc/passwd" },
		"a by-id name with a space":  func(f *inventory.Facts) { f.Disks[0].ByID[0] = "a b" },
		"a disk id like a port's":    func(f *inventory.Facts) { f.Disks[0].ID = "path:pci-0000:00:05.0" },
		"a by-id name like a port's": func(f *inventory.Facts) { f.Disks[0].ByID[0] = "path:x" },
		"a port that is a path":      func(f *inventory.Facts) { f.Disks[0].Path = "../../../etc/passwd" },
		"a port with a quote":        func(f *inventory.Facts) { f.Disks[0].Path = "pci'" },
	} {
		f := goodFacts()
		change(&f)
		if err := f.Check(); !errors.Is(err, inventory.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	f := goodFacts()
	f.UUID, f.Product, f.Disks[0].Serial = strings.ToUpper(uuid(10)), "<script>\n"+strings.Repeat("x", 999), "a\x00b"
	f.NICs[0].Addrs = make([]string, 40)
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	if f.UUID != uuid(10) || len(f.Product) > inventory.MaxFactLen || strings.Contains(f.Product, "\n") || f.Disks[0].Serial != "ab" || len(f.NICs[0].Addrs) != 32 {
		t.Errorf("cleaned: got %+v", f)
	}
}

func FuzzFactsCheck(f *testing.F) {
	good, err := json.Marshal(goodFacts())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"arch":"aarch64","firmware":"bios","disks":[{"id":"a","signatures":["\u0000"]}],"nics":[{"mac":""}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var facts inventory.Facts
		if json.Unmarshal(raw, &facts) != nil || facts.Check() != nil {
			return
		}
		for _, d := range facts.Disks {
			for _, s := range slices.Concat([]string{d.Name, d.Serial, d.WWN, d.Model, d.Type, d.Transport}, d.Signatures) {
				if len(s) > inventory.MaxFactLen || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("disk text %q", s)
				}
			}
		}
		once, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		var again inventory.Facts
		if err := errors.Join(json.Unmarshal(once, &again), again.Check()); err != nil {
			t.Fatalf("what was accepted is refused after storing it: %v", err)
		}
		if twice, _ := json.Marshal(again); string(once) != string(twice) {
			t.Errorf("checked twice (-once +twice):\n%s", cmp.Diff(string(once), string(twice)))
		}
	})
}
