package hive_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
)

func TestFacterGivesBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	h := open(t, hive.Config{})
	if _, err := h.Facter(t.Context(), "node1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before an install: %v", err)
	}
	for _, name := range []string{"", "../../etc", "a/b"} {
		if _, err := h.Facter(t.Context(), name); !errors.Is(err, hive.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := h.WriteHost(t.Context(), hive.HostFacts{Host: hostFile("node1"), Facter: json.RawMessage(`{"version":1,"hardware":{}}`)}); err != nil {
		t.Fatal(err)
	}
	raw, err := h.Facter(t.Context(), "node1")
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]any{"version": 1.0, "hardware": map[string]any{}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
