package main

import "testing"

func TestProgressTellsWhatStopsAutomationFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		host map[string]any
		want string
	}{
		{"nothing going on", map[string]any{"state": "seen"}, ""},
		{"a doubt about who it is", map[string]any{"state": "ready", "attention": "Host a has the same UUID."}, "needs approval: Host a has the same UUID."},
		{"a doubt about an installed one", map[string]any{"state": "installed", "attention": "Look."}, "needs approval: Look."},
		{"a doubt and a failure", map[string]any{"state": "failed", "error": "E.", "attention": "Look."}, "needs approval: Look."},
		{"a failure", map[string]any{"state": "failed", "error": "E."}, "E."},
		{"ignored", map[string]any{"state": "ignored", "ignored_by": "admin", "ignored_at": "2026-11-22T14:00:00Z"}, "by admin, 2026-11-22T14:00:00Z"},
		{"ignored with a release that kept no record", map[string]any{"state": "ignored"}, ""},
		{"stage-0 on its way", map[string]any{"state": "booting", "loading": map[string]any{"text": "iPXE → kernel → image 61 %"}}, "iPXE → kernel → image 61 %"},
		{"a wait", map[string]any{"state": "queued", "blocked_on": "Waits."}, "waits: Waits."},
		{"a step", map[string]any{"state": "installing", "step": "install", "step_no": 6.0, "step_of": 10.0}, "6/10 install"},
	} {
		if got := progress(c.host); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
