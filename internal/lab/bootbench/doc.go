// Command bootbench measures the main job: a machine's way from its first DISCOVER to its boot script and to its agent's
// first check-in, with our appliance and with dnsmasq + nginx, which serve the same iPXE, kernel and initrd in the same
// virtual LAN. The two take turns, so that what else the computer does meets both; what counts is the ratio of each
// round. Needs root and `make build lab-images`; `make bench-boot` runs it.
package main
