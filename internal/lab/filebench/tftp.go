package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// A client like iPXE's: block size 1432 (its default on Ethernet), one block at a time, an acknowledgement sent again after
// a quarter of a second, twice as long each time up to ten seconds (ipxe src/net/retry.c and src/net/udp/tftp.c).
const (
	blockSize  = 1432
	firstRetry = 250 * time.Millisecond
	maxRetry   = 10 * time.Second
	giveUp     = 60 * time.Second // a download that takes longer counts as not finished
)

// tftpServers start a TFTP server with a folder; each is alone on its LAN.
var tftpServers = []struct {
	name  string
	start func(context.Context, *bench) error
}{
	{"hatchery", func(ctx context.Context, b *bench) error {
		_, err := b.hatchery(ctx, filepath.Join(b.Dir(), "data"))
		return err
	}},
	{"tftpd-hpa", func(_ context.Context, b *bench) error {
		return b.background("in.tftpd", "--foreground", "--secure", "--user", "root", "--address", ":69", filepath.Join(b.dir, "ipxe"))
	}},
	{"dnsmasq", func(_ context.Context, b *bench) error {
		return b.background("dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", "--enable-tftp", "--tftp-root="+filepath.Join(b.dir, "ipxe"), "--conf-file=/dev/null")
	}},
	{"atftpd", func(_ context.Context, b *bench) error {
		return b.background("atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--port", "69", filepath.Join(b.dir, "ipxe"))
	}},
}

func (b *bench) background(name string, args ...string) error {
	if !have(name) {
		return errMissing
	}
	_, err := b.Start(lab.Appliance, nil, name, args...)
	return err
}

var errMissing = errors.New("not installed")

// benchTFTP loads iPXE's largest file (1 MB) from each server, all packets arriving and 1 % of them lost both ways.
func benchTFTP(ctx context.Context, dir string) error {
	const name = "ipxe-amd64.efi"
	want, err := os.ReadFile(filepath.Join(dir, "ipxe", name))
	if err != nil {
		return err
	}
	fmt.Printf("TFTP, %s (%d kB), block size %d, %d downloads each; seconds: median (least to most)\n%-12s %-24s %s\n", name, len(want)/1000, blockSize, *rounds, "server", "nothing lost", "1 % lost")
	benches := map[string]*bench{}
	defer func() {
		for _, b := range benches {
			_ = b.Close()
		}
	}()
	for _, s := range tftpServers {
		b, err := newBench(dir)
		if err != nil {
			return err
		}
		benches[s.name] = b
		if err := s.start(ctx, b); errors.Is(err, errMissing) {
			_ = b.Close()
			delete(benches, s.name)
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	took := map[string][2][]time.Duration{}
	for lossy := range 2 {
		if lossy == 1 {
			for _, b := range benches {
				if err := b.lose(ctx); err != nil {
					return err
				}
			}
		}
		for range *rounds {
			for _, s := range tftpServers {
				if b := benches[s.name]; b != nil {
					t := took[s.name]
					t[lossy] = append(t[lossy], b.load(ctx, name, want))
					took[s.name] = t
				}
			}
		}
	}
	for _, s := range tftpServers {
		if t, ok := took[s.name]; ok {
			fmt.Printf("%-12s %-24s %s\n", s.name, spread(t[0]), spread(t[1]))
		}
	}
	return nil
}

// lose drops one UDP packet in a hundred in each direction, on the clients' side.
func (b *bench) lose(ctx context.Context) error {
	return b.sh(ctx, lab.Router, "nft", "add table ip loss; add chain ip loss in { type filter hook input priority 0; }; add chain ip loss out { type filter hook output priority 0; };"+
		"add rule ip loss in meta l4proto udp numgen random mod 100 < 1 drop; add rule ip loss out meta l4proto udp numgen random mod 100 < 1 drop")
}

// load downloads a file once; 0 when it did not arrive whole in time.
func (b *bench) load(ctx context.Context, name string, want []byte) time.Duration {
	began := time.Now()
	for try := 0; ; try++ { // a server that was just started
		got, err := b.download(ctx, name)
		if err == nil && bytes.Equal(got, want) {
			return time.Since(began)
		}
		if err == nil || !errors.Is(err, errRefused) || try > 20 {
			fmt.Printf("  (%s: %d bytes with SHA-256 %x, %v)\n", name, len(got), sha256.Sum256(got), err)
			return 0
		}
		time.Sleep(100 * time.Millisecond)
		began = time.Now()
	}
}

var errRefused = errors.New("refused")

func (b *bench) download(ctx context.Context, name string) ([]byte, error) {
	c, err := b.ListenUDP(lab.Router, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	server := &net.UDPAddr{IP: b.ApplianceAddr().AsSlice(), Port: 69}
	send := []byte("\x00\x01" + name + "\x00octet\x00blksize\x00" + fmt.Sprint(blockSize) + "\x00tsize\x000\x00")
	var got []byte
	next, end := uint16(1), time.Now().Add(giveUp)
	buf := make([]byte, 4096)
	for wait := firstRetry; ; {
		if _, err := c.WriteTo(send, server); err != nil {
			if strings.Contains(err.Error(), "refused") {
				return nil, errRefused
			}
			// what nft drops on its way out is an error here, a lost packet on the wire
		}
		resend := time.Now().Add(wait)
		for fresh := false; !fresh; {
			if err := c.SetReadDeadline(resend); err != nil {
				return got, err
			}
			n, from, err := c.ReadFromUDP(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				wait = min(2*wait, maxRetry)
				break
			}
			if err != nil {
				return got, errors.Join(errRefused, err)
			}
			if ctx.Err() != nil {
				return got, ctx.Err()
			}
			if n < 4 {
				continue
			}
			switch op := binary.BigEndian.Uint16(buf); {
			case op == 5:
				return got, fmt.Errorf("error packet: %s", buf[4:n])
			case op == 6 && next == 1:
				server, send, fresh = from, []byte{0, 4, 0, 0}, true
			case op == 3 && binary.BigEndian.Uint16(buf[2:]) == next:
				got = append(got, buf[4:n]...)
				server, send, fresh = from, []byte{0, 4, buf[2], buf[3]}, true
				if n-4 < blockSize {
					_, _ = c.WriteTo(send, server) // the last acknowledgement; a lost one is the server's matter
					return got, nil
				}
				next++
			}
			if fresh {
				wait = firstRetry
			}
		}
		if time.Now().After(end) {
			return got, errors.New("not finished in a minute")
		}
	}
}

// spread is median and range; downloads that did not finish count as slower than all others.
func spread(all []time.Duration) string {
	s := slices.Clone(all)
	slices.SortFunc(s, func(a, b time.Duration) int { return int(orLast(a) - orLast(b)) })
	text := func(d time.Duration) string {
		if d == 0 {
			return "not finished"
		}
		return fmt.Sprintf("%.2f", d.Seconds())
	}
	return fmt.Sprintf("%s (%s to %s)", text(s[len(s)/2]), text(s[0]), text(s[len(s)-1]))
}

func orLast(d time.Duration) time.Duration {
	if d == 0 {
		return 2 * giveUp
	}
	return d
}

func split(s string) []string { return strings.Split(s, ",") }
