package httpboot

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

var update = flag.Bool("update", false, "rewrite the golden scripts")

func params(t testing.TB, query string) Params {
	t.Helper()
	p, err := ParseParams(query)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScriptGolden(t *testing.T) {
	t.Parallel()
	boot := netip.MustParseAddrPort("192.0.2.1:8080")
	uefi := params(t, "mac=52-54-00-00-00-01&uuid=4c4c4544-0042-3510-8053-b4c04f564433&serial=SN%201&platform=efi&buildarch=x86_64")
	bios := params(t, "mac=52-54-00-00-00-01&platform=pcbios&buildarch=i386")
	image := Input{Kind: KindStage0, Label: "web-1", Why: "its job needs stage-0", Params: uefi, Boot: boot, Arch: "x86_64", Version: "26.05.1", Digest: "0123456789abcdef",
		Kernel: "bzImage", Initrd: []string{"initrd"}, Cmdline: "init=/nix/store/x/init loglevel=4", Nonce: "00112233445566778899aabbccddeeff",
		KernelArgs: []string{"console=ttyS0", "", "nomodeset  quiet"}}
	two := image
	two.Initrd, two.Boot, two.Params = []string{"initrd", "extra.cpio"}, netip.MustParseAddrPort("[2001:db8::1]:80"), bios
	for _, c := range []struct {
		name string
		in   Input
	}{
		{"stage0-uefi", image},
		{"stage0-bios-two-initrd-ipv6", two},
		{"disk-uefi", Input{Kind: KindDisk, Label: "web-1", Why: "the host is installed", Params: uefi, Boot: boot}},
		{"disk-bios", Input{Kind: KindDisk, Label: "web-1", Why: "the host is installed", Params: bios, Boot: boot}},
		{"disk-bios-came-back", Input{Kind: KindDisk, Label: "web-1", Why: "the host is installed", Params: bios, Boot: boot, DiskAgain: true}},
		{"hold", Input{Kind: KindHold, Label: "web-1", Why: "fetched its script five times without checking in", Params: uefi, Boot: boot}},
		{"hold-wanted", Input{Kind: KindHold, Label: "web-1", Why: "fetched its script five times without checking in", Params: uefi, Boot: boot, Wanted: true}},
		{"no-image", Input{Kind: KindNoImage, Label: "web-1", Why: "no stage-0 image for x86_64", Params: uefi, Boot: boot}},
		{"no-image-wanted", Input{Kind: KindNoImage, Label: "web-1", Why: "no stage-0 image for x86_64", Params: uefi, Boot: boot, Wanted: true}},
		{"trouble", Input{Kind: KindTrouble, Label: "web-1", Why: "its database does not answer.", Params: uefi, Boot: boot}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Script(c.in)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", c.name+".ipxe")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestCommandLineTooLong(t *testing.T) {
	t.Parallel()
	in := Input{Kind: KindStage0, Params: params(t, "mac=52-54-00-00-00-01"), KernelArgs: []string{strings.Repeat("a ", 1500)}, Initrd: []string{"i"}}
	if _, err := Script(in); !errors.Is(err, ErrCommandLine) {
		t.Errorf("got %v", err)
	}
}

func TestParamsArch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, query, arch, firmware string }{
		{"undionly is an i386 build on 64-bit machines", "buildarch=i386&platform=pcbios", "x86_64", "bios"},
		{"UEFI x64", "buildarch=x86_64&platform=efi", "x86_64", "uefi"},
		{"UEFI arm64", "buildarch=arm64&platform=efi", "aarch64", "uefi"},
		{"32-bit ARM has no image", "buildarch=arm32&platform=efi", "", "uefi"},
		{"nothing said", "", "x86_64", ""},
		{"nonsense", "buildarch=%0ax&platform=%0ay", "x86_64", ""},
	} {
		p := params(t, "mac=52-54-00-00-00-01&"+c.query)
		if p.Arch() != c.arch || p.Firmware() != c.firmware {
			t.Errorf("%s: %q, %q", c.name, p.Arch(), p.Firmware())
		}
	}
}

// lineRE is all that a script's lines may look like: a known command first.
var lineRE = regexp.MustCompile(`^(#!ipxe|:[a-z]+|(echo|set|imgfree|kernel|initrd|boot|inc|iseq|sleep|isset|goto|chain|menu|item|choose|shell|sanboot|exit)( .*)?)$`)

// checkScript fails when a value of a machine's or a person's became more than a value.
func checkScript(t *testing.T, script string) {
	t.Helper()
	for l := range strings.Lines(script) {
		l = strings.TrimSuffix(l, "\n")
		if !lineRE.MatchString(l) {
			t.Errorf("a line that is none of ours: %q", l)
		}
		if strings.HasPrefix(l, "echo ") || strings.HasPrefix(l, "item --gap ") {
			if strings.Contains(l, "${") || strings.Contains(l, "||") || strings.Contains(l, "&&") {
				t.Errorf("a sentence that acts: %q", l)
			}
		}
		for _, v := range regexp.MustCompile(`\$\{[^}]*\}?`).FindAllString(l, -1) {
			if v != "${tries}" && v != "${ip}" && v != "${what}" {
				t.Errorf("an expansion that is none of ours: %q in %q", v, l)
			}
		}
		for _, c := range l {
			if c < ' ' || c > '~' {
				t.Errorf("character %q in %q", c, l)
			}
		}
	}
}

func FuzzScript(f *testing.F) {
	f.Add("mac=52-54-00-00-00-01&serial=${net0/mac}&platform=efi", "web ${x}\nshell", "why || shell", "a=b ${c}")
	f.Add("mac=525400000001&uuid=x&serial=%0ashell", "", "", "\nshell")
	f.Fuzz(func(t *testing.T, query, label, why, args string) {
		p, err := ParseParams(query)
		if err != nil {
			return
		}
		for _, k := range []Kind{KindStage0, KindDisk, KindHold, KindNoImage, KindTrouble} {
			s, err := Script(Input{Kind: k, Label: label, Why: why, Params: p, Boot: netip.MustParseAddrPort("192.0.2.1:8080"), Arch: "x86_64",
				Version: label, Digest: why, Kernel: "bzImage", Initrd: []string{"initrd"}, Cmdline: args, Nonce: "00", KernelArgs: []string{args}, DiskAgain: true})
			if err == nil {
				checkScript(t, s)
			}
		}
	})
}

func TestJudgeSource(t *testing.T) {
	t.Parallel()
	from := netip.MustParseAddr("192.0.2.50")
	boot, second, other := inventory.MAC{2, 0, 0, 0, 0, 1}, inventory.MAC{2, 0, 0, 0, 0, 2}, inventory.MAC{2, 0, 0, 0, 0, 9}
	known := []inventory.MAC{boot, second}
	for _, c := range []struct {
		name       string
		e          evidence
		unverified bool
		refused    bool
	}{
		{"our lease for the MAC", evidence{OnSegment: true, Lease: from, Known: known}, false, false},
		{"ARP shows the MAC", evidence{OnSegment: true, Neighbor: boot, Known: known}, false, false},
		{"ARP shows another interface of the host", evidence{OnSegment: true, Neighbor: second, Known: known}, false, false},
		{"ARP shows another machine", evidence{OnSegment: true, Neighbor: other, Known: known}, false, true},
		{"ARP shows another machine and the lease is elsewhere", evidence{OnSegment: true, Neighbor: other, Lease: netip.MustParseAddr("192.0.2.51"), Known: known}, false, true},
		{"a static address that ARP vouches for", evidence{OnSegment: true, Neighbor: boot, Lease: netip.MustParseAddr("192.0.2.51"), Known: known}, false, false},
		{"nothing known of the address", evidence{OnSegment: true, Known: known}, true, false},
		{"behind a router", evidence{Neighbor: other, Known: known}, true, false},
	} {
		unverified, err := judgeSource(from, c.e)
		if unverified != c.unverified || (err != nil) != c.refused {
			t.Errorf("%s: unverified %v, error %v", c.name, unverified, err)
		}
	}
}
