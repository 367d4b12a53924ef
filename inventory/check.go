package inventory

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckName accepts a host name (RFC 1123 §2.1: one label, lower case, at most 63 characters) or "". ErrInvalid.
func CheckName(n string) error {
	if n == "" {
		return nil
	}
	ok := len(n) <= 63 && n[0] != '-' && n[len(n)-1] != '-'
	for _, c := range n {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fmt.Errorf("host name %q: lower-case letters, digits and inner hyphens, at most 63: %w", cut(n), ErrInvalid)
	}
	// People call a host by its name, MAC or id: a name must not look like one of the others.
	if _, err := ParseMAC(n); err == nil || len(n) == 16 && strings.Trim(n, "0123456789abcdef") == "" || len(n) >= 32 && swapUUID(plainUUID(n)) != "" {
		return fmt.Errorf("host name %q: it looks like a MAC address, a UUID or a host's id: %w", n, ErrInvalid)
	}
	if n == "localhost" { // RFC 6761 §6.3: every machine's name for itself
		return fmt.Errorf("host name %q: every machine calls itself that: %w", n, ErrInvalid)
	}
	return nil
}

// CheckRole accepts a role's name (letters, digits, '-', '_'; at most 63) or "". ErrInvalid.
func CheckRole(n string) error {
	ok := len(n) <= 63
	for i, c := range n {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && (c == '-' || c >= '0' && c <= '9'))
	}
	if !ok {
		return fmt.Errorf("role %q: a letter, then letters, digits, '-' and '_', at most 63: %w", cut(n), ErrInvalid)
	}
	return nil
}

// CheckKernelArgs accepts words for a kernel command line: at most 512 characters of printable
// ASCII without quotes, '$', '{', '}', '`', '\' or control characters. ErrInvalid.
func CheckKernelArgs(s string) error {
	if len(s) > 512 {
		return fmt.Errorf("kernel arguments of %d characters: at most 512: %w", len(s), ErrInvalid)
	}
	for _, c := range s {
		if c < ' ' || c > '~' || strings.ContainsRune("\"'`$\\{}&|;<>#", c) {
			return fmt.Errorf("kernel arguments: character %q is not possible there: %w", c, ErrInvalid)
		}
	}
	return nil
}

func cut(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// Clean makes untrusted text fit to keep: printable characters only, at most limit
// bytes, no leading or trailing space.
func Clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	if len(s) > limit {
		end := max(limit, 0)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.TrimSpace(s)
}

// Check bounds and cleans what a machine reported; it fails only where cleaning would
// change the meaning: too many entries, an unknown architecture. ErrInvalid.
func (f *Facts) Check() error {
	if f.Arch != "x86_64" && f.Arch != "aarch64" {
		return fmt.Errorf("architecture %q: want x86_64 or aarch64: %w", cut(f.Arch), ErrInvalid)
	}
	if f.Firmware != "bios" && f.Firmware != "uefi" {
		return fmt.Errorf("firmware %q: want bios or uefi: %w", cut(f.Firmware), ErrInvalid)
	}
	if len(f.Disks) > MaxDisks || len(f.NICs) > MaxNICs {
		return fmt.Errorf("%d disks and %d interfaces: at most %d and %d: %w", len(f.Disks), len(f.NICs), MaxDisks, MaxNICs, ErrInvalid)
	}
	for _, s := range []*string{&f.UUID, &f.Serial, &f.Vendor, &f.Product, &f.CPU.Model, &f.Kernel, &f.Stage0} {
		*s = Clean(*s, MaxFactLen)
	}
	f.UUID = plainUUID(f.UUID)
	for i := range f.Disks {
		if err := f.Disks[i].check(); err != nil {
			return err
		}
	}
	for i := range f.NICs {
		n := &f.NICs[i]
		if len(n.Addrs) > 32 {
			n.Addrs = n.Addrs[:32]
		}
		n.Name, n.Driver = Clean(n.Name, 32), Clean(n.Driver, 64)
		for j := range n.Addrs {
			n.Addrs[j] = Clean(n.Addrs[j], 64)
		}
	}
	return nil
}

func (d *Disk) check() error {
	if len(d.Signatures) > MaxSignatures || len(d.Partitions) > MaxPartitions || len(d.ByID) > 64 {
		return fmt.Errorf("disk %q: %d signatures, %d partitions, %d names: too many: %w", cut(d.Name), len(d.Signatures), len(d.Partitions), len(d.ByID), ErrInvalid)
	}
	for _, s := range append([]string{d.ID}, d.ByID...) {
		if err := CheckDiskID(s); err != nil && s != "" {
			return err
		}
	}
	if err := checkUdevName(d.Path, "a name from /dev/disk/by-path"); err != nil && d.Path != "" {
		return err
	}
	for _, s := range []*string{&d.Name, &d.Serial, &d.WWN, &d.Model, &d.Type, &d.Transport} {
		*s = Clean(*s, MaxFactLen)
	}
	for i := range d.Signatures {
		d.Signatures[i] = Clean(d.Signatures[i], 64)
	}
	for i := range d.Partitions {
		p := &d.Partitions[i]
		for _, s := range []*string{&p.Label, &p.Type, &p.FS, &p.FSLabel, &p.UUID} {
			*s = Clean(*s, 128)
		}
	}
	return nil
}
