// Package neighbor tells which MAC address stands behind an IPv4 address of the
// appliance's own segments, from the kernel's ARP table.
//
// It only reads what the kernel already knows: an address that just spoke TCP or UDP with
// us is there, because the kernel had to resolve it to answer. It sends nothing itself.
package neighbor
