package inventory

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// MAC is an Ethernet hardware address; its text form is lower-case with colons.
// The zero value means "none". Comparable, so usable as a map key.
type MAC [6]byte

// ParseMAC reads aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff or aabbccddeeff in either
// case. Multicast, broadcast and all-zero addresses are refused: no host boots
// from one (IEEE 802-2014 §8.2.2: the I/G bit is never set in a source address).
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) > 17 {
		return m, fmt.Errorf("MAC address of %d characters: want aa:bb:cc:dd:ee:ff", len(s))
	}
	plain := s
	if len(s) == 17 {
		sep := s[2]
		if sep != ':' && sep != '-' {
			return m, fmt.Errorf("MAC address %q: want aa:bb:cc:dd:ee:ff", s)
		}
		for i := 2; i < 17; i += 3 {
			if s[i] != sep {
				return m, fmt.Errorf("MAC address %q: want aa:bb:cc:dd:ee:ff", s)
			}
		}
		plain = strings.ReplaceAll(s, string(sep), "")
	}
	if len(plain) != 12 {
		return m, fmt.Errorf("MAC address %q: want aa:bb:cc:dd:ee:ff", s)
	}
	if _, err := hex.Decode(m[:], []byte(plain)); err != nil {
		return MAC{}, fmt.Errorf("MAC address %q: want aa:bb:cc:dd:ee:ff", s)
	}
	if err := CheckMAC(m); err != nil {
		return MAC{}, err
	}
	return m, nil
}

// CheckMAC accepts what can be the address of one machine, as ParseMAC does. ErrInvalid.
func CheckMAC(m MAC) error {
	if m.IsZero() || m[0]&1 != 0 {
		return fmt.Errorf("MAC address %x: not the address of one machine: %w", m[:], ErrInvalid)
	}
	return nil
}

// IsZero reports whether m is the zero address, meaning "none".
func (m MAC) IsZero() bool { return m == MAC{} }

// String is the lower-case form with colons, "" for the zero address.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Hyphens is the form of BOOTIF and of file names: aa-bb-cc-dd-ee-ff.
func (m MAC) Hyphens() string { return strings.ReplaceAll(m.String(), ":", "-") }

// MarshalText is String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMAC; empty text is the zero address.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	p, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = p
	return nil
}
