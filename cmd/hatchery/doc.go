// Command hatchery is the appliance and its command line.
//
// `hatchery serve` reads the configuration (config.go), opens the data directory, and runs the
// DHCP, TFTP, boot and web listeners and the pipeline in one errgroup (serve.go): the first error
// ends all of them. The other commands talk to a running appliance over its API (client.go).
//
// It decides nothing about packets, scripts, disks or hosts: those rules live in the packages it wires.
package main
