// Package boltdb is the one owner of the database file (bbolt): transactions,
// schema version, change feed, leases and their journal, backup.
//
// [Open] takes the file's lock, checks the file from end to end, brings its
// schema up to date and only then hands it out. [DB] implements inventory.Store;
// the DHCP server's leases go through [DB.CommitLeases] into a journal beside the
// file, one append and one sync for all that come together; when a journal file is full its
// leases are moved into the database, while the other one is appended to.
//
// It holds no rule about hosts or addresses: those are in inventory and dhcp/lease.
package boltdb
