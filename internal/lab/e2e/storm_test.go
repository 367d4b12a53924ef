package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestTwelveAtOnce powers twelve blank machines on together, as after a power cut: every one checks in.
func TestTwelveAtOnce(t *testing.T) {
	full(t)
	const machines = 12
	l := newLANWith(t, lab.Config{Ports: machines})
	a := startAppliance(t, l, serverFlags(l)...)
	var all []*journey
	for i := range machines {
		fw := lab.BIOS
		if i%3 == 2 {
			fw = lab.UEFI
		}
		m := newMachine(t, l, lab.MachineConfig{Name: fmt.Sprintf("m%d", i), Firmware: fw, Port: i, MemoryMiB: 384, Disks: []lab.Disk{{}}})
		all = append(all, powerOn(t, a, m))
	}
	ips := map[string]string{}
	for _, h := range readyAll(t, 8*time.Minute, all...) {
		if other, taken := ips[h.IP]; taken || h.IP == "" {
			t.Errorf("%s has the address %q, which %s has", h.MAC, h.IP, other)
		}
		ips[h.IP] = h.MAC
	}
	last := time.Duration(0)
	for _, j := range all {
		last = max(last, j.checkin.Sub(j.powered))
	}
	t.Logf("the last of %d checked in %.0f s after power-on", machines, last.Seconds())
}
