// Package inventorytest holds the in-memory store for other packages' tests and the
// contract tests ([TestStore]) that every inventory.Store must pass.
//
// [NewStore] behaves like the durable store, snapshots, rollback and change feed
// included; it only forgets everything when the test ends. It is not meant for
// production: an update copies what it touches.
package inventorytest
