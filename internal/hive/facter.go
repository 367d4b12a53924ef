package hive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/staged-hive/hatchery/inventory"
)

// Facter is nixos-facter's report of the host with that name, as the last install found the machine and as the
// hive builds its configuration from. An error that is fs.ErrNotExist: no install has written one yet. ErrInvalid.
func (h *Hive) Facter(_ context.Context, name string) (json.RawMessage, error) {
	if err := inventory.CheckName(name); err != nil || name == "" {
		return nil, fmt.Errorf("hardware report: %q names no host: %w", clip(name), ErrInvalid)
	}
	f, err := os.Open(filepath.Join(h.cfg.Dir, "hosts", name, "facter.json"))
	if err != nil {
		return nil, fmt.Errorf("hardware report of %s: %w", name, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 4*maxFacterSize)) // indented it is longer than it came
	if err == nil && !json.Valid(raw) {
		err = fmt.Errorf("it is not JSON: look at %s", f.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("hardware report of %s: %w", name, err)
	}
	return raw, nil
}
