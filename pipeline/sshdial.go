package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// How an SSH connection can go wrong, as far as the runner tells the cases apart.
var (
	errWrongKey = errors.New("another SSH host key than the expected one")
	errNoEntry  = errors.New("the appliance's SSH key is not let in")
	errSilent   = errors.New("no answer")
)

// maxOutput bounds what one command on a machine may print; more is cut.
const maxOutput = 4 << 20

// dialer opens SSH connections to machines as root, each pinned to one host key. Safe for concurrent use.
type dialer struct {
	signer  ssh.Signer
	port    uint16
	timeout time.Duration
}

// dial connects to the machine at ip, which must show the host key (authorized_keys form).
// errWrongKey, errNoEntry, errSilent.
func (d *dialer) dial(ctx context.Context, ip netip.Addr, hostKey string) (*conn, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return nil, fmt.Errorf("pinned host key of %s: %w", ip, err)
	}
	if !ip.IsValid() {
		return nil, fmt.Errorf("its address is not known: %w", errSilent)
	}
	mismatch := false
	cfg := &ssh.ClientConfig{
		User:              "root",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(d.signer)},
		HostKeyAlgorithms: algorithms(key.Type()),
		HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if mismatch = !bytes.Equal(got.Marshal(), key.Marshal()); mismatch {
				return fmt.Errorf("it shows %s, expected %s: %w", ssh.FingerprintSHA256(got), ssh.FingerprintSHA256(key), errWrongKey)
			}
			return nil
		},
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	to := netip.AddrPortFrom(ip, d.port).String()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, fmt.Errorf("ssh to %s: %w (%w)", ip, err, errSilent)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() }) // the handshake itself knows no context
	defer stop()
	c, chans, reqs, err := ssh.NewClientConn(nc, to, cfg)
	if err == nil {
		return &conn{client: ssh.NewClient(c, chans, reqs), ip: ip}, nil
	}
	nc.Close()
	switch {
	case mismatch:
		return nil, fmt.Errorf("ssh to %s: %w", ip, errWrongKey)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return nil, fmt.Errorf("ssh to %s: %w (%w)", ip, err, errWrongKey)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return nil, fmt.Errorf("ssh to %s: %w", ip, errNoEntry)
	}
	return nil, fmt.Errorf("ssh to %s: %w (%w)", ip, err, errSilent)
}

// algorithms are the host key algorithms that a key of that type can sign with, so that a server
// with several keys shows the pinned one (RFC 8332 §3.1: ssh-rsa keys sign with rsa-sha2-*).
func algorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// conn is one SSH connection to a machine; the caller closes it.
type conn struct {
	client *ssh.Client
	ip     netip.Addr
}

func (c *conn) close() { c.client.Close() }

// run executes a script of ours with the machine's sh and returns what it printed on standard
// output. The script travels on standard input: nothing of it is seen in the machine's ps.
// A script that exits other than 0 gives *ssh.ExitError; a lost connection errSilent.
func (c *conn) run(ctx context.Context, script string) (string, error) {
	defer context.AfterFunc(ctx, c.close)() // a machine that is gone leaves even the new session without an answer
	s, err := c.client.NewSession()
	if err != nil {
		return "", fmt.Errorf("ssh session on %s: %w (%w)", c.ip, err, errSilent)
	}
	defer s.Close()
	var out, errs capped
	s.Stdout, s.Stderr, s.Stdin = &out, &errs, strings.NewReader(script)
	err = s.Run("sh -s")
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return out.String(), nil
	case ctx.Err() != nil:
		return out.String(), fmt.Errorf("command on %s: %w", c.ip, ctx.Err())
	case errors.As(err, &exit):
		return out.String(), fmt.Errorf("command on %s: %w: %s", c.ip, err, lastLine(errs.String()))
	}
	return out.String(), fmt.Errorf("command on %s: %w (%w)", c.ip, err, errSilent)
}

// capped keeps the first maxOutput bytes of what is written to it.
type capped struct{ bytes.Buffer }

// Write implements io.Writer; it never fails, so that the other side is not blocked.
func (c *capped) Write(p []byte) (int, error) {
	if room := maxOutput - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

var _ io.Writer = (*capped)(nil)

// lastLine is the last non-empty line of text, cleaned.
func lastLine(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if l := clean(line); l != "" {
			last = l
		}
	}
	return last
}
