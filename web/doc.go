// Package web is what people and programs see of Hatchery: the pages, the JSON
// API under /api/v1, their live streams, and who may use them.
//
// The flow: [New] checks the configuration, makes the certificate and the admin
// token; [Server.Run] listens on HTTPS and on a local socket; a request passes the
// guard (Host, origin, session or token, scope), a handler opens one transaction on the
// inventory, calls one act of package inventory and renders what it returned; the
// feed watches the store and sends every change to all open pages and event streams.
//
// Who may do what: a session (opened with the admin password or the admin token) and the
// socket may do everything; an API token what its scope says, decided for all routes in
// needs. Every act is a line in the activity, with who did it and from where.
//
// What it does not do: no rule about hosts lives here (package inventory and
// inventory/diskplan have them), no DHCP, SSH or nix. What it needs of others it
// asks through the small interfaces in config.go, wired in cmd/hatchery.
package web
