package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Dial opens a connection from one side of the LAN; addr is IP:PORT.
func (l *LAN) Dial(ctx context.Context, side Side, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := inside(nsPath(l.ns(side)), func() error {
		var err error
		d := net.Dialer{Timeout: 10 * time.Second}
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// ListenUDP opens a UDP socket on an IPv4 port of a side; 0 is any.
func (l *LAN) ListenUDP(side Side, port int) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := inside(nsPath(l.ns(side)), func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		return err
	})
	return conn, err
}

// Dialer is [LAN.Dial] in the form that http.Transport takes.
func (l *LAN) Dialer(side Side) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return l.Dial(ctx, side, network, addr)
	}
}

// Inside runs fn on a thread that is in a side's namespace: sockets opened there stay there, whoever uses them later.
func (l *LAN) Inside(side Side, fn func() error) error {
	return inside(nsPath(l.ns(side)), fn)
}

// inside runs fn on a thread that is in the namespace; sockets made there stay there.
func inside(path string, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		ns, err := os.Open(path)
		if err != nil {
			done <- fmt.Errorf("the virtual LAN is gone: %w", err)
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", path, err)
			return
		}
		err = fn()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			// The thread stays locked and so ends with this goroutine.
			done <- errors.Join(err, fmt.Errorf("leave %s: %w", path, back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// Forward accepts TCP connections on the listener (of the host) and joins each to
// target on a side of the LAN, until ctx ends. It closes the listener and returns
// once every connection is closed.
func (l *LAN) Forward(ctx context.Context, ln net.Listener, side Side, target string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() { l.join(ctx, c, side, target) })
	}
}

func (l *LAN) join(ctx context.Context, c net.Conn, side Side, target string) {
	defer c.Close()
	up, err := l.Dial(ctx, side, "tcp", target)
	if err != nil {
		l.cfg.Log.Debug("forward", "err", err)
		return
	}
	defer up.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close(); _ = up.Close() })
	defer stop()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, up)
		_ = c.Close()
	}()
	_, _ = io.Copy(up, c)
	_ = up.Close()
	<-back
}
