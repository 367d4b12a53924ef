// Package capture keeps the last DHCP, boot server (port 4011) and TFTP packets of all machines in memory, for a pcap file
// of one of them.
//
// Two packet sockets see what the wire sees, our own replies and what a firewall then drops too; filters in the kernel
// let nothing else through, and of TFTP data the first bytes alone. A reader each copies frames into a [Ring] of fixed
// size that was made at the start. Neither can hold anybody up: what comes faster than the reader takes is
// dropped by the kernel, so a flood costs a bounded share of the processor and leaves holes in the record.
//
// It decodes no more than it needs to tell whose a packet is. Nothing goes to disk.
package capture
