// Package lease decides, purely, which address a client may have and until when.
//
// The flow: dhcp/server fills a [Pool] with the stored leases and reservations;
// dhcp.Decide asks it for an address (Pick, Check); an OFFER is held in memory
// for a short time (Hold); an ACK's [Lease] is stored on disk first and then
// taken in (Put). A released or expired address stays with its owner until
// nothing else is free; an address that somebody else uses is quarantined.
//
// What it does not do: no packets, sockets, files or clocks; it never sends a
// probe and never stores anything.
package lease
