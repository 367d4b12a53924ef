package inventory_test

import (
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// A reinstall asked for right after an install must not take the machine's last report from
// stage-0 for a running stage-0 (seen: "shows another SSH host key").
func TestAVerifiedHostsStage0IsOver(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	h := inventory.Host{ID: "1", State: inventory.StateInstalling, Flipped: true, EverFlipped: true, ReportedAt: now}
	got, err := inventory.Next(h, inventory.Verified{System: "/nix/store/x", At: now})
	if err != nil {
		t.Fatal(err)
	}
	if !got.ReportedAt.IsZero() || got.State != inventory.StateInstalled {
		t.Errorf("got %s, last report %s; want installed and none", got.State, got.ReportedAt)
	}
}
