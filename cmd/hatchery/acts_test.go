package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// verbs is which command does what a changing address of the API does; the acts of the pages are those of the API.
var verbs = map[string]string{
	"POST /hosts":                            "hosts add",
	"PUT /hosts/{id}":                        "hosts assign",
	"DELETE /hosts/{id}":                     "hosts forget",
	"POST /hosts/{id}/approve":               "hosts approve",
	"POST /hosts/{id}/cancel":                "hosts cancel",
	"POST /hosts/{id}/retry":                 "hosts retry",
	"POST /hosts/{id}/rescue":                "hosts rescue",
	"POST /hosts/{id}/release":               "hosts release",
	"POST /hosts/{id}/ignore":                "hosts ignore",
	"POST /hosts/{id}/unignore":              "hosts unignore",
	"POST /hosts/{id}/wake":                  "hosts wake",
	"POST /hosts/{id}/reboot":                "hosts reboot",
	"POST /hosts/{id}/poweroff":              "hosts poweroff",
	"POST /hosts/{id}/deploy":                "hosts deploy",
	"POST /hosts/{id}/format":                "hosts format",
	"POST /hosts/{id}/install":               "hosts install",
	"POST /hosts/{id}/reinstall":             "hosts reinstall",
	"POST /roles/{role}/deploy":              "hosts deploy", // --role
	"POST /roles/refresh":                    "roles",        // --refresh
	"PUT /reservations/{mac}":                "reservations set",
	"DELETE /reservations/{mac}":             "reservations remove",
	"POST /tokens":                           "token create",
	"DELETE /tokens/{id}":                    "token revoke",
	"POST /isos":                             "iso create",
	"DELETE /isos/{id}":                      "iso revoke",
	"DELETE /sessions":                       "sessions revoke", // --all
	"DELETE /sessions/{id}":                  "sessions revoke",
	"PUT /password":                          "password",
	"PUT /setup/dhcp":                        "setup dhcp",
	"POST /ssh/keys":                         "keys add",
	"DELETE /ssh/keys/{id}":                  "keys remove",
	"POST /media/stage0/{arch}/{digest}/use": "stage0 use",
	"POST /restore":                          "restore",
	"POST /restart":                          "restart",
	"PUT /certificate":                       "certificate set",
	"DELETE /certificate":                    "certificate reset",
	"POST /doctor":                           "doctor",
}

// TestEveryActIsACommand: nothing can be done on a page, or by the API, that the command line has no verb for.
func TestEveryActIsACommand(t *testing.T) {
	t.Parallel()
	data, _ := served(t)
	r := &remote{data: data}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := r.call(t.Context(), http.MethodGet, "/openapi.json", nil, &doc); err != nil {
		t.Fatal(err)
	}
	acts := 0
	for path, methods := range doc.Paths {
		for method := range methods {
			if !slices.Contains([]string{"post", "put", "patch", "delete"}, method) {
				continue
			}
			acts++
			name := strings.ToUpper(method) + " " + path
			words := strings.Fields(verbs[name])
			c, rest, err := rootCommand().Find(words)
			if len(words) == 0 || err != nil || len(rest) > 0 || c.CommandPath() != "hatchery "+verbs[name] {
				t.Errorf("%s: got command %q, want one that does it: add it here", name, verbs[name])
			}
		}
	}
	if acts != len(verbs) {
		t.Errorf("%d acts in the API's document, %d here", acts, len(verbs))
	}
}
