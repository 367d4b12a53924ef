// Command filebench measures how boot files and images go out, beside other servers in the same namespaces and the same
// run: TFTP with and without 1 % of all packets lost, beside tftpd-hpa, dnsmasq and atftpd; and many downloads of a large
// image at once, beside nginx. The servers take turns; what counts are ratios. Needs root, `make build build/ipxe`, and
// the other servers; `make bench-files` runs it.
package main
