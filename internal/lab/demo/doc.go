// Command demo shows Hatchery's journey without a spare machine or LAN: `make demo`.
//
// The flow: lay a virtual LAN, start `hatchery serve` in it, make its page
// reachable from this computer, power a blank virtual machine on, and print its
// boot diary as it grows. Ctrl-C removes all of it; what a crashed run leaves
// the next one removes.
//
// It is no part of the appliance, which it only starts and asks over its API.
package main
