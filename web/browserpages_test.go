package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPageIsLookedAt holds the list of pages that the browser opens in both themes and on a phone, with axe, to the
// routes there are: each is on it, or left out for a reason that is said.
func TestEveryPageIsLookedAt(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("browser/pages.json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Pages   map[string]string `json:"pages"`
		NoPages map[string]string `json:"no pages"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	b := start(t, newFakeSite().config)
	looked := map[string]bool{}
	for name, path := range list.Pages {
		path = regexp.MustCompile(`\{.*?\}`).ReplaceAllString(path, "x")
		c := b.echo.NewContext(httptest.NewRequest(http.MethodGet, path, nil), nil)
		b.echo.Router().Find(http.MethodGet, c.Request().URL.Path, c)
		if c.Path() == "" {
			t.Errorf("%s: there is no page %s", name, path)
		}
		looked[c.Path()] = true
	}
	used := map[string]bool{}
	for _, r := range b.echo.Routes() {
		if r.Method != http.MethodGet {
			continue
		}
		route := r.Path
		if strings.HasPrefix(route, "/api/v1/") {
			route = "/api/v1"
		}
		if list.NoPages[route] == "" && !looked[route] {
			t.Errorf("no browser looks at %s: put a path of it into browser/pages.json, or say there why not", r.Path)
		}
		used[route] = true
	}
	for route, why := range list.NoPages {
		if !used[route] || looked[route] || why == "" {
			t.Errorf("browser/pages.json leaves %s out (%s), which is no route, or is looked at", route, why)
		}
	}
}
