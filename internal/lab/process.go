package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program that runs on a side of the LAN. It ends with its lab,
// also when the lab's own process is killed.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed
}

// Start runs a program on a side; its output goes to out (nil: nowhere).
func (l *LAN) Start(side Side, out io.Writer, name string, args ...string) (*Process, error) {
	cmd := l.Command(context.Background(), side, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	return startProcess(cmd)
}

func startProcess(cmd *exec.Cmd) (*Process, error) {
	// Its own group, so that a Ctrl-C at the terminal reaches us alone; killed with us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is its process id; `ip netns exec` becomes the program itself, so it is the program's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done closes when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended; nil while it runs and after exit code 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Kill ends it at once, as a crash or a power cut would, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // ended already is as good
	<-p.done
}

// Stop asks it to end (SIGTERM) and returns how it did; after 10 s it is killed, which is an error.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(10 * time.Second):
		p.Kill()
		return errors.New(p.cmd.Path + " did not end within 10 s of SIGTERM")
	}
}
