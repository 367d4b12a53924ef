package capture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/inventory"
)

// What is kept, once so much has come: some hundred boots' DHCP and some five boots' TFTP, in 1 MB.
const (
	dhcpBytes, dhcpSnap = 512 << 10, 1514
	tftpBytes, tftpSnap = 512 << 10, 128
)

// How many frames a second a reader takes, after a burst of a second's; the kernel drops what comes faster.
const (
	dhcpRate = 2000
	tftpRate = 5000
)

// sameFrame is how soon the same bytes again are the same frame, seen on a bridge and on its port.
const sameFrame = 300 * time.Microsecond

// maxTransfers is how many TFTP transfers are told from other traffic at once.
const maxTransfers = 1024

// Recorder keeps the packets. Safe for concurrent use.
type Recorder struct {
	log        *slog.Logger
	dhcp, tftp *Ring
	failed     atomic.Pointer[error] // why nothing is kept
}

// New makes a Recorder; it records nothing before Run. A nil log is discarded.
func New(log *slog.Logger) *Recorder {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Recorder{log: log, dhcp: NewRing(dhcpBytes, dhcpSnap), tftp: NewRing(tftpBytes, tftpSnap)}
}

// Run records until ctx ends, and returns nil. Where packets cannot be read it says so in the log, once, and waits.
func (r *Recorder) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return r.read(ctx, dhcpFilter, dhcpRate, func(at time.Time, b []byte, d datagram) { r.dhcp.Add(at, b, d.length) })
	})
	g.Go(func() error {
		transfers := map[netip.AddrPort]bool{} // the clients' ends
		return r.read(ctx, tftpFilter, tftpRate, func(at time.Time, b []byte, d datagram) {
			if d.dst.Port() == 69 {
				if len(transfers) >= maxTransfers {
					clear(transfers)
				}
				transfers[d.src] = true
			} else if !transfers[d.src] && !transfers[d.dst] {
				return
			}
			r.tftp.Add(at, b, d.length)
		})
	})
	if err := g.Wait(); err != nil {
		r.failed.Store(&err)
		r.log.Warn("packets are not recorded for their download", "err", err)
		<-ctx.Done()
	}
	return nil
}

// read hands every frame that the filter lets through to keep, until ctx ends.
func (r *Recorder) read(ctx context.Context, filter []bpf.Instruction, perSecond int, keep func(time.Time, []byte, datagram)) error {
	prog, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	// Every interface; what is sent is seen by ETH_P_ALL alone.
	c, err := packet.Listen(&net.Interface{}, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: prog})
	if err != nil {
		return fmt.Errorf("packet socket (it needs CAP_NET_RAW): %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	limit := rate.NewLimiter(rate.Limit(perSecond), perSecond)
	buf, last, lastAt := make([]byte, 2048), []byte{}, time.Time{}
	for {
		if err := limit.Wait(ctx); err != nil {
			return nil
		}
		n, _, err := c.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN): // an interface went down
			continue
		case err != nil:
			return errors.Join(fmt.Errorf("read packets: %w", err), c.Close())
		}
		now := time.Now()
		if bytes.Equal(last, buf[:n]) && now.Sub(lastAt) < sameFrame {
			continue
		}
		last, lastAt = append(last[:0], buf[:n]...), now
		if d, ok := parse(buf[:n]); ok {
			keep(now, buf[:n], d)
		}
	}
}

// WritePcap writes the packets of the machine with those MACs and addresses as a pcap file, oldest first. The
// error says why nothing is recorded.
func (r *Recorder) WritePcap(w io.Writer, macs []inventory.MAC, ips []netip.Addr) error {
	if err := r.failed.Load(); err != nil {
		return *err
	}
	h := host{macs: macs}
	for _, ip := range ips {
		if ip.IsValid() {
			h.ips = append(h.ips, ip)
		}
	}
	all := append(r.dhcp.frames(h.dhcp), r.tftp.frames(h.tftp)...)
	slices.SortStableFunc(all, func(a, b frame) int { return cmp.Or(a.at.Compare(b.at)) })
	return writePcap(w, all)
}
