package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// loading is an image that a machine reads as far as it is told to: the appliance sends no more than it takes.
type loading struct {
	body io.ReadCloser
	size int64
	have int64
}

// slowWindow is how much a slow machine's card takes before somebody reads it.
const slowWindow = 128 << 10

// load is how iPXE loads stage-0, as far as that many percent of the image. Where nothing is loaded yet, or the download broke off, it
// begins: with the script if there is none, then the kernel.
func (m *machine) load(percent int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.early = true
	if m.image == nil {
		if err := m.beginLoad(); err != nil {
			return err
		}
	}
	l := m.image
	n, err := io.CopyN(io.Discard, l.body, l.size*percent/100-l.have)
	l.have += n
	return err
}

func (m *machine) beginLoad() error {
	if m.files == nil {
		script, err := m.get("/boot.ipxe?mac=" + m.mac.Hyphens() + "&uuid=&serial=&platform=efi&buildarch=x86_64")
		nonce, files := nonceWord.FindStringSubmatch(script), fileWord.FindAllStringSubmatch(script, -1)
		if err != nil || nonce == nil || len(files) != 2 {
			return fmt.Errorf("script of %s: %w\n%s", m.mac, cmp.Or(err, errNoNonce), script)
		}
		m.nonce, m.seq, m.files = nonce[1], 0, []string{files[0][1], files[1][1]}
		m.boots++
	}
	if _, err := m.get(m.files[0]); err != nil {
		return err
	}
	slow := *m.http
	slow.Timeout = 0 // it takes as long as the test likes
	dial := slow.Transport.(*http.Transport).DialContext
	slow.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(slowWindow)
		}
		return c, err
	}}
	res, err := slow.Get("http://" + m.s.lan.ApplianceAddr().String() + ":8080" + m.files[1])
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.Join(errors.New(res.Status), res.Body.Close())
	}
	m.s.t.Cleanup(func() { _ = res.Body.Close(); slow.CloseIdleConnections() })
	m.image = &loading{body: res.Body, size: res.ContentLength}
	return nil
}

// cut breaks the download off.
func (m *machine) cut() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.image = nil }()
	return m.image.body.Close()
}

// loaded loads the rest and checks in.
func (m *machine) loaded() error {
	if err := m.load(100); err != nil {
		return err
	}
	if err := m.cut(); err != nil {
		return err
	}
	err := m.checkIn()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.early = err != nil
	return err
}
