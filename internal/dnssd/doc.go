// Package dnssd announces the appliance on its LAN by multicast DNS (RFC 6762, RFC 6763), and finds it there.
//
//	appliance: Announce answers questions for _hatchery._tcp with its address, port and the pin of its certificate
//	agent:     Find asks for a moment and returns who claims to be the appliance with that pin
//
// A machine that was started from a USB image finds its appliance this way after the appliance's address has changed.
// Anybody on the LAN can answer: what is found is where to try, and the pinned certificate decides who it is.
package dnssd
