package web

import (
	"net/http"
	"strings"
)

// Scope is how much a caller may do; each includes the ones before it.
type Scope string

// The scopes of an API token.
const (
	// ScopeRead may look at everything but the access settings.
	ScopeRead Scope = "read"
	// ScopeOperate may act on hosts too: announce, assign, install, reboot, format.
	ScopeOperate Scope = "operate"
	// ScopeAdmin may do everything: tokens, password, sessions, backups, reservations, forgetting hosts.
	ScopeAdmin Scope = "admin"
)

func (s Scope) rank() int {
	switch s {
	case ScopeRead:
		return 1
	case ScopeOperate:
		return 2
	case ScopeAdmin:
		return 3
	}
	return 0
}

// covers reports whether a caller of scope s may do what needs scope want. An unknown scope covers nothing.
func (s Scope) covers(want Scope) bool { return s.rank() > 0 && s.rank() >= want.rank() }

// needs is the scope that a request needs, by its method and route (":act" replaced by the act itself).
// It is the one place that says so: a route that is new and not named here is read by GET, operate
// otherwise, and admin when it deletes.
func needs(method, route string) Scope {
	route = strings.TrimPrefix(route, "/api/v1")
	under := func(prefix string) bool { return route == prefix || strings.HasPrefix(route, prefix+"/") }
	switch {
	case under("/tokens"), under("/sessions"), under("/password"), under("/settings"), under("/backup"), under("/support"):
		return ScopeAdmin
	case under("/setup") && method != http.MethodGet, under("/restart"), under("/certificate"), under("/ssh/keys") && method != http.MethodGet, under("/restore"):
		return ScopeAdmin
	case under("/media/stage0") && method != http.MethodGet:
		return ScopeAdmin // it decides what every machine runs as root
	case under("/isos") && route != "/isos" && method != http.MethodDelete:
		return ScopeOperate // the bytes hold a token that lets machines in
	case method == http.MethodGet, method == http.MethodHead:
		return ScopeRead
	case method == http.MethodDelete, under("/reservations"), under("/media/isos") && strings.HasSuffix(route, "/revoke"), under("/hosts") && strings.HasSuffix(route, "/forget"):
		return ScopeAdmin
	}
	return ScopeOperate
}
