// Package bootfile is the leaf table that says which boot file a client gets:
// client architecture (option 93) and boot stage → file name or URL.
//
// dhcp, tftp and httpboot share it, so that a name is offered exactly when it is
// served. It does not read files and knows nothing of hosts.
package bootfile
