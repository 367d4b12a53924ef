package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestTwelveMachinesTogether powers on twelve blank machines at the same moment, every third one with UEFI: after a power cut
// in a rack, all of them check in, each as a host of its own with an address of its own.
func TestTwelveMachinesTogether(t *testing.T) {
	full(t)
	const machines = 12
	l := newLANWith(t, lab.Config{Ports: machines})
	a := startAppliance(t, l, serverFlags(l)...)
	all := make([]*journey, machines)
	for n := range all {
		fw := lab.BIOS
		if n%3 == 0 {
			fw = lab.UEFI
		}
		all[n] = &journey{a: a, m: newMachine(t, l, lab.MachineConfig{Name: fmt.Sprintf("rack%d", n), Port: n, Firmware: fw, Disks: []lab.Disk{{}}})}
	}
	for n, j := range all {
		all[n] = powerOn(t, a, j.m)
	}
	hosts, ips := map[string]bool{}, map[string]bool{}
	for _, h := range readyAll(t, 10*time.Minute, all...) {
		hosts[h.ID], ips[h.IP] = true, true
	}
	if len(hosts) != machines || len(ips) != machines {
		t.Errorf("%d machines are %d hosts with %d addresses", machines, len(hosts), len(ips))
	}
	last := time.Duration(0)
	for _, j := range all {
		noLoop(t, j.m)
		last = max(last, j.checkin.Sub(j.powered))
	}
	t.Logf("%d machines had checked in %.0f s after power-on", machines, last.Seconds())
}
