package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// mark is a program's output in which the first line with a certain text is waited for. Safe for concurrent use.
type mark struct {
	want string
	seen chan struct{} // closed at the wanted text

	mu    sync.Mutex
	buf   bytes.Buffer
	when  time.Time
	other map[string]chan struct{}
}

func newMark() *mark { return &mark{seen: make(chan struct{}), other: map[string]chan struct{}{}} }

// Write implements io.Writer.
func (m *mark) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buf.Write(p)
	if m.when.IsZero() && m.want != "" && bytes.Contains(m.buf.Bytes(), []byte(m.want)) {
		m.when = time.Now()
		close(m.seen)
	}
	for text, c := range m.other {
		if bytes.Contains(m.buf.Bytes(), []byte(text)) {
			close(c)
			delete(m.other, text)
		}
	}
	return len(p), nil
}

// line is closed once the text was written.
func (m *mark) line(text string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := make(chan struct{})
	if bytes.Contains(m.buf.Bytes(), []byte(text)) {
		close(c)
	} else {
		m.other[text] = c
	}
	return c
}

func (m *mark) at() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.when
}

func (m *mark) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buf.String()
}

// startHatchery runs the appliance, with further flags, as the LAN's DHCP server; checkIn sees its log.
func startHatchery(ctx context.Context, l *lab.LAN, dir string, checkIn *mark, more ...string) error {
	data := filepath.Join(l.Dir(), "data")
	if err := os.MkdirAll(filepath.Join(data, "stage0"), 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-r", filepath.Join(dir, "stage0", "x86_64"), filepath.Join(data, "stage0")).CombinedOutput(); err != nil {
		return fmt.Errorf("copy stage-0: %w: %s", err, out)
	}
	checkIn.want = "msg=check-in "
	args := append([]string{"serve", "--data", data, "--interface", "eth0", "--log-level", "debug", "--ipxe", filepath.Join(dir, "ipxe"),
		"--dhcp", "server", "--dhcp-range", l.Addr(100).String() + "-" + l.Addr(150).String(), "--dhcp-router", l.RouterAddr().String()}, more...)
	_, err := l.StartReady(ctx, lab.Appliance, checkIn, filepath.Join(dir, "hatchery"), args...)
	if err != nil {
		return fmt.Errorf("%w: %s", err, checkIn)
	}
	return nil
}

// startReference runs dnsmasq and nginx with the same files; checkIn sees nginx's log. The agent speaks to nginx too, which
// refuses: the moment it asks is what is measured.
func startReference(ctx context.Context, l *lab.LAN, dir string, checkIn *mark) error {
	raw, err := os.ReadFile(filepath.Join(dir, "stage0", "x86_64", "manifest.json"))
	if err != nil {
		return err
	}
	var image struct{ Cmdline string }
	if err := json.Unmarshal(raw, &image); err != nil {
		return err
	}
	base, root := "http://"+l.ApplianceAddr().String()+":8080", filepath.Join(l.Dir(), "www")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for _, f := range []string{"kernel", "initrd"} {
		if err := os.Symlink(filepath.Join(dir, "stage0", "x86_64", f), filepath.Join(root, f)); err != nil {
			return err
		}
	}
	script := fmt.Sprintf("#!ipxe\nkernel %s/kernel initrd=initrd %s hatchery.url=%s hatchery.nonce=%s BOOTIF=01-${net0/mac:hexhyp}\ninitrd --name initrd %s/initrd\nboot\n",
		base, image.Cmdline, base, strings.Repeat("0", 32), base)
	conf := fmt.Sprintf("daemon off; user root; worker_processes 2; pid %[1]s/nginx.pid; error_log /dev/stderr;\nevents { worker_connections 512; }\n"+
		"http { access_log /dev/stderr; sendfile on; tcp_nopush on; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;\n"+
		"server { listen %[2]s:8080; root %[3]s; } }\n", l.Dir(), l.ApplianceAddr(), root)
	masq := []string{"port=0", "interface=eth0", "bind-interfaces", "user=root", "log-facility=-", "no-ping", "dhcp-authoritative", "enable-tftp", "tftp-root=" + filepath.Join(dir, "ipxe"),
		"dhcp-leasefile=" + filepath.Join(l.Dir(), "leases"), fmt.Sprintf("dhcp-range=%s,%s,255.255.255.0,1h", l.Addr(100), l.Addr(150)), "dhcp-option=option:router," + l.RouterAddr().String(),
		"dhcp-userclass=set:ipxe,iPXE", "dhcp-match=set:efi,option:client-arch,7", "dhcp-boot=tag:!ipxe,undionly.kpxe", "dhcp-boot=tag:efi,tag:!ipxe,snponly.efi",
		"dhcp-boot=tag:ipxe," + base + "/boot.ipxe"}
	for name, text := range map[string]string{"www/boot.ipxe": script, "nginx.conf": conf, "dnsmasq.conf": strings.Join(masq, "\n") + "\n"} {
		if err := os.WriteFile(filepath.Join(l.Dir(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	checkIn.want = "POST /agent/v1/checkin"
	if _, err := l.Start(lab.Appliance, checkIn, "nginx", "-c", filepath.Join(l.Dir(), "nginx.conf")); err != nil {
		return err
	}
	log := newMark()
	if _, err := l.Start(lab.Appliance, log, "dnsmasq", "--keep-in-foreground", "--conf-file="+filepath.Join(l.Dir(), "dnsmasq.conf")); err != nil {
		return err
	}
	select {
	case <-log.line("DHCP, IP range"):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("dnsmasq does not start: %s", log)
	}
}
