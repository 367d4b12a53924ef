package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// transfer counts the bytes that a job's ssh programs were given to send, from what the kernel says each has read
// (proc(5), rchar of /proc/PID/io): nix and tar write a closure's uncompressed bytes to ssh, which compresses them itself,
// so the count and the closure's size are in the same unit. What a program read between two looks before it ended is
// missed; the count never falls.
type transfer struct {
	on   thread // that started them
	mark []byte
	read map[int]uint64 // by pid; a pid is not used again within one copy
}

func newTransfer(on thread, mark string) *transfer {
	return &transfer{on: on, mark: []byte(jobVar + "=" + mark), read: map[int]uint64{}}
}

// look reads the counters and gives the sum of all that was ever seen.
func (t *transfer) look() uint64 {
	pids, err := marked(t.on, t.mark)
	if err != nil {
		pids = nil // the next look may succeed
	}
	t.on.do(func() {
		for _, pid := range pids {
			if n, ok := sshRead(pid); ok {
				t.read[pid] = max(t.read[pid], n)
			}
		}
	})
	var sum uint64
	for _, n := range t.read {
		sum += n
	}
	return sum
}

// sshRead is what a process that is an ssh has read; false for another program or one that is gone.
func sshRead(pid int) (uint64, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil || string(bytes.TrimSpace(name)) != "ssh" {
		return 0, false
	}
	raw, err := os.ReadFile(filepath.Join(dir, "io"))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(raw) {
		if v, ok := bytes.CutPrefix(line, []byte("rchar: ")); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// copyLook is how often the copied bytes are looked at.
const copyLook = time.Second

// showCopy shows how many of the system's bytes are copied, until ctx ends.
func (a *anywhere) showCopy(ctx context.Context, total uint64) {
	t := newTransfer(a.w.r.thread, a.w.mark())
	shown := ""
	for pause(ctx, min(copyLook, 20*a.w.r.limit.Poll)) == nil {
		text := copyText(t.look(), total)
		a.mu.Lock()
		if text != shown && ctx.Err() == nil {
			a.w.progress(text)
		}
		a.mu.Unlock()
		shown = text
	}
}

// copyText is the phase with what is done of it. What ssh sends beside the system (protocol, headers) may sum up to a little
// more than there is.
func copyText(done, total uint64) string {
	return fmt.Sprintf("%s, %d of %d MB", phaseCopy, min(done, total)/1e6, (total+1e6-1)/1e6)
}
