package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"
)

// Server serves the pages and the API. Made by [New]; safe for concurrent use.
type Server struct {
	cfg      Config
	log      *slog.Logger
	token    secret
	cert     *tls.Certificate                // of the start; nil = plain HTTP
	inUse    atomic.Pointer[tls.Certificate] // the one in use: cert until it is renewed
	names    []string                        // Host headers that are ours, beside addresses
	sessions *scs.SessionManager
	store    *sessionStore
	attempts *attempts
	refusals *refusals
	hasher   *hasher
	firstRun *firstRun
	pages    *pages
	assets   assets
	drawn    drawn
	feed     *feed
	echo     *echo.Echo
	origin   *http.CrossOriginProtection

	fleet atomic.Pointer[Fleet] // the hive's summary as it was evaluated last; nil = not yet
	limit time.Duration         // of one request; streams lift it
	ready chan struct{}
	mu    sync.Mutex
	addr  net.Addr // once listening
	// signedIn ends when somebody signs out: every open stream then ends and must show again who reads it.
	signedIn context.Context
	signOut  context.CancelFunc
}

// New checks the configuration, and makes the admin token and the certificate where there are none. It starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, names: ownNames(cfg.Names), ready: make(chan struct{}), limit: time.Minute,
		attempts: newAttempts(), refusals: newRefusals(), hasher: &hasher{cost: passwordCost}, origin: http.NewCrossOriginProtection()}
	var err error
	if s.token, err = adminToken(cfg.Dir); err != nil {
		return nil, err
	}
	if s.cert, err = s.certificate(); err != nil {
		return nil, err
	}
	s.inUse.Store(s.cert)
	s.store = &sessionStore{store: cfg.Store, now: cfg.Now}
	s.sessions = newSessions(s.store, s.cert != nil, s.log)
	pw, err := s.password()
	if err != nil {
		return nil, err
	}
	s.firstRun = newFirstRun(pw.Hash != "")
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = parsePages(s.assets); err != nil {
		return nil, err
	}
	s.signedIn, s.signOut = context.WithCancel(context.Background())
	s.feed = newFeed(s)
	s.echo = s.routes()
	return s, nil
}

func (s *Server) certificate() (*tls.Certificate, error) {
	if s.cfg.TLS == "off" {
		return nil, nil
	}
	cert, key, err := s.cfg.tlsFiles()
	if err != nil {
		return nil, err
	}
	var c tls.Certificate
	if cert != "" {
		if c, err = tls.LoadX509KeyPair(cert, key); err != nil {
			return nil, fmt.Errorf("web certificate %s with key %s: %w", cert, key, err)
		}
		return &c, nil
	}
	if given, err := s.givenCertificate(); given != nil {
		return given, nil
	} else if err != nil {
		s.log.Error("the appliance's own certificate is used instead", "err", err)
	}
	c, err = ownCertificate(filepath.Join(s.cfg.Dir, "tls"), s.names, ownAddrs(), s.cfg.Now())
	return &c, err
}

// Run serves until ctx ends; it returns nil then.
func (s *Server) Run(ctx context.Context) error {
	ln, err := s.listen(ctx)
	if err != nil {
		return err
	}
	sock, err := listenSocket(s.cfg.Dir)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	s.mu.Lock()
	s.addr = ln.Addr()
	s.mu.Unlock()
	if s.cert != nil {
		ln = tls.NewListener(ln, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.inUse.Load(), nil }, MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2", "http/1.1"}}) // HTTP/1.1 alone lets a browser hold six streams in all its tabs
	}
	g, ctx := errgroup.WithContext(ctx)
	s.feed.watch(ctx)
	g.Go(func() error { s.feed.run(ctx); return nil })
	g.Go(func() error { s.feed.followBoots(ctx); return nil })
	g.Go(func() error { s.sweep(ctx); return nil })
	g.Go(func() error { s.watchCertificate(ctx); return nil })
	g.Go(func() error { return serve(ctx, s.httpServer(ctx, s.echo), ln) })
	g.Go(func() error { return serve(ctx, s.httpServer(ctx, s.local()), sock) })
	if err := s.tellCertificate(); err != nil {
		s.log.Warn("the change of the certificate could not be noted", "err", err)
	}
	if code := s.FirstRunCode(); code != "" {
		s.log.Warn("no admin password is set: open /first-run and use this one-time code, or sign in with the admin token", "code", code)
	}
	close(s.ready)
	err = g.Wait()
	if rmErr := os.Remove(filepath.Join(s.cfg.Dir, socketName)); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.cfg.Listener != nil {
		return s.cfg.Listener, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("web pages on %s: %w", s.cfg.Addr, err)
	}
	return ln, nil
}

func (s *Server) httpServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: answerHead(s.echo, h), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: s.limit, WriteTimeout: s.limit,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // TLS handshakes of strangers
		BaseContext: func(net.Listener) context.Context { return ctx },   // ends the streams before Shutdown waits for them
	}
}

// serve runs srv until ctx ends, then gives requests under way five seconds.
func serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	g := errgroup.Group{}
	stopped := make(chan struct{})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-stopped:
			return nil
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			return srv.Close()
		}
		return nil
	})
	err := srv.Serve(ln)
	close(stopped)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, g.Wait())
}

// Ready is closed once the pages and the socket answer.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Fingerprint is the SHA-256 of the certificate in lower-case hex, as browsers show it; "" over plain HTTP.
// It changes with every renewal: programs pin [Server.Pin].
func (s *Server) Fingerprint() string { return shownBy(s.inUse.Load()).fingerprint }

// Pin names the certificate's public key for tlspin.Parse and curl's --pinnedpubkey; "" over plain HTTP.
func (s *Server) Pin() string { return shownBy(s.inUse.Load()).pin }

// URLs are all addresses that machines may reach the pages by: URL, then the other addresses of this box,
// then the names that people gave it. No slash at the end.
func (s *Server) URLs() []string {
	out := []string{s.URL()}
	u, err := url.Parse(out[0])
	if err != nil {
		return out
	}
	host, _, err := net.SplitHostPort(s.cfg.Addr)
	if ip, bad := netip.ParseAddr(host); err == nil && bad == nil && !ip.IsUnspecified() {
		return out // it listens there alone
	}
	var hosts []string
	for _, a := range ownAddrs() {
		if !a.IsLoopback() {
			hosts = append(hosts, a.String())
		}
	}
	for _, h := range append(hosts, s.cfg.Names...) {
		next := u.Scheme + "://" + net.JoinHostPort(h, u.Port())
		if !slices.Contains(out, next) {
			out = append(out, next)
		}
	}
	return out
}

// URL is where a person reaches the pages: the first address of this box that is not loopback,
// with the port it really listens on once Ready. No slash at the end.
func (s *Server) URL() string {
	scheme := "https"
	if s.cert == nil {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(s.cfg.Addr)
	if err != nil {
		host, port = "", "8443"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.addr.(*net.TCPAddr); ok {
		port, host = strconv.Itoa(a.Port), a.IP.String()
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
		for _, a := range ownAddrs() {
			if a.Is4() && !a.IsLoopback() {
				host = a.String()
				break
			}
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
