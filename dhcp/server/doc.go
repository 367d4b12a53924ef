// Package server is the DHCP shell: it owns ports 67 and 4011 on the interfaces,
// and carries out what package dhcp decides.
//
// The flow: a packet and its interface of arrival → dhcp.Parse → rate limit → one
// read of the inventory → dhcp.Decide under one lock → the lease on disk, shared
// with all that wait, before an ACK leaves → the reply, straight to the client's
// interface when it has no address yet → a line in the ring of decisions, and, for
// machines that netboot, notes for the boot diary through a bounded queue, so that
// no reply waits for the disk because of them.
// Beside that it looks for other DHCP servers and chooses the role (DESIGN section 3),
// probes addresses ahead of need, and answers router solicitations with an
// advertisement of nothing, which ends the IPv6 wait of old iPXE ROMs.
//
// It decides nothing about protocol or hosts.
package server
