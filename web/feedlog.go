package web

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/staged-hive/hatchery/inventory"
)

// maxLogText bounds what one line of an installer's log takes in the event stream.
const maxLogText = 1024

// logEvent is a line of an installer's log in the event stream.
type logEvent struct {
	HostID inventory.HostID `json:"host_id"`
	LogLine
}

// logTails follows the logs of hosts with an open job into the feed. Used by the feed's goroutine alone.
type logTails struct {
	f    *feed
	stop map[inventory.HostID]context.CancelFunc
	wg   sync.WaitGroup
}

func newLogTails(f *feed) *logTails {
	return &logTails{f: f, stop: map[inventory.HostID]context.CancelFunc{}}
}

// see begins or ends to follow a host's log, by its state.
func (t *logTails) see(ctx context.Context, id inventory.HostID, open bool) {
	logs := t.f.s.cfg.Logs
	stop, follows := t.stop[id]
	switch {
	case logs == nil, open == follows:
	case !open:
		stop()
		delete(t.stop, id)
	default:
		ctx, cancel := context.WithCancel(ctx)
		t.stop[id] = cancel
		after := t.last(id)
		t.wg.Go(func() { t.follow(ctx, id, after) })
	}
}

// last is the line that the log ends with now, 0 when there is none.
func (t *logTails) last(id inventory.HostID) uint64 {
	lines, err := t.f.s.cfg.Logs.Tail(id, 1)
	if err != nil || len(lines) == 0 {
		return 0
	}
	return lines[len(lines)-1].ID
}

// follow publishes lines until the job has ended, and then those that it ended with.
func (t *logTails) follow(ctx context.Context, id inventory.HostID, after uint64) {
	publish := func(l LogLine) error {
		after = l.ID
		l.Text = clip(l.Text, maxLogText)
		b, err := json.Marshal(logEvent{HostID: id, LogLine: l})
		if err == nil {
			t.f.publish(event{name: "log", host: id, data: b})
		}
		return err
	}
	err := t.f.s.cfg.Logs.Follow(ctx, id, after, publish)
	if ctx.Err() == nil && err != nil {
		t.f.s.log.Debug("log is no longer followed", "host", id, "err", err)
		return
	}
	lines, err := t.f.s.cfg.Logs.Tail(id, feedKeep/2)
	for _, l := range lines {
		if l.ID > after && err == nil {
			err = publish(l)
		}
	}
}

// end waits for all that still follow; ctx of see has ended.
func (t *logTails) end() {
	for _, stop := range t.stop {
		stop()
	}
	t.wg.Wait()
}
