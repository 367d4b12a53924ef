// Command hatchery-agent runs in stage-0 on the machine being installed: it gathers the
// machine's facts, checks in with the appliance that booted it, lets the appliance's SSH
// key in, and reports until told otherwise.
//
// The flow: kernel command line (hatchery.url, hatchery.nonce, BOOTIF) → wait for the SSH
// host key and the network → facts from /sys, /proc and the disks → signed check-in →
// authorized_keys → signed reports every ten seconds. Every refusal and loss of contact is
// one plain sentence on the console, and it tries again for ever; an appliance that was
// restarted and does not know the boot any more is checked in with again.
//
// It needs nothing of the distribution beyond /sys, /proc and one interface that is up, and it
// writes nothing but /root/.ssh/authorized_keys. It never writes to a disk.
package main
