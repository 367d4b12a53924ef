// Command dhcpbench measures Hatchery's DHCP server beside Debian's Kea (memfile) and dnsmasq:
// make bench-dhcp.
//
// Every server runs in a network namespace of its own at the far end of a veth pair, all at the
// same time; the loads go round them in turn, so that what else the machine does hits all alike.
// The generator poses as a relay, as perfdhcp does, because that needs no raw sockets: what it
// costs is the same for all. It counts exchanges by their last message and gives percentiles.
//
// It starts itself in a network namespace, so nothing of the machine's own network is touched, and
// everything ends with it. It judges nothing: docs/performance.md holds what was measured.
package main
