package bootfile

import (
	"net/netip"
	"strings"
	"testing"
)

var boot = netip.MustParseAddrPort("192.168.100.200:8080")

func TestFor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		stage    Stage
		arch     Arch
		fallback bool
		want     string
		cpu, fw  string
	}{
		{"BIOS", StageFirmware, 0, false, "undionly.kpxe", "x86_64", "bios"},
		{"BIOS has one choice", StageFirmware, 0, true, "undionly.kpxe", "x86_64", "bios"},
		{"x64 says Itanium", StageFirmware, 2, false, "snponly.efi", "x86_64", "uefi"},
		{"32-bit UEFI", StageFirmware, 6, false, "", "", "uefi"},
		{"x64", StageFirmware, 7, false, "snponly.efi", "x86_64", "uefi"},
		{"x64, second choice", StageFirmware, 7, true, "ipxe.efi", "x86_64", "uefi"},
		{"x64 says Xscale", StageFirmware, 8, false, "snponly.efi", "x86_64", "uefi"},
		{"x64 by the RFC", StageFirmware, 9, false, "snponly.efi", "x86_64", "uefi"},
		{"32-bit ARM", StageFirmware, 10, false, "", "", "uefi"},
		{"arm64", StageFirmware, 11, false, "ipxe-arm64.efi", "aarch64", "uefi"},
		{"32-bit HTTP", StageHTTP, 15, false, "", "", "uefi"},
		{"x64 HTTP", StageHTTP, 16, false, "http://192.168.100.200:8080/ipxe/snponly.efi", "x86_64", "uefi"},
		{"EBC HTTP", StageHTTP, 17, false, "http://192.168.100.200:8080/ipxe/snponly.efi", "x86_64", "uefi"},
		{"32-bit ARM HTTP", StageHTTP, 18, false, "", "", "uefi"},
		{"arm64 HTTP", StageHTTP, 19, false, "http://192.168.100.200:8080/ipxe/ipxe-arm64.efi", "aarch64", "uefi"},
		{"BIOS HTTP", StageHTTP, 20, false, "", "x86_64", "bios"},
		{"U-Boot arm64", StageFirmware, 0x16, false, "ipxe-arm64.efi", "aarch64", ""},
		{"rpiboot", StageFirmware, 0x29, false, "", "aarch64", ""},
		{"iPXE on anything", StageIPXE, 999, false, "http://192.168.100.200:8080/boot.ipxe?mac=${mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform}&buildarch=${buildarch}", "", ""},
	}
	for _, tt := range tests {
		got, ok := For(tt.stage, tt.arch, boot, tt.fallback)
		if got != tt.want || ok != (tt.want != "") || tt.arch.CPU() != tt.cpu || tt.arch.Firmware() != tt.fw {
			t.Errorf("%s: got %q, %q, %q", tt.name, got, tt.arch.CPU(), tt.arch.Firmware())
		}
		if n, ok := File(tt.arch, tt.fallback); ok && !Known(n) {
			t.Errorf("%s: %s is offered but not served", tt.name, n)
		}
	}
}

func TestShim(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"snponly.efi": "snponly-shim.efi", "http://10.0.0.1:8080/ipxe/ipxe.efi": "http://10.0.0.1:8080/ipxe/ipxe-shim.efi",
		"ipxe-arm64.efi": "ipxe-arm64-shim.efi", "undionly.kpxe": "", "snponly-shim.efi": ""} {
		if got, ok := Shim(name); ok != (want != "") || ok && got != want {
			t.Errorf("shim of %s: got %q, %v, want %q", name, got, ok, want)
		}
	}
	for _, n := range Shims() {
		if !Known(n) || !Known(strings.Replace(n, "-shim", "", 1)) {
			t.Errorf("%s or what it loads is not served", n)
		}
	}
}

func TestURLsFit(t *testing.T) {
	t.Parallel()
	long := netip.MustParseAddrPort("255.255.255.255:65535")
	if n := len(ScriptURL(long)); n > 255 {
		t.Errorf("the script's URL has %d bytes: too long for option 67", n)
	}
	for _, n := range Names() {
		if u := FileURL(long, n); len(u) > 127 {
			t.Errorf("%s does not fit the file field", u)
		}
	}
	if got := FileURL(netip.MustParseAddrPort("10.0.0.1:80"), SnponlyEFI); got != "http://10.0.0.1/ipxe/snponly.efi" {
		t.Errorf("port 80: %s", got)
	}
	if OnDisk(IPXEEFI) != IPXEAmd64EFI || OnDisk(SnponlyEFI) != SnponlyEFI {
		t.Error("names on disk")
	}
	if got := Arch(999).String(); got != "architecture 999" {
		t.Errorf("an unheard architecture is called %q", got)
	}
}
