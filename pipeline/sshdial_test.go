package pipeline

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/sshtest"
)

// TestAMachineThatFreezesHoldsNobodyUp: after a power cut the connection stays open for minutes, and nothing on it is answered.
func TestAMachineThatFreezesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	key := sshtest.NewKey(t)
	over := make(chan struct{})
	defer func() {
		l.Close()
		<-over
	}()
	go func() {
		defer close(over)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		cfg := &ssh.ServerConfig{NoClientAuth: true}
		cfg.AddHostKey(key)
		c, _, reqs, err := ssh.NewServerConn(nc, cfg)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		_ = c.Wait() // no channel is ever accepted
	}()
	at := netip.MustParseAddrPort(l.Addr().String())
	d := &dialer{signer: sshtest.NewKey(t), port: at.Port(), timeout: time.Minute}
	c, err := d.dial(t.Context(), at.Addr(), sshtest.PublicLine(key))
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := c.run(ctx, bootScript)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a frozen machine answered")
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("still waits for a session")
	}
}
