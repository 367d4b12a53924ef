// Package doctor plays a machine's firmware against the running appliance, step by step, on the appliance itself:
// DISCOVER and OFFER, REQUEST and ACK (or the boot server at port 4011 beside another DHCP server), the boot file by
// TFTP, the boot script, and both ends of kernel and initrd by HTTP. It says at which step it failed and what to do.
//
// The requests are broadcast on the real interface, as a machine's are: the kernel hands a copy of a broadcast to its own
// sockets as if it had come from the wire, so the firewall's rules for that interface count too. Replies are read from
// the wire's side (a packet socket that sees what leaves). The MAC is one of its own, made at the start ([Guise]): DHCP and
// the boot listener ask the Guise and then neither make a host of it nor write its diary. The address is given back
// at the end of the play, and the same is asked for the next time. To another DHCP server it says DISCOVER and no more.
//
// What it cannot see is what lies between the box and the machines: cables, switches, VLANs.
package doctor
