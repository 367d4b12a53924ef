// Package tftp serves the few boot files that firmware and iPXE ask for, read-only.
//
// A request's name is matched exactly against the table of dhcp/bootfile; anything else
// gets error 1 at once, since iPXE probes for files that are not there (R19) and waits for
// the answer. autoexec.ipxe is generated: it leads to the boot script under the address
// that the request came in on. A firmware that asks for the size and aborts (R7) is a
// probe, not a failure. Each complete file is a line in the host's boot diary.
//
// The protocol is github.com/pin/tftp/v3's; this package opens no file outside the given
// directory and writes none.
package tftp
