package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// pollEvery is how often interfaces and reservations are looked at again.
const pollEvery = 2 * time.Second

// Server answers DHCP on the interfaces. Its exported methods are safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	ready   chan struct{}
	count   counters
	ring    ring
	limit   limiter
	notes   *notes
	hosts   hosts
	commits commits
	spare   sync.Pool // of *answer
	mail    sync.Pool // of *mail
	post    sync.Pool // of *post
	pending sync.WaitGroup
	sockets sync.WaitGroup // the readers

	// send puts replies on the wire, ask a DISCOVER that looks for other servers, probe asks who uses addresses; tests
	// replace them.
	send  func(l *link, out []outgoing)
	ask   func(l *link) error
	probe func(ctx context.Context, l *link, list []netip.Addr) (map[netip.Addr]inventory.MAC, error)

	sayBroadcast, sayCommit, askNow, sayProxyARP rate.Sometimes

	mu       sync.Mutex // all below
	role     dhcp.Role  // "" until one was chosen
	why      string
	began    time.Time
	asked    int  // how often others were looked for
	looking  bool // for other servers, before it becomes one
	links    map[string]*link
	segments []*segment
	others   others
	vigils   map[string]*vigil // by interface, where servers that give addresses are known
	tries    *tries
	resolved []netip.Addr // this machine's resolvers

	decisions dhcp.Config  // of core
	own       []netip.Addr // of selves
}

// segment is a pool and what goes with it.
type segment struct {
	dhcp.Segment
	relayed  bool
	reserved []lease.Reservation // as the pool has them
	version  uint64              // of those
}

// New checks the configuration. Nothing is opened before Run.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, ready: make(chan struct{}), links: map[string]*link{},
		others: others{}, vigils: map[string]*vigil{}, tries: newTries()}
	s.commits.room = sync.NewCond(&s.commits.mu)
	s.sayBroadcast.First, s.sayCommit.Interval, s.askNow.Interval = 1, 10*time.Second, time.Minute
	s.sayProxyARP.Interval = time.Hour
	s.notes = newNotes(cfg.Store, cfg.Log, &s.count, s.tries)
	s.began = cfg.Now()
	s.send, s.ask, s.probe = s.transmit, s.discover, probeARP
	return s, nil
}

// Ready is closed once the ports are open and a role is chosen.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then waits for all it began. An error says that it cannot serve:
// a port is taken, or another DHCP server answers where server mode was asked for.
func (s *Server) Run(ctx context.Context) error {
	if s.cfg.Mode == ModeOff {
		s.setRole("", "DHCP is switched off (--dhcp off)")
		close(s.ready)
		<-ctx.Done()
		return nil
	}
	if err := s.load(); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	changes := s.cfg.Store.Watch(gctx)
	if err := s.hosts.fill(s.cfg.Store); err != nil {
		return fmt.Errorf("hardware addresses of the hosts: %w", err)
	}
	if err := s.pollLinks(gctx, true); err != nil {
		s.closeLinks()
		return err
	}
	g.Go(func() error { return s.notes.run(gctx) })
	g.Go(func() error { return s.learn(changes) })
	g.Go(func() error { return s.chooseRole(gctx) })
	g.Go(func() error { return s.poll(gctx) })
	g.Go(func() error { return s.keepLooking(gctx) })
	g.Go(func() error { return s.watchServers(gctx) })
	g.Go(func() error { return s.probeAddresses(gctx) })
	g.Go(func() error {
		<-gctx.Done()
		s.closeLinks()
		return nil
	})
	err := g.Wait()
	s.sockets.Wait()
	s.pending.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) poll(ctx context.Context) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.pollLinks(ctx, false); err != nil {
				s.log.Error("network interface cannot be served", "err", err)
			}
			if err := s.Reload(); err != nil {
				s.log.Error("reservations cannot be read", "err", err)
			}
		}
	}
}

// load reads what an earlier run stored.
func (s *Server) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.others.load(s.cfg.Store); err != nil {
		return fmt.Errorf("DHCP servers seen earlier: %w", err)
	}
	if err := s.tries.load(s.cfg.Store); err != nil {
		return fmt.Errorf("forms of boot offers that firmwares took: %w", err)
	}
	for _, r := range s.cfg.Relayed {
		if err := s.addSegment(lease.Config{Prefix: r.Prefix.Masked(), Range: r.Range, Exclude: append(slices.Clone(r.DNS), r.Router)}, r.Router, r.DNS, true); err != nil {
			return err
		}
	}
	s.resolved = resolvers("/etc/resolv.conf")
	return nil
}

// addSegment makes the pool of a segment and fills it with what is stored.
func (s *Server) addSegment(pc lease.Config, router netip.Addr, dns []netip.Addr, relayed bool) error {
	p, err := lease.NewPool(pc)
	if err != nil {
		return err
	}
	leases, err := s.cfg.Leases.Leases()
	if err != nil {
		return fmt.Errorf("stored leases: %w", err)
	}
	for _, l := range leases {
		if pc.Prefix.Contains(l.IP) {
			p.Put(l)
		}
	}
	version := s.cfg.Leases.ReservationsVersion()
	res, err := s.cfg.Leases.Reservations()
	if err != nil {
		return fmt.Errorf("stored reservations: %w", err)
	}
	p.Reserve(res)
	s.segments = append(s.segments, &segment{Segment: dhcp.Segment{Pool: p, Router: router, DNS: dns}, relayed: relayed, reserved: res, version: version})
	return nil
}

// Reload reads the reservations again if they changed; it also happens by itself every two seconds.
func (s *Server) Reload() error {
	version := s.cfg.Leases.ReservationsVersion()
	s.mu.Lock()
	same := !slices.ContainsFunc(s.segments, func(g *segment) bool { return g.version != version })
	s.mu.Unlock()
	if same {
		return nil
	}
	res, err := s.cfg.Leases.Reservations()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if !slices.Equal(res, g.reserved) {
			g.Pool.Reserve(res)
			g.reserved = res
		}
		g.version = version
	}
	return nil
}

// Leases lists the leases of all segments in order of address.
func (s *Server) Leases() []lease.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []lease.Lease
	for _, g := range s.segments {
		out = append(out, g.Pool.Leases()...)
	}
	slices.SortFunc(out, func(a, b lease.Lease) int { return a.IP.Compare(b.IP) })
	return out
}

// LeaseOf is the address that the client has a live lease of.
func (s *Server) LeaseOf(mac inventory.MAC) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if l, ok := g.Pool.Of(lease.HW(mac)); ok && l.Live(s.cfg.Now()) {
			return l.IP, true
		}
	}
	return netip.Addr{}, false
}

func (s *Server) setRole(r dhcp.Role, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role, s.why = r, why
}
