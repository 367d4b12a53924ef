package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// JournalStep is what lines of stage-0's own journal have for a step in a job's log.
const JournalStep = "stage-0 journal"

// journalScript follows what the machine's system says, from the cursor on, until the connection ends: systemd's journal, or
// the kernel's messages where there is none. It ends at once where there is neither.
func journalScript(cursor string) string {
	return "# hatchery: journal\ncursor=" + quote(cursor) + `
if command -v journalctl >/dev/null 2>&1; then
	journalctl --boot --no-pager --quiet --follow --lines=all --output=json --output-fields=MESSAGE,SYSLOG_IDENTIFIER ${cursor:+"--after-cursor=$cursor"} 2>/dev/null &
elif [ -r /dev/kmsg ]; then
	cat /dev/kmsg 2>/dev/null &
else
	exit 0
fi
p=$!
cat >/dev/null
kill $p
`
}

// maxJournal bounds how many lines of one machine's journal go into a job's log: a machine that talks without end must
// not push everything else out of it.
const maxJournal = 20000

// maxJournalLine bounds one line of journalctl's JSON, in bytes; a longer message is left out.
const maxJournalLine = 64 << 10

// journal is what of stage-0's journal is in a job's log already. One goroutine at a time uses it.
type journal struct {
	job    inventory.JobID
	boot   string
	cursor string // of the last line
	lines  int
}

// startJournal begins to copy stage-0's journal into the job's log, all of the boot from its beginning; it goes on behind the last
// line after a cut and in a later attempt. Not before the sweep of an earlier attempt, which would end it.
func (w *work) startJournal(ctx context.Context) {
	if w.stopJournal != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	j, host := w.r.journalOf(w.hostID, w.id), w.hostID
	go func() {
		defer close(done)
		w.copyJournal(ctx, host, j)
	}()
	w.stopJournal = func() {
		cancel()
		<-done
	}
}

// endJournal stops the copying, if it was begun.
func (w *work) endJournal() {
	if w.stopJournal != nil {
		w.stopJournal()
		w.stopJournal = nil
	}
}

// journalOf is the journal of a host's job, as far as an earlier attempt of it got.
func (r *Runner) journalOf(id inventory.HostID, job inventory.JobID) *journal {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.journals[id]
	if j == nil || j.job != job {
		j = &journal{job: job}
		r.journals[id] = j
	}
	return j
}

// copyJournal follows whichever boot of stage-0 the store knows.
func (w *work) copyJournal(ctx context.Context, id inventory.HostID, j *journal) {
	for j.lines < maxJournal {
		h, err := w.r.hostNow(id)
		if err == nil && h.BootID != j.boot {
			j.boot, j.cursor = h.BootID, ""
		}
		if err == nil && !h.Flipped && w.follow(ctx, &h, j) == nil && j.cursor == "" {
			return // that system keeps no journal
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return
		}
	}
	w.log.add(JournalStep, fmt.Sprintf("the journal has more than %d lines: the rest is left out", maxJournal))
}

// follow copies the journal of the host's stage-0 until the connection ends; nil when the machine ended it.
func (w *work) follow(ctx context.Context, h *inventory.Host, j *journal) error {
	c, err := w.r.ssh.dial(ctx, h.IP, h.HostKey)
	if err != nil {
		return err // the job itself says so
	}
	defer c.close()
	out := &lineWriter{raw: maxJournalLine, to: &lines{emit: func(line string, _ bool) {
		text, cursor := parseJournal(line)
		if cursor == "" || seen(cursor, j.cursor) {
			return
		}
		if j.cursor = cursor; text == "" {
			return
		}
		if j.lines++; j.lines > maxJournal {
			c.close()
			return
		}
		w.log.add(JournalStep, text)
	}}}
	return c.follow(ctx, journalScript(j.cursor), out)
}

// hostNow is the host as the store has it.
func (r *Runner) hostNow(id inventory.HostID) (h inventory.Host, err error) {
	err = r.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err = tx.Host(id)
		return err
	})
	return h, err
}

// seen reports whether a kernel message was taken before: /dev/kmsg always begins with the oldest.
func seen(cursor, last string) bool {
	a, err := strconv.ParseUint(cursor, 10, 64)
	b, err2 := strconv.ParseUint(last, 10, 64)
	return err == nil && err2 == nil && a <= b
}

// parseJournal reads one line of journalctl's JSON (systemd.journal-fields(7)) or of /dev/kmsg (kernel
// Documentation/ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;text"). A line of no cursor is none.
func parseJournal(line string) (text, cursor string) {
	if strings.HasPrefix(line, "{") {
		var e struct {
			Cursor  string          `json:"__CURSOR"`
			Message json.RawMessage `json:"MESSAGE"`
			Who     string          `json:"SYSLOG_IDENTIFIER"`
		}
		if json.Unmarshal([]byte(line), &e) != nil || !cursorOK(e.Cursor) {
			return "", ""
		}
		if text = journalText(e.Message); e.Who != "" && text != "" {
			text = e.Who + ": " + text
		}
		return text, e.Cursor
	}
	head, text, ok := strings.Cut(line, ";")
	f := strings.Split(head, ",")
	if !ok || len(f) < 4 {
		return "", "" // a continuation line, or something else
	}
	if _, err := strconv.ParseUint(f[1], 10, 64); err != nil {
		return "", ""
	}
	return "kernel: " + text, f[1]
}

// journalText is a message: a string, or an array of bytes where it is no UTF-8.
func journalText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var codes []int
	if json.Unmarshal(raw, &codes) != nil {
		return ""
	}
	b := make([]byte, len(codes))
	for i, c := range codes {
		b[i] = byte(c)
	}
	return strings.ToValidUTF8(string(b), "?")
}

// cursorOK bounds what goes back to the machine's shell.
func cursorOK(c string) bool {
	return len(c) < 512 && !slices.ContainsFunc([]rune(c), func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && r != ';' && r != '=' && r != '-'
	})
}

// follow executes a script whose standard input stays open behind it, until ctx, the script or the connection ends.
func (c *conn) follow(ctx context.Context, script string, out io.Writer) error {
	defer context.AfterFunc(ctx, c.close)()
	s, err := c.client.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	in, err := s.StdinPipe()
	if err != nil {
		return err
	}
	s.Stdout = out
	if err := s.Start("sh -s"); err != nil {
		return err
	}
	if _, err := io.WriteString(in, script); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if err := c.alive(ctx); err != nil {
				c.close()
				<-ended
				return err
			}
		}
	}
}

// keepAlive is how often a connection that only listens is asked for a sign of life: a machine that lost its power says
// nothing by itself.
const keepAlive = 15 * time.Second

// alive asks for one; errSilent.
func (c *conn) alive(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, keepAlive)
	defer stop()
	defer context.AfterFunc(ctx, c.close)()
	if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		return fmt.Errorf("keepalive to %s: %w (%w)", c.ip, err, errSilent)
	}
	return nil
}
