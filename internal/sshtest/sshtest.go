// Package sshtest is the SSH side of test machines: keys, and sessions that run what the test says.
package sshtest

import (
	"crypto/ed25519"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// NewKey makes an Ed25519 key.
func NewKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// PublicLine is the public half of a key as authorized_keys has it, without a comment or a newline.
func PublicLine(key ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
}

// Serve answers one connection until it ends, and closes it. run carries a session's command out: what it returns is printed after
// what it wrote itself, and code is the exit status. Whoever the configuration does not let in is turned away.
func Serve(c net.Conn, cfg *ssh.ServerConfig, run func(command string, session io.ReadWriter) (out string, code int)) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for next := range channels {
		ch, requests, err := next.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { session(ch, requests, run) })
	}
}

func session(ch ssh.Channel, requests <-chan *ssh.Request, run func(string, io.ReadWriter) (string, int)) {
	defer ch.Close()
	for req := range requests {
		var p struct{ Command string }
		if req.Type != "exec" || ssh.Unmarshal(req.Payload, &p) != nil {
			_ = req.Reply(req.Type == "env", nil)
			continue
		}
		_ = req.Reply(true, nil)
		go ssh.DiscardRequests(requests)
		out, code := run(p.Command, ch)
		_, _ = io.WriteString(ch, out) // nobody reads it if the session is over
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		return
	}
}
