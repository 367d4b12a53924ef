// Package boltdb is the one owner of the database file (bbolt): transactions,
// schema version, change feed, leases and the shared lease commit, backup.
//
// [Open] takes the file's lock, checks the file from end to end, brings its
// schema up to date and only then hands it out. [DB] implements inventory.Store;
// the DHCP server's leases go through [DB.CommitLease], where one goroutine
// commits whatever has gathered while the last fsync ran, so that a lone client
// waits for one fsync and a hundred share one.
//
// It holds no rule about hosts or addresses: those are in inventory and dhcp/lease.
package boltdb
