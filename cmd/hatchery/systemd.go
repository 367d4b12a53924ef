package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/staged-hive/hatchery/inventory"
)

// tellSystemd says that the appliance serves, and then, as often as the unit's WatchdogSec wants,
// that it still works: systemd restarts a process that hangs. Outside systemd it does nothing.
func (a *appliance) tellSystemd(ctx context.Context) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		a.log.Warn("systemd was not told that the appliance serves", "err", err)
	}
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil || within == 0 {
		return err
	}
	return watchdog(ctx, within/2, a.alive, func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) }) // a lost one is followed by the next
}

// watchdog calls beat once each interval, but never before alive has returned: while that hangs there is no beat.
// It returns nil when ctx ends.
func watchdog(ctx context.Context, interval time.Duration, alive func(), beat func()) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		done := make(chan struct{})
		go func() { alive(); close(done) }()
		select {
		case <-done:
			beat()
		case <-ctx.Done():
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// alive takes the locks that every packet and page needs, and returns when it got them. A full
// disk is not its business: a restart would not help.
func (a *appliance) alive() {
	a.dhcp.Status()
	_ = a.db.View(func(*inventory.Tx) error { return nil })
}
