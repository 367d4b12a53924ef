package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// TestHeadIsGetWithoutTheBody: every address that GET answers is answered with the same status and kind (RFC 9110 §9.3.2).
func TestHeadIsGetWithoutTheBody(t *testing.T) {
	t.Parallel()
	f := newFakeSite()
	b := start(t, f.config)
	b.hive()
	h := b.checkIn(1, facts())
	b.update(func(tx *inventory.Tx) error {
		_, err := tx.PutJob(inventory.Job{ID: "j1", HostID: h.ID, State: inventory.JobDone})
		return err
	})
	b.signIn()
	fill := strings.NewReplacer("/jobs/:id", "/jobs/j1", ":id", string(h.ID), ":mac", mac(1).String(), ":name", "none")
	tried := 0
	for _, r := range b.echo.Routes() {
		if r.Method != http.MethodGet || strings.HasPrefix(r.Path, "/agent/") {
			continue
		}
		path := fill.Replace(r.Path)
		t.Run(r.Path, func(t *testing.T) {
			ask := func(method string) *http.Response {
				req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(path, "/api/") {
					req.Header.Set("Authorization", "Bearer "+b.token)
				}
				res, err := b.http.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if err := res.Body.Close(); err != nil { // a stream is not waited for
					t.Fatal(err)
				}
				return res
			}
			got, want := ask(http.MethodHead), ask(http.MethodGet)
			if got.StatusCode != want.StatusCode || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") || got.StatusCode == http.StatusMethodNotAllowed {
				t.Errorf("HEAD %s: got %d %s, want GET's %d %s", path, got.StatusCode, got.Header.Get("Content-Type"), want.StatusCode, want.Header.Get("Content-Type"))
			}
			if r.Path == "/api/v1/hosts/:id" && (got.Header.Get("ETag") == "" || got.Header.Get("ETag") != want.Header.Get("ETag") || got.ContentLength <= 0) {
				t.Errorf("HEAD %s: ETag %q, length %d, want GET's ETag %q and its length", path, got.Header.Get("ETag"), got.ContentLength, want.Header.Get("ETag"))
			}
			tried++
		})
	}
	if tried < 30 {
		t.Errorf("%d addresses were tried, want all", tried)
	}
	if a := b.send("POST", "/api/v1/hosts/"+string(h.ID), nil, nil); a.code != http.StatusMethodNotAllowed {
		t.Errorf("POST where there is none: got %d, want 405 still", a.code)
	}
}
