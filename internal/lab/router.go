package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// RouterConfig says how the home router behaves. The zero value hands out
// addresses and knows nothing of netboot.
type RouterConfig struct {
	// BootFile is the one fixed file name it tells every netbooting client, as many routers do; "" = none.
	BootFile string
	// NextServer is where that file is; the zero value means the router itself.
	NextServer netip.Addr
	// Extra are further lines of dnsmasq's configuration.
	Extra []string
}

// StartRouter starts dnsmasq as the home router's DHCP server (hosts .100 to .250)
// and returns once it answers.
func (l *LAN) StartRouter(ctx context.Context, cfg RouterConfig) (*Process, error) {
	return l.dnsmasq(ctx, "router", l.routerConf(cfg), "DHCP, IP range")
}

// StartRelay starts the router's DHCP relay: what machines on the network behind it ask goes to the appliance.
func (l *LAN) StartRelay(ctx context.Context) (*Process, error) {
	conf := fmt.Sprintf("port=0\nuser=root\nlog-dhcp\nlog-facility=-\nenable-ra\ndhcp-range=%s,ra-only\ndhcp-relay=%s,%s\n", behindNet6, l.BehindAddr(1), l.ApplianceAddr())
	return l.dnsmasq(ctx, "relay", conf, "DHCP relay from")
}

// dnsmasq runs one on the router and returns once it says that it is ready.
func (l *LAN) dnsmasq(ctx context.Context, name, text, sign string) (*Process, error) {
	conf := filepath.Join(l.dir, name+".conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	ready := newWatcher(log, sign) // its sockets are open then
	p, err := l.Start(Router, ready, "dnsmasq", "--keep-in-foreground", "--conf-file="+conf)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), log.Close())
	}
	go func() {
		<-p.Done()
		_ = log.Close()
	}()
	select {
	case <-ready.seen:
		return p, nil
	case <-p.Done():
		return nil, fmt.Errorf("%s ended: %w: %s", name, p.Err(), ready.text())
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	p.Kill()
	return nil, fmt.Errorf("%s does not start: %s", name, ready.text())
}

func (l *LAN) routerConf(cfg RouterConfig) string {
	lines := []string{
		"port=0", // no DNS
		"interface=eth0", "bind-interfaces", "user=root", "log-dhcp", "log-facility=-", "no-ping",
		"dhcp-authoritative",
		"dhcp-leasefile=" + filepath.Join(l.dir, "router.leases"),
		fmt.Sprintf("dhcp-range=%s,%s,255.255.255.0,1h", l.Addr(100), l.Addr(250)),
	}
	if cfg.BootFile != "" {
		boot := "dhcp-boot=" + cfg.BootFile
		if cfg.NextServer.IsValid() {
			boot += ",," + cfg.NextServer.String()
		}
		lines = append(lines, boot)
	}
	lines = append(lines, cfg.Extra...)
	return strings.Join(lines, "\n") + "\n"
}

// StartCapture writes the frames that match a tcpdump filter ("" = all) to a
// pcap file and returns once it listens.
func (l *LAN) StartCapture(ctx context.Context, file, filter string) (*Process, error) {
	ready := newWatcher(io.Discard, "listening on")
	p, err := l.Start(Switch, ready, "tcpdump", "-i", "br0", "-U", "-n", "-Z", "root", "-w", file, filter)
	if err != nil {
		return nil, err
	}
	select {
	case <-ready.seen:
		return p, nil
	case <-p.Done():
		return nil, fmt.Errorf("tcpdump ended: %w: %s", p.Err(), ready.text())
	case <-ctx.Done():
		p.Kill()
		return nil, ctx.Err()
	}
}

// watcher passes writes on and closes seen when the wanted text went by.
type watcher struct {
	to   io.Writer
	want string
	seen chan struct{}

	mu   sync.Mutex
	buf  bytes.Buffer
	done bool
}

func newWatcher(to io.Writer, want string) *watcher {
	return &watcher{to: to, want: want, seen: make(chan struct{})}
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.buf.Write(p)
		if bytes.Contains(w.buf.Bytes(), []byte(w.want)) {
			w.done = true
			close(w.seen)
		}
	}
	return w.to.Write(p)
}

func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.buf.String())
}
