package httpboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// Config is what a Server needs.
type Config struct {
	// Addr is where to listen (":8080"), unless Listener is given, which the Server then owns.
	Addr     string
	Listener net.Listener

	Store  inventory.Store
	Stage0 *stage0.Store
	// Files is the directory of iPXE files; nil = none.
	Files fs.FS
	// AuthorizedKeys are the appliance's public SSH keys, which stage-0 lets in; nil = none.
	AuthorizedKeys func() []string
	// JoinToken accepts the hash (agentapi.TokenHash) of a USB image's join token, or says in a
	// sentence for the machine's screen why not; nil refuses all.
	JoinToken func(hash string, now time.Time) error
	Discovery inventory.Discovery
	// Neighbor is the MAC that ARP shows for an address; nil = never known.
	Neighbor func(netip.Addr) (inventory.MAC, bool)
	// LeaseIP is the address that our DHCP server gave to a MAC; nil = never any.
	LeaseIP func(inventory.MAC) (netip.Addr, bool)
	// Doctor reports whether a MAC is the one that the self-test plays a machine with: it gets the script that boots stage-0
	// and leaves no trace in the inventory. nil = none is.
	Doctor func(inventory.MAC) bool
	// Segments are the appliance's own networks; nil reads its interfaces.
	Segments func() []netip.Prefix
	// PageURL is where people find a host's page, for its screen; nil or "" = not shown.
	PageURL func(inventory.HostID) string
	// KernelArgs are the appliance's own words for stage-0's command line.
	KernelArgs string
	// ReportEvery is how often a machine in stage-0 reports, in whole seconds; 0 = 10 s.
	ReportEvery time.Duration

	Log *slog.Logger     // nil = none
	Now func() time.Time // nil = time.Now
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Stage0 == nil {
		return c, errors.New("boot listener: a store and a stage-0 store are needed")
	}
	if err := inventory.CheckKernelArgs(c.KernelArgs); err != nil {
		return c, err
	}
	if c.ReportEvery < time.Second {
		c.ReportEvery = agentapi.ReportEvery
	}
	if c.Discovery == "" {
		c.Discovery = inventory.DiscoveryOnce
	}
	if c.AuthorizedKeys == nil {
		c.AuthorizedKeys = func() []string { return nil }
	}
	if c.PageURL == nil {
		c.PageURL = func(inventory.HostID) string { return "" }
	}
	if c.Neighbor == nil {
		c.Neighbor = func(netip.Addr) (inventory.MAC, bool) { return inventory.MAC{}, false }
	}
	if c.LeaseIP == nil {
		c.LeaseIP = func(inventory.MAC) (netip.Addr, bool) { return netip.Addr{}, false }
	}
	if c.Doctor == nil {
		c.Doctor = func(inventory.MAC) bool { return false }
	}
	if c.JoinToken == nil {
		c.JoinToken = func(string, time.Time) error { return errors.New("this appliance has made no USB images") }
	}
	if c.Segments == nil {
		c.Segments = segments
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// Server is the boot listener. Safe for concurrent use.
type Server struct {
	cfg   Config
	echo  *echo.Echo
	agent *echo.Echo
	ready chan struct{}
	addr  net.Addr // set before ready closes

	count counters
	loads *loads

	scripts, checkins, reports *limiter
	warn                       *rate.Limiter // of log lines that strangers can provoke
	diskScripts                recent[inventory.MAC, diskScript]
	seqs                       recent[string, uint64] // nonce hash → last report's Seq
}

// New checks the configuration; it starts nothing.
func New(c Config) (*Server, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: c, ready: make(chan struct{}), loads: newLoads(c.Now),
		scripts:  newLimiter(time.Second, 20),
		checkins: newLimiter(time.Second, 10),
		reports:  newLimiter(time.Second/2, 20),
		warn:     rate.NewLimiter(1, 10),
	}
	s.echo, s.agent = s.routes(), newEcho()
	s.agentRoutes(s.agent)
	s.agent.POST(agentapi.PathJoin, s.join) // not on the boot listener: a join token is a secret
	return s, nil
}

func newEcho() *echo.Echo {
	e := echo.New()
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = plainError
	return e
}

func (s *Server) routes() *echo.Echo {
	e := newEcho()
	e.GET("/boot.ipxe", s.script)
	for _, m := range []string{http.MethodGet, http.MethodHead} {
		e.Add(m, "/ipxe/:name", s.bootFile)
		e.Add(m, "/"+bootfile.AutoexecIPXE, s.autoexec)
		e.Add(m, "/stage0/:arch/:file", s.stage0File)
	}
	e.GET("/", func(c echo.Context) error {
		return c.String(http.StatusOK, "Hatchery's boot listener: machines netboot from here. People use the page, on the other port.\n")
	})
	s.agentRoutes(e)
	return e
}

func (s *Server) agentRoutes(e *echo.Echo) {
	e.POST(agentapi.PathCheckIn, s.checkIn)
	e.POST(agentapi.PathProgress, s.progress)
}

// AgentHandler serves the agent's endpoints alone, to be mounted on the web listener too.
func (s *Server) AgentHandler() http.Handler { return s.agent }

// Handler serves everything the boot listener does, for tests without a listener of its own.
func (s *Server) Handler() http.Handler { return s.echo }

// Ready closes once the listener accepts connections.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where the Server listens; only valid after Ready.
func (s *Server) Addr() net.Addr { return s.addr }

// Run listens until ctx ends, lets running requests finish for three seconds, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	l := s.cfg.Listener
	if l == nil {
		var err error
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Addr); err != nil {
			return fmt.Errorf("boot listener on %s: %w", s.cfg.Addr, err)
		}
	}
	srv := &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second, // downloads move it on as they go
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(debugOnly{s.cfg.Log.Handler()}, slog.LevelDebug),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	s.addr = l.Addr()
	close(s.ready)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { s.watchStalls(ctx) })
	running.Go(func() { s.loads.run(ctx) })
	running.Go(func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(bound(l, maxConns, maxConnsSource))
	if ctx.Err() == nil {
		err = fmt.Errorf("boot listener on %s: %w", l.Addr(), err)
	} else {
		err = nil
	}
	cancel()
	running.Wait()
	return err
}

// debugOnly keeps net/http's own complaints, which strangers can provoke, out of the normal log.
type debugOnly struct{ slog.Handler }

// Enabled implements slog.Handler.
func (d debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

// plainError answers errors as one line of text.
func plainError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	code, text := http.StatusInternalServerError, "the appliance could not answer; its log says why"
	var he *echo.HTTPError
	if errors.As(err, &he) {
		code, text = he.Code, fmt.Sprint(he.Message)
	}
	if c.Request().Method == http.MethodHead {
		_ = c.NoContent(code)
		return
	}
	_ = c.String(code, "hatchery: "+text+"\n")
}

// source is who asks; boot is the boot listener as he reaches it.
func endpoints(r *http.Request) (from netip.Addr, boot netip.AddrPort) {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from = ap.Addr().Unmap().WithZone("")
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		ap := a.AddrPort()
		boot = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return from, boot
}

// connKey is where a request's context has its connection.
type connKey struct{}

// socketOf is the socket that a request came on, nil when it is none.
func socketOf(r *http.Request) syscall.Conn {
	c, _ := r.Context().Value(connKey{}).(syscall.Conn)
	return c
}

func (s *Server) warnf(msg string, args ...any) {
	if s.warn.AllowN(s.cfg.Now(), 1) {
		s.cfg.Log.Warn(msg, args...)
	}
}
