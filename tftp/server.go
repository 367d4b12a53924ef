package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	pin "github.com/pin/tftp/v3"
	"golang.org/x/net/ipv4"
	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/inventory"
)

// Tuning of the block timer. pin/tftp's default of 5 s does not finish a file under 1 % loss.
const (
	blockTimeout = 100 * time.Millisecond
	blockRetries = 12
)

// maxTransfers bounds how many transfers run at once; a boot storm of a rack is well below.
const maxTransfers = 512

// maxFromSource is how many of them one address may hold: whoever asks without end, or in another's name, leaves the others for everybody.
const maxFromSource = maxTransfers / 2

// maxFile bounds a boot file in bytes; iPXE's are below 2 MB, a signed shim pair below 4.
const maxFile = 32 << 20

// Config is what a Server needs.
type Config struct {
	// Addr is where to listen, "" = ":69", unless Conn is given, which the Server then owns.
	Addr string
	Conn net.PacketConn
	// Files is the directory of iPXE files; nil = none.
	Files fs.FS
	Store inventory.Store
	// Neighbor is the MAC that ARP shows for an address; nil = never known.
	Neighbor func(netip.Addr) (inventory.MAC, bool)
	// HTTPPort is the boot listener's, for autoexec.ipxe.
	HTTPPort int

	Log *slog.Logger     // nil = none
	Now func() time.Time // nil = time.Now
}

// Server is the TFTP server. Safe for concurrent use.
type Server struct {
	cfg   Config
	ready chan struct{}
	addr  net.Addr // set before ready closes
	count counters
	warn  *rate.Limiter // of log lines that strangers can provoke

	mu     sync.Mutex
	active int // transfers
	from   map[netip.Addr]int
}

// New checks the configuration; it starts nothing.
func New(c Config) (*Server, error) {
	if c.Store == nil {
		return nil, errors.New("tftp: a store is needed")
	}
	if c.HTTPPort < 1 || c.HTTPPort > 65535 {
		return nil, fmt.Errorf("tftp: HTTP port %d: want 1 to 65535", c.HTTPPort)
	}
	if c.Addr == "" {
		c.Addr = ":69"
	}
	if c.Neighbor == nil {
		c.Neighbor = func(netip.Addr) (inventory.MAC, bool) { return inventory.MAC{}, false }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Server{cfg: c, ready: make(chan struct{}), from: map[netip.Addr]int{}, warn: rate.NewLimiter(1, 10)}, nil
}

// Ready closes once requests are answered.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where the Server listens; only valid after Ready.
func (s *Server) Addr() net.Addr { return s.addr }

// Run serves until ctx ends, lets running transfers end or time out, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	conn := s.cfg.Conn
	if conn == nil {
		var err error
		// udp4: with an IPv4 socket the library learns the address a request came in on.
		if conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", s.cfg.Addr); err != nil {
			return fmt.Errorf("tftp on %s: %w", s.cfg.Addr, err)
		}
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		// Before Ready: the library asks for it later, and a request in between would not tell
		// which address it came in on nor how large a block may be.
		if err := ipv4.NewPacketConn(udp).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true); err != nil {
			s.cfg.Log.Warn("tftp cannot tell which address a request came in on: autoexec.ipxe is not served", "err", err)
		}
	}
	srv := pin.NewServer(s.read, nil)
	srv.SetTimeout(blockTimeout)
	srv.SetRetries(blockRetries)
	srv.SetBackoff(backoff)
	s.addr = conn.LocalAddr()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(conn) }()
	close(s.ready)
	select {
	case err := <-served:
		srv.Shutdown()
		return fmt.Errorf("tftp on %s: stopped: %w", s.addr, errors.Join(err, net.ErrClosed))
	case <-ctx.Done():
	}
	srv.Shutdown()
	<-served
	return nil
}

// backoff is the extra wait before a block's resend: none at first, then rising to a second, so that
// a lost block costs little and a dead client about ten seconds.
func backoff(attempt int) time.Duration {
	return min(time.Duration(max(attempt-2, 0))*100*time.Millisecond, time.Second)
}

// Errors as clients see them.
var (
	errName = errors.New("file not found")
	errBusy = errors.New("too many transfers at once, try again")
)

