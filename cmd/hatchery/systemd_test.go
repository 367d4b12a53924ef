package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogIsFedOnlyWhileTheApplianceWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		stuck, beats := make(chan struct{}), 0
		var hang atomic.Bool
		ended := make(chan error)
		go func() {
			ended <- watchdog(ctx, time.Second, func() {
				if hang.Load() {
					<-stuck
				}
			}, func() { beats++ })
		}()
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		if beats != 5 {
			t.Errorf("4.5 s of work at one beat a second: got %d beats, want 5", beats)
		}
		hang.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if beats != 5 {
			t.Errorf("a minute of hanging: got %d further beats, want none", beats-5)
		}
		hang.Store(false)
		close(stuck)
		time.Sleep(time.Second)
		synctest.Wait()
		if beats < 6 {
			t.Error("no beat after the appliance works again")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
