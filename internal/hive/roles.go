package hive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// maxRoles bounds how many roles a hive may declare.
const maxRoles = 256

// ParseRoles reads the JSON of hatchery.roles: unknown fields are errors, and every role is checked, so
// that one message names all that is wrong.
func ParseRoles(raw []byte) (map[string]inventory.Role, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var roles map[string]inventory.Role
	if err := dec.Decode(&roles); err != nil {
		return nil, fmt.Errorf("hatchery.roles: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("hatchery.roles: something follows the JSON value")
	}
	if len(roles) > maxRoles {
		return nil, fmt.Errorf("hatchery.roles: %d roles, at most %d", len(roles), maxRoles)
	}
	var errs []error
	for _, n := range slices.Sorted(maps.Keys(roles)) {
		r := roles[n]
		if r.Name != "" && r.Name != n {
			errs = append(errs, fmt.Errorf("role %s calls itself %q", n, clip(r.Name)))
		}
		r.Name = n
		roles[n] = r
		errs = append(errs, checkRole(r)...)
	}
	return roles, errors.Join(errs...)
}

func checkRole(r inventory.Role) (errs []error) {
	bad := func(format string, a ...any) {
		errs = append(errs, fmt.Errorf("role "+clip(r.Name)+": "+format, a...))
	}
	if err := inventory.CheckRole(r.Name); err != nil || r.Name == "" {
		bad("the name is not possible")
	}
	if !slices.Contains(systems, r.System) {
		bad("system %q: want one of %s", clip(r.System), strings.Join(systems, ", "))
	}
	if len(r.Description) > 1024 {
		bad("its description has %d bytes, at most 1024", len(r.Description))
	}
	if err := inventory.CheckKernelArgs(r.KernelArgs); err != nil {
		bad("%w", err)
	}
	if r.BootOrder != "" && r.BootOrder != inventory.BootOrderDisk {
		bad("bootOrder %q: want disk, or leave it out", clip(r.BootOrder))
	}
	ephemeral := 0
	for _, n := range slices.Sorted(maps.Keys(r.Disks)) {
		s := r.Disks[n]
		if s.Class == inventory.ClassEphemeral && !s.Optional {
			ephemeral++
		}
		if err := checkSlot(n, s); err != nil {
			bad("%w", err)
		}
	}
	if ephemeral == 0 {
		bad("no ephemeral slot that is not optional: the system needs a disk")
	}
	if k := r.K3s; k != nil && (k.Role != "server" && k.Role != "agent" || !wordRE.MatchString(k.Cluster)) {
		bad("k3s role %q in cluster %q: want server or agent, and a plain word", clip(k.Role), clip(k.Cluster))
	}
	if r.AutoInstall != nil {
		if err := r.AutoInstall.Match.Check(); err != nil {
			bad("%w", err)
		}
	}
	return errs
}

func checkSlot(name string, s inventory.Slot) error {
	if err := CheckSlot(name); err != nil {
		return err
	}
	if s.Class != inventory.ClassEphemeral && s.Class != inventory.ClassPersistent {
		return fmt.Errorf("slot %s has class %q: want ephemeral or persistent", name, clip(s.Class))
	}
	q := s.Select
	if !slices.Contains([]string{"", "ssd", "hdd"}, q.Type) {
		return fmt.Errorf("slot %s wants type %q: ssd or hdd", name, clip(q.Type))
	}
	if !slices.Contains([]string{"", "smallest", "largest"}, q.Order) {
		return fmt.Errorf("slot %s wants order %q: smallest or largest", name, clip(q.Order))
	}
	if q.MaxBytes != 0 && q.MinBytes > q.MaxBytes {
		return fmt.Errorf("slot %s wants at least %d and at most %d bytes", name, q.MinBytes, q.MaxBytes)
	}
	return nil
}
