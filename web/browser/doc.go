// Package browser drives the pages of the real program in Chromium: `hatchery serve` on virtual LANs, with machines that ask,
// boot, check in and report as real ones do. The *.mjs files beside it say what is looked at; site_test.go, machine_test.go
// and orders_test.go say how the program is started and what stands in for what.
//
// Real: the program, its DHCP, boot listener, store, pipeline and pages; netboots by DHCP, TFTP and HTTP; check-ins and reports of
// agents; SSH to stage-0. Stand-ins: nix and nixos-anywhere are scripts (no machine here has disks to install on), a stage-0 is
// an SSH server that answers the pipeline's looks, and states that take a real install (installed, a thousand hosts) are
// written to the store before the start. internal/lab/e2e installs a real machine.
package browser
