package bootfile

import "fmt"

// Arch is a client system architecture code: DHCP option 93 (RFC 4578 §2.1, RFC 5970 §3.3,
// numbers in the IANA registry "Processor Architecture Types").
type Arch uint16

// The architecture codes that are told apart.
const (
	ArchBIOS       Arch = 0    // x86 BIOS; Raspberry Pi firmware says 0 as well (R23)
	ArchItanium    Arch = 2    // in practice sent by some x64 laptops (R13)
	ArchIA32       Arch = 6    // 32-bit x86 UEFI
	ArchX64        Arch = 7    // x64 UEFI (RFC 4578 said 9, firmware said 7)
	ArchXscale     Arch = 8    // in practice sent by some x64 laptops (R13)
	ArchEBC        Arch = 9    // x64 UEFI by the RFC's text
	ArchARM32      Arch = 10   // 32-bit ARM UEFI
	ArchARM64      Arch = 11   // 64-bit ARM UEFI
	ArchIA32HTTP   Arch = 15   // UEFI HTTP Boot
	ArchX64HTTP    Arch = 16   // UEFI HTTP Boot
	ArchEBCHTTP    Arch = 17   // UEFI HTTP Boot
	ArchARM32HTTP  Arch = 18   // UEFI HTTP Boot
	ArchARM64HTTP  Arch = 19   // UEFI HTTP Boot
	ArchBIOSHTTP   Arch = 20   // BIOS that boots by HTTP
	ArchARM32UBoot Arch = 0x15 // U-Boot, 32-bit ARM
	ArchARM64UBoot Arch = 0x16 // U-Boot, 64-bit ARM
	ArchRPiBoot    Arch = 0x29 // Raspberry Pi boot loader that says so
)

var archNames = map[Arch]string{
	ArchBIOS: "x86 BIOS", ArchItanium: "x64 UEFI", ArchIA32: "32-bit x86 UEFI", ArchX64: "x64 UEFI", ArchXscale: "x64 UEFI",
	ArchEBC: "x64 UEFI", ArchARM32: "32-bit ARM UEFI", ArchARM64: "arm64 UEFI", ArchIA32HTTP: "32-bit x86 UEFI HTTP Boot",
	ArchX64HTTP: "x64 UEFI HTTP Boot", ArchEBCHTTP: "x64 UEFI HTTP Boot", ArchARM32HTTP: "32-bit ARM UEFI HTTP Boot",
	ArchARM64HTTP: "arm64 UEFI HTTP Boot", ArchBIOSHTTP: "x86 BIOS HTTP boot", ArchARM32UBoot: "32-bit ARM U-Boot",
	ArchARM64UBoot: "arm64 U-Boot", ArchRPiBoot: "Raspberry Pi",
}

// String is the architecture in words, for people.
func (a Arch) String() string {
	if n, ok := archNames[a]; ok {
		return n
	}
	return fmt.Sprintf("architecture %d", uint16(a))
}

// CPU is the machine's processor as the inventory names it: "x86_64", "aarch64",
// or "" when the code does not say or it is one that no NixOS is built for.
func (a Arch) CPU() string {
	switch a {
	case ArchBIOS, ArchItanium, ArchX64, ArchXscale, ArchEBC, ArchX64HTTP, ArchEBCHTTP, ArchBIOSHTTP:
		return "x86_64"
	case ArchARM64, ArchARM64HTTP, ArchARM64UBoot, ArchRPiBoot:
		return "aarch64"
	}
	return ""
}

// Firmware is the firmware as the inventory names it: "bios", "uefi" or "".
func (a Arch) Firmware() string {
	switch {
	case a == ArchBIOS || a == ArchBIOSHTTP:
		return "bios"
	case a.UEFI():
		return "uefi"
	}
	return ""
}

// UEFI reports whether the code is one of UEFI firmware, HTTP Boot included.
func (a Arch) UEFI() bool {
	switch a {
	case ArchItanium, ArchIA32, ArchX64, ArchXscale, ArchEBC, ArchARM32, ArchARM64:
		return true
	}
	return a.HTTP() && a != ArchBIOSHTTP
}

// HTTP reports whether the client loads its boot file by HTTP.
func (a Arch) HTTP() bool { return a >= ArchIA32HTTP && a <= ArchBIOSHTTP }
