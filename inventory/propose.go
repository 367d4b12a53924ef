package inventory

import (
	"errors"
	"fmt"
	"strings"
)

// ProposedNames are names for a host that nobody named: its role with the MAC it boots with, else its id;
// shortest first, the last one nobody else's. All pass [CheckName]; equal input gives equal names.
func ProposedNames(h *Host, role string) []string {
	base := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, role), "-")
	if base == "" {
		base = "host"
	}
	base = strings.Trim(base[:min(len(base), 40)], "-")
	var names []string
	if !h.MAC.IsZero() {
		mac := strings.ReplaceAll(h.MAC.String(), ":", "")
		names = append(names, base+"-"+mac[6:], base+"-"+mac)
	}
	names = append(names, base+"-"+string(h.ID))
	for i, n := range names {
		if CheckName(n) != nil { // a role's hexadecimal digits may make it look like a MAC or a UUID
			names[i] = "host-" + n
		}
	}
	return names
}

// FreeName is the first proposed name that no other host has. ErrConflict when all are taken.
func FreeName(tx *Tx, h *Host, role string) (string, error) {
	for _, n := range ProposedNames(h, role) {
		other, err := tx.HostByName(n)
		if errors.Is(err, ErrNotFound) || err == nil && other.ID == h.ID {
			return n, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("host %s: every proposed name is taken: name it by hand: %w", h.Label(), ErrConflict)
}

// propose names a host that has a role and no name: nothing that works for a role meets a nameless host.
func (h *Host) propose(tx *Tx) (err error) {
	if h.Name == "" && h.Role != "" {
		h.Name, err = FreeName(tx, h, h.Role)
	}
	return err
}
