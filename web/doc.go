// Package web is what people and programs see of Hatchery: the pages, the JSON
// API under /api/v1, their live streams, and who may use them.
//
// The flow: [New] checks the configuration, makes the certificate and the admin
// token; [Server.Run] listens on HTTPS and on a local socket; a request passes the
// guard (Host, origin, session or token), a handler opens one transaction on the
// inventory, calls one act of package inventory and renders what it returned; the
// feed watches the store and sends every change to all open pages and event streams.
//
// What it does not do: no rule about hosts lives here (package inventory and
// inventory/diskplan have them), no DHCP, SSH or nix. What it needs of others it
// asks through the small interfaces in config.go, wired in cmd/hatchery.
package web
