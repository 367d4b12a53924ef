package httpboot

import (
	"net"
	"net/netip"
	"sync"
)

// Limits of open connections: a machine needs two or three, a room full of machines behind
// one address translation some more.
const (
	maxConns       = 2048
	maxConnsSource = 128
)

// boundedListener closes what comes beyond the limits at once, so that a stranger who opens
// thousands of idle connections disturbs nobody but himself.
type boundedListener struct {
	net.Listener
	total, perSource int

	mu    sync.Mutex
	open  int
	count map[netip.Addr]int
}

func bound(l net.Listener, total, perSource int) *boundedListener {
	return &boundedListener{Listener: l, total: total, perSource: perSource, count: map[netip.Addr]int{}}
}

// Accept waits for the next connection that is within the limits.
func (b *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		src := addrOf(c.RemoteAddr())
		if !b.take(src) {
			_ = c.Close()
			continue
		}
		return &boundedConn{TCPConn: tcp, release: sync.OnceFunc(func() { b.give(src) })}, nil
	}
}

func (b *boundedListener) take(src netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open >= b.total || b.count[src] >= b.perSource {
		return false
	}
	b.open++
	b.count[src]++
	return true
}

func (b *boundedListener) give(src netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.count[src]--; b.count[src] <= 0 {
		delete(b.count, src)
	}
}

// boundedConn keeps the TCP connection's ReadFrom in reach, which sendfile(2) needs.
type boundedConn struct {
	*net.TCPConn
	release func()
}

// Close closes the connection and gives its place back.
func (c *boundedConn) Close() error {
	c.release()
	return c.TCPConn.Close()
}

// addrOf is the address of a TCP peer, IPv4 in its short form; invalid when it has none.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
