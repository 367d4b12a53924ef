package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// Mode is what a person asked for with --dhcp.
type Mode string

// The modes.
const (
	ModeAuto   Mode = "auto"   // ProxyDHCP at once, a server when nobody else is one
	ModeProxy  Mode = "proxy"  // ProxyDHCP
	ModeServer Mode = "server" // the segment's DHCP server
	ModeOff    Mode = "off"    // nothing
)

// ParseMode reads a --dhcp value; "" is auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(cmp.Or(s, string(ModeAuto))); m {
	case ModeAuto, ModeProxy, ModeServer, ModeOff:
		return m, nil
	}
	return "", fmt.Errorf("DHCP mode %q: want auto, proxy, server or off", s)
}

// LeaseStore keeps leases on disk. boltdb.DB is one. Safe for concurrent use.
type LeaseStore interface {
	// CommitLeases returns once all are durable, and keeps nothing of the list.
	CommitLeases(list ...lease.Lease) error
	// Leases reads all that are stored.
	Leases() ([]lease.Lease, error)
	// Reservations reads all that are stored.
	Reservations() ([]lease.Reservation, error)
	// ReservationsVersion is another number after every change of them.
	ReservationsVersion() uint64
}

// Relayed is a further segment whose clients come through a relay.
type Relayed struct {
	Prefix netip.Prefix
	Range  lease.Range
	Router netip.Addr
	DNS    []netip.Addr // nil = Config.DNS
}

// Config is a Server's. Zero values are working defaults but for Store, Leases and HTTPPort.
type Config struct {
	// Interfaces are the names to serve; empty = chosen by what they are, see Status.
	Interfaces []string
	Mode       Mode // "" = auto
	// Force starts server mode although another server answers.
	Force bool
	// Range is what is given on the segment whose subnet contains it.
	Range lease.Range
	// Router is option 3 there; zero = the default gateway of this machine if it is in that subnet.
	Router netip.Addr
	// DNS is option 6; nil = this machine's resolvers, loopback ones left out.
	DNS, NTP  []netip.Addr
	Domain    string
	Routes    []dhcp.Route
	Relayed   []Relayed
	LeaseTime time.Duration // 0 = 1 h
	// HTTPPort is the boot listener's port.
	HTTPPort int
	// Shims are the shims for Secure Boot that are served, as dhcp.Config has them.
	Shims []string
	// RouterAdv answers router solicitations with an advertisement of nothing where no router advertises.
	RouterAdv bool
	// ProbeFor is how long other servers are looked for at start; 0 = 10 s, in server mode 5 s.
	ProbeFor time.Duration

	// Doctor reports whether a MAC is the one that the self-test plays a machine with: it is answered as any other and
	// leaves no trace in the inventory. nil = none is.
	Doctor func(inventory.MAC) bool

	Store  inventory.Store
	Leases LeaseStore
	Log    *slog.Logger     // nil = discarded
	Now    func() time.Time // nil = time.Now
}

func (c *Config) check() error {
	if _, err := ParseMode(string(c.Mode)); err != nil {
		return err
	}
	c.Mode = Mode(cmp.Or(string(c.Mode), string(ModeAuto)))
	c.LeaseTime = cmp.Or(c.LeaseTime, time.Hour)
	if c.ProbeFor == 0 {
		c.ProbeFor = 10 * time.Second
		if c.Mode == ModeServer { // nobody is served meanwhile; 3 s is how long a router's own ping check takes
			c.ProbeFor = 5 * time.Second
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Doctor == nil {
		c.Doctor = func(inventory.MAC) bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Store == nil || c.Leases == nil:
		return errors.New("DHCP: the inventory and the lease store are missing")
	case c.HTTPPort < 1 || c.HTTPPort > 65535:
		return fmt.Errorf("DHCP: HTTP port %d: the boot listener's port is needed for the boot URLs", c.HTTPPort)
	case c.Mode == ModeServer && c.Range.IsZero() && len(c.Relayed) == 0:
		return errors.New("DHCP server mode needs a range of addresses: give --dhcp-range FIRST-LAST, or use --dhcp proxy beside another server")
	case c.LeaseTime < 2*time.Second || c.LeaseTime > 365*24*time.Hour:
		return fmt.Errorf("DHCP: lease time %s: want 2 seconds to a year", c.LeaseTime)
	}
	for i, r := range c.Relayed {
		if _, err := lease.NewPool(lease.Config{Prefix: r.Prefix, Range: r.Range}); err != nil {
			return fmt.Errorf("DHCP: relayed segment %s: %w", r.Prefix, err)
		}
		// An address must have one pool, or two machines could get it.
		if !c.Range.IsZero() && (r.Prefix.Contains(c.Range.First) || r.Prefix.Contains(c.Range.Last)) {
			return fmt.Errorf("DHCP: the range %s lies in the relayed segment %s: it can be only one of the two", c.Range, r.Prefix)
		}
		if slices.ContainsFunc(c.Relayed[:i], func(o Relayed) bool { return o.Prefix.Overlaps(r.Prefix) }) {
			return fmt.Errorf("DHCP: the relayed segment %s overlaps another one", r.Prefix)
		}
	}
	return nil
}
