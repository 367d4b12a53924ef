// Package httpboot is the boot listener: iPXE scripts, boot bytes and the agent's endpoints over plain HTTP.
//
// The flow of a boot: GET /boot.ipxe → parse what iPXE tells of itself → one transaction
// in the inventory decides what the host boots → [Script] (pure) writes it in iPXE's
// language → GET /stage0/ARCH/FILE streams the files with sendfile → POST /agent/v1/checkin
// binds the boot's nonce to the machine's SSH host key. Every milestone is a line in the
// host's boot diary.
//
// Nothing secret passes here: whoever is on the LAN can read it. What a machine sends is
// bounded, checked and escaped; sources are rate-limited. It decides nothing about hosts:
// rules live in inventory. It gives no address (dhcp) and shows no page (web).
package httpboot
