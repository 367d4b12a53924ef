package httpboot_test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/httpboot"
)

// tallyListener counts what reaches its connections through ReadFrom, the only way to sendfile(2).
type tallyListener struct {
	net.Listener
	bytes *atomic.Int64
}

// Accept implements net.Listener.
func (l tallyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tallyConn{c.(*net.TCPConn), l.bytes}, nil
}

type tallyConn struct {
	*net.TCPConn
	bytes *atomic.Int64
}

// ReadFrom implements io.ReaderFrom.
func (c tallyConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.bytes.Add(n)
	return n, err
}

func TestDownloadsReachTheSocketThroughReadFrom(t *testing.T) {
	var bytes atomic.Int64
	a := startAppliance(t, true, func(c *httpboot.Config) { c.Listener = tallyListener{c.Listener, &bytes} })
	a.fetchNonce(t) // so that how far the download is is looked at
	_, body := get(t, a.url+"/stage0/x86_64/initrd")
	want := int64(len(body)) - 512 // net/http writes the first bytes with the header
	for end := time.Now().Add(10 * time.Second); bytes.Load() < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		// The last byte is here before the call that sent it has returned and was counted.
	}
	if got := bytes.Load(); got < want {
		t.Errorf("%d of %d bytes went through ReadFrom: a wrapper hides it, and with it sendfile", got, len(body))
	}
}
