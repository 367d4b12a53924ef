package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// jobVar marks every process of a job in its environment, so that what an appliance that was killed
// left running is found and ended before anything else is done (DESIGN section 5, rule 2).
const jobVar = "HATCHERY_JOB"

// maxLine bounds one line of a program's output; the rest of a longer one is dropped.
const maxLine = 4096

// program is one run of an external program in a process group of its own.
type program struct {
	argv  []string
	env   []string // whole environment
	dir   string
	grace time.Duration
	on    thread // that starts it
	// line is called for each line of standard output and error, from one goroutine at a time.
	line func(text string, stderr bool)
}

// run starts the program and waits for it. When ctx ends the whole group is asked to end, and killed
// after the grace. The error is ctx's cause, or that the program could not be run; an exit code is not an error.
func (p *program) run(ctx context.Context) (int, error) {
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = p.grace
	sink := &lines{emit: p.line}
	out, errs := &lineWriter{to: sink}, &lineWriter{to: sink, stderr: true}
	cmd.Stdout, cmd.Stderr = out, errs
	var err error
	p.on.do(func() { err = cmd.Start() })
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever of the group outlived its leader
	out.flush()
	errs.flush()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, context.Cause(ctx)
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode(), nil
	case errors.As(err, &exit):
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return -1, fmt.Errorf("run %s: %w", p.argv[0], err)
}

// lines hands on whole lines of two streams, one at a time.
type lines struct {
	mu   sync.Mutex
	emit func(text string, stderr bool)
}

// lineWriter cuts one stream into lines (also at carriage returns, which progress bars use).
type lineWriter struct {
	to     *lines
	stderr bool
	raw    int // hand lines on as they are, of at most so many bytes, and drop longer ones; 0 = cleaned and cut at maxLine
	buf    []byte
	over   bool // the current line was cut
}

var _ io.Writer = (*lineWriter)(nil)

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\n\r")
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if room := cmp.Or(w.raw, maxLine) - len(w.buf); !w.over && room > 0 {
			w.buf = append(w.buf, part[:min(room, len(part))]...)
			w.over = len(part) > room
		}
		if i < 0 {
			break
		}
		w.flush()
		p = p[i+1:]
	}
	return n, nil
}

func (w *lineWriter) flush() {
	text := string(w.buf)
	if w.raw == 0 {
		text = clean(text)
	} else if w.over {
		text = ""
	}
	if text != "" && w.to.emit != nil {
		w.to.mu.Lock()
		w.to.emit(text, w.stderr)
		w.to.mu.Unlock()
	}
	w.buf, w.over = w.buf[:0], false
}

// endLeftovers kills every process that carries the mark and waits until none is left; only
// processes of the appliance's own user can be seen. It reports how many there were.
func endLeftovers(ctx context.Context, on thread, mark string) (int, error) {
	ended, err := endMarked(ctx, on, func(m string) bool { return m == mark })
	return len(ended), err
}

// endMarked kills every process whose mark matches and waits until none is left. It reports them with their marks.
func endMarked(ctx context.Context, on thread, match func(mark string) bool) (map[int]string, error) {
	ended := map[int]string{}
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		pids, err := carriers(on, match)
		if err != nil || len(pids) == 0 {
			return ended, err
		}
		for pid, mark := range pids {
			ended[pid] = mark
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return ended, fmt.Errorf("%d processes of an earlier run do not end: %w", len(pids), ctx.Err())
		case <-time.After(wait):
		}
	}
}

// marked lists the living processes whose environment has the mark (a jobVar with its value).
func marked(on thread, mark []byte) ([]int, error) {
	pids, err := carriers(on, func(m string) bool { return jobVar+"="+m == string(mark) })
	return slices.Sorted(maps.Keys(pids)), err
}

// carriers lists the living processes whose mark matches, with it; this process itself never counts.
func carriers(on thread, match func(mark string) bool) (pids map[int]string, err error) {
	on.do(func() { pids, err = readCarriers(match) })
	return pids, err
}

func readCarriers(match func(mark string) bool) (map[int]string, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	pids := map[int]string{}
	for _, d := range all {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", d.Name(), "environ")) // gone, or not ours: no process of a job; a zombie's is empty
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if mark, is := strings.CutPrefix(string(v), jobVar+"="); is && match(mark) {
				pids[pid] = mark
				break
			}
		}
	}
	return pids, nil
}
