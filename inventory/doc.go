// Package inventory is the vocabulary of Hatchery: hosts, their states and the
// events that move them, jobs, the boot diary, and the store they are kept in.
//
// The flow: a shell package (dhcp/server, httpboot, web, pipeline) opens a
// transaction on the [Store], calls one act (acts.go: [Discover], [FetchScript],
// [CheckIn], [Assign], …), the act reads the host, asks the pure [Next] for the
// next state, writes the host and one [Entry] of its boot diary, and the store
// publishes a [Change] once all of it is on disk.
//
// What it does not do: no sockets, files, clocks or randomness (ids come from
// the transaction, the time is a parameter), no DHCP, HTTP or SSH.
package inventory
