package hive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// SummaryHost is one host as the hive's configuration summary tells of it (nix/lib/summary.nix).
type SummaryHost struct {
	Name   string `json:"name"`
	Role   string `json:"role"`
	MAC    string `json:"mac"`
	System string `json:"system"`
	// Address is "" for one by DHCP; Static says that the host configures it itself, else it is reserved for it.
	Address string `json:"address"`
	Static  bool   `json:"static"`
	// Disks are what the host was last planned for, by slot.
	Disks map[string]SummaryDisk `json:"disks"`
	K3s   *K3s                   `json:"k3s"` // nil = in no cluster
}

// SummaryDisk is the disk of one slot.
type SummaryDisk struct {
	Class  string `json:"class"`
	ID     string `json:"id"`
	Serial string `json:"serial"`
}

// maxSummary bounds how many hosts a summary tells of.
const maxSummary = 10000

// Summary evaluates the configuration summary at the newest commit, which it returns too. The error is a [*Failure] where git
// or nix failed, or the flake gives no summary.
func (h *Hive) Summary(ctx context.Context) (commit string, hosts []SummaryHost, err error) {
	if commit, err = h.head(ctx); err != nil {
		return "", nil, err
	}
	const what = "reading the configuration summary"
	raw, err := h.nixEval(ctx, what, h.flake(commit)+"#hatchery.summary.json")
	var f *Failure
	if errors.As(err, &f) && strings.Contains(f.Output, "does not provide attribute") {
		f.Cause = "the flake has no hatchery.summary"
		f.Next = "Write hatchery = { inherit (fleet) roles summary; } in flake.nix, as in the template, and commit."
	}
	if err != nil {
		return commit, nil, err
	}
	if err := json.Unmarshal(raw, &hosts); err != nil {
		return commit, nil, &Failure{Kind: KindEval, What: what + " of the hive", Which: "commit " + short(commit),
			Cause: fmt.Sprintf("hatchery.summary.json is not what nix/lib/summary.nix gives: %v", err), Next: "Take it from mkFleet as in the template, and commit.", Err: err}
	}
	return commit, hosts[:min(len(hosts), maxSummary)], nil
}
