// Package lab is a virtual LAN made of network namespaces, with blank QEMU
// machines that netboot from real firmware on it, for tests and the demo.
//
// The flow: [New] takes a free name, removes what a crashed run left, and lays
// a switch with one port for the appliance, one for a home router and some for
// machines. The appliance runs as an ordinary process of its side ([LAN.Start]),
// dnsmasq plays the router ([LAN.StartRouter]), machines are made with
// [LAN.NewMachine] and report what their serial console says as events.
// [LAN.Dial] opens connections from inside the LAN. [LAN.Close] ends all of it.
//
// What it does not do: it knows nothing of Hatchery, never touches the host's
// own network, and kills no process that does not live in its own namespaces.
// It needs root, iproute2, QEMU and, for some parts, dnsmasq, tcpdump, mtools.
package lab
