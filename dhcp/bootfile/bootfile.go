package bootfile

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Stage is which program of a boot is asking.
type Stage string

// The boot stages; the words are also the diary's By.
const (
	StageFirmware Stage = "firmware" // PXE firmware, wants a file by TFTP
	StageHTTP     Stage = "http"     // UEFI HTTP Boot, wants a URL of a file
	StageIPXE     Stage = "ipxe"     // iPXE, wants the URL of its script
)

// The boot files. The directory of --ipxe holds UndionlyKPXE, SnponlyEFI, IPXEAmd64EFI
// and IPXEArm64EFI; IPXEEFI is served from IPXEAmd64EFI. AutoexecIPXE is generated.
const (
	UndionlyKPXE = "undionly.kpxe"
	SnponlyEFI   = "snponly.efi"
	IPXEEFI      = "ipxe.efi"
	IPXEAmd64EFI = "ipxe-amd64.efi"
	IPXEArm64EFI = "ipxe-arm64.efi"
	AutoexecIPXE = "autoexec.ipxe"
)

// The shims that a person may put beside the signed iPXE files of the same names, for Secure Boot. iPXE's
// shim finds its second stage by leaving "-shim" out of its own name (FOGProject/fog-docs#93).
const (
	SnponlyShimEFI   = "snponly-shim.efi"
	IPXEShimEFI      = "ipxe-shim.efi"
	IPXEArm64ShimEFI = "ipxe-arm64-shim.efi"
)

// Names lists the names a client may ask for, AutoexecIPXE left out.
func Names() []string {
	return []string{UndionlyKPXE, SnponlyEFI, IPXEEFI, IPXEAmd64EFI, IPXEArm64EFI, SnponlyShimEFI, IPXEShimEFI, IPXEArm64ShimEFI}
}

// Shims lists those of Names that are shims.
func Shims() []string { return []string{SnponlyShimEFI, IPXEShimEFI, IPXEArm64ShimEFI} }

// Shim is the shim of an EFI boot file's name or URL, false when it has none.
func Shim(name string) (string, bool) {
	shim := strings.TrimSuffix(name, ".efi") + "-shim.efi"
	return shim, slices.Contains(Shims(), path.Base(shim))
}

// Known reports whether name is one of Names.
func Known(name string) bool { return slices.Contains(Names(), name) }

// OnDisk is the name in the --ipxe directory of a name in Names.
func OnDisk(name string) string {
	if name == IPXEEFI {
		return IPXEAmd64EFI
	}
	return name
}

// File is the boot file that an architecture loads; fallback asks for the second choice
// where there is one (R20: snponly.efi first, ipxe.efi for machines it hangs on). It
// reports false for architectures that nothing on board boots: 32-bit UEFI, the
// Raspberry Pi's own boot loader, U-Boot and everything rarer.
func File(a Arch, fallback bool) (string, bool) {
	switch a {
	case ArchBIOS:
		return UndionlyKPXE, true
	case ArchItanium, ArchX64, ArchXscale, ArchEBC, ArchX64HTTP, ArchEBCHTTP:
		if fallback {
			return IPXEEFI, true
		}
		return SnponlyEFI, true
	case ArchARM64, ArchARM64HTTP, ArchARM64UBoot:
		return IPXEArm64EFI, true
	}
	return "", false
}

// FileURL is the URL under which the boot listener at the given address serves a boot file.
func FileURL(boot netip.AddrPort, name string) string {
	return base(boot) + "/ipxe/" + name
}

// scriptQuery is what iPXE tells of itself when it asks for its script. iPXE itself expands
// the settings, in a script's line as well as in a file name that came by DHCP
// (src/usr/autoboot.c, fetch_next_server_and_filename).
const scriptQuery = "?mac=${mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform}&buildarch=${buildarch}"

// ScriptURL is the URL of the boot script, with the settings that iPXE fills in. At most
// 160 bytes: too long for the header's file field (128), so it goes into option 67.
func ScriptURL(boot netip.AddrPort) string {
	return base(boot) + "/boot.ipxe" + scriptQuery
}

// For is what a client of that stage and architecture is told to load, false when there is
// nothing for it. boot is the boot listener as the client reaches it.
func For(s Stage, a Arch, boot netip.AddrPort, fallback bool) (string, bool) {
	switch s {
	case StageIPXE:
		return ScriptURL(boot), true
	case StageHTTP:
		n, ok := File(a, fallback)
		if !ok {
			return "", false
		}
		return FileURL(boot, n), true
	}
	return File(a, fallback)
}

// base is http://A:PORT, without the port when it is HTTP's own.
func base(boot netip.AddrPort) string {
	if boot.Port() == 80 {
		if boot.Addr().Is6() {
			return "http://[" + boot.Addr().String() + "]"
		}
		return "http://" + boot.Addr().String()
	}
	return "http://" + boot.String()
}
