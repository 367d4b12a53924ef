// Package e2e boots virtual machines with real firmware against the real
// program in a virtual LAN (package lab) and asserts what DESIGN promises of it.
//
// The flow: TestMain has make build the programs, the boot files and the
// stage-0 stand-in; each test lays a LAN, starts `hatchery serve` in it, powers
// machines on, and looks at the API, the page, the consoles and the disks.
// The tests need root and HATCHERY_E2E=1, HATCHERY_FULL=1 adds the slow ones;
// they run one after the other, because emulated machines need the processors.
package e2e
