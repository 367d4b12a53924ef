package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/lab"
	"github.com/staged-hive/hatchery/internal/sshtest"
)

// sim is a machine without QEMU: it asks for an address, a boot file, its script and its kernel as firmware and
// iPXE do, and checks in as the agent does.
type sim struct {
	t    *testing.T
	a    *appliance
	side lab.Side
	mac  string
	key  ssh.Signer // of its stage-0
	http *http.Client
	ip   netip.Addr
	// plain asks for its address without PXE options, as beside ProxyDHCP the router's answer is the one that counts.
	plain bool
}

// newSims plugs machines in, the first of them as number from.
func newSims(t *testing.T, a *appliance, from, n int) []*sim {
	t.Helper()
	var out []*sim
	for i := range n {
		s := &sim{t: t, a: a, side: lab.Client(from + i), mac: fmt.Sprintf("52:54:00:51:00:%02x", from+i), key: sshtest.NewKey(t)}
		if err := a.lan.Plug(from+i, s.mac); err != nil {
			t.Fatal(err)
		}
		// Each its own: a file that somebody else is writing cannot be run.
		if err := os.WriteFile(s.takeAddress(), []byte(takeAddress), 0o755); err != nil {
			t.Fatal(err)
		}
		s.http = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DialContext: a.lan.Dialer(s.side), DisableKeepAlives: true}}
		out = append(out, s)
	}
	return out
}

// udhcpc's script: takes the address.
const takeAddress = `#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface" && ip addr add "$ip/$mask" brd + dev "$interface"
`

func (s *sim) takeAddress() string {
	return filepath.Join(s.a.lan.Dir(), "take-address-"+strings.ReplaceAll(s.mac, ":", ""))
}

func (s *sim) run(ctx context.Context, name string, args ...string) (string, error) {
	c := s.a.lan.Command(ctx, s.side, name, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

var leaseLine = regexp.MustCompile(`lease of ([0-9.]+) obtained`)

// lease gets an address; it asks up to tries times, 2 s apart.
func (s *sim) lease(ctx context.Context, tries int) error {
	args := []string{"udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", fmt.Sprint(tries), "-T", "2", "-s", s.takeAddress()}
	if !s.plain {
		args = append(args, "-V", "PXEClient:Arch:00007:UNDI:003000")
	}
	out, err := s.run(ctx, "busybox", args...)
	m := leaseLine.FindStringSubmatch(out)
	if err != nil || m == nil {
		return fmt.Errorf("%s: DHCP: %w: %s", s.mac, err, tail(out, 3))
	}
	s.ip, err = netip.ParseAddr(m[1])
	return err
}

// boot goes all the way from the address to the check-in. Parts that firmware repeats are repeated.
func (s *sim) boot(ctx context.Context) error {
	if err := s.lease(ctx, 6); err != nil {
		return err
	}
	if out, err := s.run(ctx, "curl", "-sS", "--max-time", "40", "--tftp-blksize", "1468", "-o", os.DevNull, "-w", "%{size_download}", "tftp://"+s.a.addr.String()+"/snponly.efi"); err != nil || len(out) < 6 {
		return fmt.Errorf("%s: TFTP: %w: %s", s.mac, err, out)
	}
	text, err := s.a.fetchBoot(ctx, s.http, "/boot.ipxe?mac="+strings.ReplaceAll(s.mac, ":", "-")+"&uuid=&serial=&platform=efi&buildarch=x86_64", 1<<16)
	nonce := nonceWord.FindStringSubmatch(text)
	if err != nil || nonce == nil {
		return fmt.Errorf("%s: script: %w\n%s", s.mac, err, text)
	}
	_, file, _ := strings.Cut(text, s.a.bootURL(""))
	file, _, _ = strings.Cut(file, " ")
	const part = 2 << 20
	if text, err = s.a.fetchBoot(ctx, s.http, file, part); err != nil || len(text) < part {
		return fmt.Errorf("%s: kernel %s: %w, %d bytes", s.mac, file, err, len(text))
	}
	code, reply, err := sendCheckIn(ctx, s.http, s.a, nonce[1], s.key, s.key, s.mac)
	if err != nil || code != http.StatusOK {
		return fmt.Errorf("%s: check-in: %d %w: %s", s.mac, code, err, reply)
	}
	return nil
}

// fetchBoot gets the first bytes of something from the boot listener, for whoever the client is of.
func (a *appliance) fetchBoot(ctx context.Context, client *http.Client, path string, most int64) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.bootURL(path), nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(b), err
}

// bootAll boots machines side by side; each may begin again until the time is over, as people press the button again.
func bootAll(t *testing.T, limit time.Duration, sims ...*sim) {
	t.Helper()
	ctx := within(t, limit)
	errs := make(chan error, len(sims))
	for _, s := range sims {
		go func() {
			var err error
			for again := 0; ; again++ {
				if err = s.boot(ctx); err != nil && ctx.Err() == nil {
					t.Log("again: ", err)
				}
				if err == nil || ctx.Err() != nil {
					if again > 0 && err == nil {
						t.Logf("%s needed %d attempts", s.mac, again+1)
					}
					errs <- err
					return
				}
			}
		}()
	}
	for range sims {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
