package pipeline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	// ringLines is how many lines of a job's log are kept in memory and given out at once.
	ringLines = 5000
	// maxLogFile bounds one log file; a full one becomes ID.log.1 and a new one begins, so that a job's
	// log takes at most twice as much.
	maxLogFile = 16 << 20
)

// Line is one line of a job's log. No rises within one host, over attempts, restarts and jobs, and by
// one within a job, so that a reader can go on behind the line it saw last.
type Line struct {
	No   uint64    `json:"no"`
	Time time.Time `json:"time"`
	Step string    `json:"step"`
	Text string    `json:"text"`
}

// Page is what is there of a job's log after a line.
type Page struct {
	Job   inventory.JobID
	Lines []Line
	// More is closed once there are further lines or the job has ended; nil when the log is complete.
	More <-chan struct{}
}

// ansi matches terminal control sequences (ECMA-48 §5.4 CSI and what xterm adds as OSC).
var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)")

// clean makes one line of a program's output fit to keep.
func clean(text string) string {
	return inventory.Clean(strings.ReplaceAll(ansi.ReplaceAllString(text, ""), "\t", " "), maxLine)
}

// joblog is the log of one job: a file, and its last lines in memory. Safe for concurrent use.
type joblog struct {
	path  string
	limit int64 // bytes of one file
	masks *masks
	now   func() time.Time

	mu   sync.Mutex
	file *os.File // nil when it could not be opened or was closed
	size int64
	ring []Line // oldest first
	last uint64 // number of the newest line
	more chan struct{}
	done bool // no more lines will come
	lost bool // not all lines are in the file
}

// openLog opens a job's log for writing and reads back the end of what is there.
// The numbers of a new log begin behind base.
func openLog(path string, base uint64, m *masks, now func() time.Time) (*joblog, error) {
	l := &joblog{path: path, limit: maxLogFile, masks: m, now: now, last: base, more: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return l, fmt.Errorf("job log: %w", err)
	}
	lines, err := readLog(path)
	if err != nil {
		return l, err
	}
	l.ring = lines
	if len(lines) > 0 {
		l.last = lines[len(lines)-1].No
	}
	return l, l.openFile()
}

func (l *joblog) openFile() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("job log: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	var last [1]byte
	if err == nil && size > 0 {
		if _, err = f.ReadAt(last[:], size-1); err == nil && last[0] != '\n' { // a crash tore the last line
			_, err = f.WriteString("\n")
			size++
		}
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("job log: %w", err)
	}
	l.file, l.size = f, size
	return nil
}

// add appends one line, cleaned and with every secret masked. A disk that is full costs the
// file, never the job: the memory still has the line.
func (l *joblog) add(step, text string) {
	text = l.masks.apply(clean(text))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done || text == "" {
		return
	}
	l.last++
	line := Line{No: l.last, Time: l.now().UTC(), Step: step, Text: text}
	if len(l.ring) >= ringLines {
		l.ring = append([]Line(nil), l.ring[ringLines/10:]...)
	}
	l.ring = append(l.ring, line)
	l.write(line)
	close(l.more)
	l.more = make(chan struct{})
}

func (l *joblog) write(line Line) {
	if l.file != nil && l.size > l.limit {
		l.file.Close()
		l.file = nil
		if os.Rename(l.path, l.path+".1") == nil {
			_ = l.openFile() // a failure is seen right below
		}
	}
	if l.file == nil {
		l.lost = true
		return
	}
	n, err := fmt.Fprintf(l.file, "%d %s %s\t%s\n", line.No, line.Time.Format(time.RFC3339Nano), strings.ReplaceAll(line.Step, " ", "_"), line.Text)
	l.size += int64(n)
	if err == nil {
		return
	}
	l.lost = true
	// A torn line must not swallow the next one.
	if os.Truncate(l.path, l.size-int64(n)) == nil {
		l.size -= int64(n)
	}
}

// page gives the lines after a number, and what to wait on for more.
func (l *joblog) page(id inventory.JobID, after uint64) Page {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Page{Job: id, Lines: since(l.ring, after)}
	if !l.done {
		p.More = l.more
	}
	return p
}

// close ends the log: readers are told that no more comes.
func (l *joblog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.done = true
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	close(l.more)
}

func since(lines []Line, after uint64) []Line {
	for i, l := range lines {
		if l.No > after {
			return append([]Line(nil), lines[i:]...)
		}
	}
	return nil
}

// readLog reads the last lines of a log from its files; none is no error.
func readLog(path string) (lines []Line, err error) {
	err = eachLine(path, func(l Line) error {
		if lines = append(lines, l); len(lines) > 2*ringLines {
			lines = append(lines[:0], lines[ringLines:]...)
		}
		return nil
	})
	if over := len(lines) - ringLines; over > 0 {
		lines = append([]Line(nil), lines[over:]...)
	}
	return lines, err
}

// eachLine calls fn with every line of a log's files, oldest first, until it fails; none is no error.
func eachLine(path string, fn func(Line) error) error {
	for _, p := range []string{path + ".1", path} {
		f, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("job log: %w", err)
		}
		err = scanLog(f, fn)
		f.Close()
		if err != nil {
			return fmt.Errorf("job log %s: %w", p, err)
		}
	}
	return nil
}

func scanLog(r io.Reader, fn func(Line) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4*maxLine)
	for s.Scan() {
		if l, ok := parseLine(s.Text()); ok {
			if err := fn(l); err != nil {
				return err
			}
		}
	}
	return s.Err()
}

// parseLine reads one line of a log file; a torn one reports false.
func parseLine(text string) (Line, bool) {
	head, body, ok := strings.Cut(text, "\t")
	f := strings.Fields(head)
	if !ok || len(f) != 3 {
		return Line{}, false
	}
	no, err := strconv.ParseUint(f[0], 10, 64)
	at, err2 := time.Parse(time.RFC3339Nano, f[1])
	if err != nil || err2 != nil {
		return Line{}, false
	}
	return Line{No: no, Time: at, Step: strings.ReplaceAll(f[2], "_", " "), Text: body}, true
}
