package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// StartReady is [LAN.Start] for a program that tells its service manager when it
// serves (sd_notify, as under systemd); it returns once it does, at the latest when ctx ends.
func (l *LAN) StartReady(ctx context.Context, side Side, out io.Writer, name string, args ...string) (*Process, error) {
	dir, err := os.MkdirTemp(l.dir, "notify")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	socket := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", socket)
	if err != nil {
		return nil, err
	}
	// Programs that are not root's tell it too, as they tell systemd.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(socket.Name, 0o777)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ready := make(chan struct{})
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "READY=1") {
				close(ready)
				return
			}
		}
	}()
	defer func() {
		_ = conn.Close()
		<-listening
	}()
	cmd := l.Command(context.Background(), side, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket.Name)
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-ready:
		return p, nil
	case <-p.Done():
		return nil, fmt.Errorf("%s ended before it served: %w", name, p.Err())
	case <-ctx.Done():
		p.Kill()
		return nil, fmt.Errorf("%s does not serve: %w", name, ctx.Err())
	}
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