// read answers one read request; what it returns goes to the client as error 1.
func (s *Server) read(name string, rf io.ReaderFrom) error {
	start := s.cfg.Now()
	from, local := endpoints(rf)
	if !s.begin(from) {
		s.count.refused.Add(1)
		return errBusy
	}
	defer s.end(from)
	body, size, err := s.open(name, local)
	if err != nil {
		s.count.refused.Add(1)
		s.cfg.Log.Debug("tftp refused", "ip", from, "err", err)
		return errName
	}
	defer func() { _ = body.Close() }()
	if out, ok := rf.(pin.OutgoingTransfer); ok {
		out.SetSize(size)
	}
	n, err := rf.ReadFrom(body)
	took := s.cfg.Now().Sub(start)
	name = clean(name)
	by := "firmware"
	if name == bootfile.AutoexecIPXE {
		by = "ipxe"
	}
	switch {
	case err == nil:
		s.count.files.Add(1)
		s.count.bytes.Add(uint64(n))
		s.cfg.Log.Debug("tftp file", "ip", from, "file", name, "bytes", n, "dur", took)
		s.note(by, from, fmt.Sprintf("Loaded %s by TFTP: %d kB in %.1f s.", name, (n+999)/1000, took.Seconds()), "", n, took)
	case isProbe(err):
		s.count.probes.Add(1)
		s.cfg.Log.Debug("tftp size probe", "ip", from, "file", name)
	default:
		s.count.failed.Add(1)
		if s.warn.AllowN(s.cfg.Now(), 1) {
			s.cfg.Log.Warn("tftp transfer ended early", "ip", from, "file", name, "bytes", n, "dur", took, "err", err)
			s.note(by, from, fmt.Sprintf("Began to load %s by TFTP and stopped after %d of %d kB: is the cable or switch losing packets?", name, n/1000, size/1000),
				"warn", n, took)
		}
	}
	return nil // the library has told the client
}

// begin reports whether one more transfer to the address may begin; end must follow it.
func (s *Server) begin(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active >= maxTransfers || s.from[from] >= maxFromSource {
		return false
	}
	s.active++
	s.from[from]++
	return true
}

func (s *Server) end(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.from[from]--; s.from[from] == 0 {
		delete(s.from, from)
	}
}

// probeRE is how pin/tftp v3.2.0 words an error packet that answers the option
// acknowledgement, which is block 0.
var probeRE = regexp.MustCompile(`^sending block 0: code=\d+`)

// isProbe reports whether the client broke off before the first block: it only wanted the size (R7).
func isProbe(err error) bool { return probeRE.MatchString(err.Error()) }

// clean takes off what firmware puts around a name: a leading slash, and the byte 0xFF of
// ROMs that read past the end of option 67 (netboot.xyz#1198).
func clean(name string) string {
	for strings.HasSuffix(name, "\xff") {
		name = name[:len(name)-1]
	}
	return strings.TrimPrefix(name, "/")
}

// open finds the file of a name in the table.
func (s *Server) open(name string, local netip.Addr) (io.ReadCloser, int64, error) {
	name = clean(name)
	if name == bootfile.AutoexecIPXE {
		if !local.IsValid() || local.IsUnspecified() {
			return nil, 0, errors.New("autoexec.ipxe: the address of arrival is not known")
		}
		script := []byte(bootfile.Autoexec(netip.AddrPortFrom(local, uint16(s.cfg.HTTPPort))))
		return seekCloser{bytes.NewReader(script)}, int64(len(script)), nil
	}
	if !bootfile.Known(name) || s.cfg.Files == nil {
		return nil, 0, fmt.Errorf("no boot file %q", inventory.Clean(name, 64))
	}
	f, err := s.cfg.Files.Open(bootfile.OnDisk(name))
	if err != nil {
		s.missing(name, err)
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxFile) {
		err = fmt.Errorf("%s: not a file of at most %d MB", name, maxFile>>20)
	}
	if err != nil {
		_ = f.Close()
		s.missing(name, err)
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func (s *Server) missing(name string, err error) {
	if s.warn.AllowN(s.cfg.Now(), 1) {
		s.cfg.Log.Warn("boot file cannot be served: put Debian trixie's iPXE files into the directory of --ipxe", "file", name, "err", err)
	}
}

type seekCloser struct{ io.ReadSeeker }

// Close implements io.Closer.
func (seekCloser) Close() error { return nil }

// endpoints are who asks and which of our addresses he asked.
func endpoints(rf io.ReaderFrom) (from, local netip.Addr) {
	if out, ok := rf.(pin.OutgoingTransfer); ok {
		a := out.RemoteAddr()
		from = a.AddrPort().Addr().Unmap().WithZone("")
	}
	if info, ok := rf.(pin.RequestPacketInfo); ok {
		if a, ok := netip.AddrFromSlice(info.LocalIP()); ok {
			local = a.Unmap()
		}
	}
	return from, local
}

// note writes a line into the diary of the host that has the address; a stranger has none.
func (s *Server) note(by string, from netip.Addr, text, level string, n int64, took time.Duration) {
	err := inventory.NoteFrom(s.cfg.Store, s.cfg.Neighbor,
		inventory.Entry{Time: s.cfg.Now(), Kind: "tftp.file", By: by, From: from, Text: text, Level: level, Bytes: n, Duration: took})
	if err != nil {
		s.cfg.Log.Error("noting a tftp transfer", "ip", from, "err", err)
	}
}
