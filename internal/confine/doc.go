// Package confine takes from the running process what it does not need: the
// root user, capabilities, the way back to them, and the right to write
// outside its own folders. All of it concerns every thread and every program
// started later.
//
// The flow: [Become] another user with a few capabilities before the first
// file is opened, bind the sockets, [Limit], and then [Probe], which tries what
// must be impossible now.
//
// What it does not do: decide who the process becomes or where it may write,
// hide files from it, or limit its network; the systemd unit does more.
package confine
