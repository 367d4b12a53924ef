package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/pipeline"
	"github.com/staged-hive/hatchery/web"
)

// leaseBook is the database's leases and reservations, with the reservations of the configuration file, which win.
type leaseBook struct {
	*boltdb.DB
	fixed []lease.Reservation
}

// Reservations implements server.LeaseStore.
func (b leaseBook) Reservations() ([]lease.Reservation, error) {
	stored, err := b.DB.Reservations()
	out := slices.Clone(b.fixed)
	for _, r := range stored {
		if b.fixedFor(r.HW, r.IP) == nil {
			out = append(out, r)
		}
	}
	return out, err
}

// reservation is that of one machine. inventory.ErrNotFound.
func (b leaseBook) reservation(hw lease.HW) (lease.Reservation, error) {
	if f := b.fixedFor(hw, netip.Addr{}); f != nil {
		return *f, nil
	}
	r, err := b.DB.Reservation(hw)
	if err == nil && b.fixedFor(r.HW, r.IP) != nil { // its address is another's by the file
		err = fmt.Errorf("a reservation for %s is %w", hw, inventory.ErrNotFound)
	}
	return r, err
}

// page is up to limit reservations in order of the MAC, from the one after `after`.
func (b leaseBook) page(after lease.HW, limit int) (page []lease.Reservation, next lease.HW, err error) {
	from := ""
	if after != (lease.HW{}) {
		from = after.String()
	}
	stored, more, err := b.ReservationPage(from, limit)
	for _, r := range stored {
		if b.fixedFor(r.HW, r.IP) == nil {
			page = append(page, r)
		}
	}
	for _, f := range b.fixed {
		if at := f.HW.String(); at > from && (more == "" || at <= more) {
			page = append(page, f)
		}
	}
	slices.SortFunc(page, func(x, y lease.Reservation) int { return bytes.Compare(x.HW[:], y.HW[:]) })
	if more != "" {
		next = stored[len(stored)-1].HW
	}
	if len(page) > limit {
		page, next = page[:limit], page[limit-1].HW
	}
	return page, next, err
}

// fixedFor is the configuration file's reservation of that machine or address, nil when there is none.
func (b leaseBook) fixedFor(hw lease.HW, ip netip.Addr) *lease.Reservation {
	i := slices.IndexFunc(b.fixed, func(r lease.Reservation) bool { return r.HW == hw || r.IP == ip })
	if i < 0 {
		return nil
	}
	return &b.fixed[i]
}

// reserved is the address that the appliance's own DHCP server keeps for a MAC, as long as it is the one that hands
// addresses out.
func reserved(book leaseBook, dhcp *server.Server) func(inventory.MAC) (netip.Addr, bool) {
	return func(mac inventory.MAC) (netip.Addr, bool) {
		if dhcp.Status().Role != "server" {
			return netip.Addr{}, false
		}
		r, err := book.reservation(lease.HW(mac))
		return r.IP, err == nil
	}
}

// leases shows the leases and reservations to the web.
type leases struct {
	book leaseBook
	dhcp *server.Server
}

// Leases implements web.Leases.
func (l leases) Leases(after netip.Addr, limit int) (page []web.Lease, next netip.Addr, err error) {
	now := time.Now()
	all, next, err := l.book.LeasePage(after, limit, func(e *lease.Lease) bool { return e.Live(now) })
	for _, e := range all {
		page = append(page, web.Lease{IP: e.IP, MAC: inventory.MAC(e.HW), Hostname: e.Hostname, Expires: e.Expires})
	}
	return page, next, err
}

// Reservations implements web.Leases.
func (l leases) Reservations(after inventory.MAC, limit int) (page []web.Reservation, next inventory.MAC, err error) {
	all, more, err := l.book.page(lease.HW(after), limit)
	for i := range all {
		page = append(page, l.told(&all[i]))
	}
	return page, inventory.MAC(more), err
}

// Reservation implements web.Leases.
func (l leases) Reservation(m inventory.MAC) (web.Reservation, error) {
	r, err := l.book.reservation(lease.HW(m))
	return l.told(&r), err
}

// told is a reservation as the web shows it.
func (l leases) told(r *lease.Reservation) web.Reservation {
	return web.Reservation{MAC: inventory.MAC(r.HW), IP: r.IP, Hostname: r.Name, Fixed: l.book.fixedFor(r.HW, r.IP) != nil}
}

// SetReservation implements web.Leases.
func (l leases) SetReservation(_ context.Context, r web.Reservation) error {
	if f := l.book.fixedFor(lease.HW(r.MAC), r.IP); f != nil {
		return fmt.Errorf("%s for %s is reserved in the configuration file; change it there: %w", f.IP, f.HW, inventory.ErrConflict)
	}
	if !r.IP.IsValid() {
		return l.book.DeleteReservation(lease.HW(r.MAC))
	}
	if err := checkReserved(l.dhcp.Status(), r.IP); err != nil {
		return err
	}
	return l.book.PutReservation(lease.Reservation{HW: lease.HW(r.MAC), IP: r.IP, Name: r.Hostname})
}

// checkReserved says when an address cannot be given to a machine: it is in none of the subnets that addresses are given
// on, or it is the router's or our own.
func checkReserved(st server.Status, ip netip.Addr) error {
	for _, i := range st.Interfaces {
		if slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr() == ip }) {
			return fmt.Errorf("address %s is this appliance's own: %w", ip, inventory.ErrInvalid)
		}
	}
	var subnets []string
	for _, p := range st.Pools {
		if p.Router == ip {
			return fmt.Errorf("address %s is the router's: %w", ip, inventory.ErrInvalid)
		}
		if p.Prefix.Contains(ip) {
			return onlyHost(p.Prefix, ip)
		}
		subnets = append(subnets, p.Prefix.String())
	}
	if len(subnets) == 0 {
		return nil // none is known yet: ProxyDHCP, or an interface that is not up
	}
	return fmt.Errorf("address %s is in no subnet that addresses are given on (%s): %w", ip, strings.Join(subnets, ", "), inventory.ErrInvalid)
}

// onlyHost refuses the two addresses of a subnet that no machine can have.
func onlyHost(p netip.Prefix, ip netip.Addr) error {
	switch next := ip.Next(); {
	case p.Bits() > 30: // RFC 3021: both are machines'
	case ip == p.Masked().Addr():
		return fmt.Errorf("address %s is the name of subnet %s, no machine's: %w", ip, p, inventory.ErrInvalid)
	case !p.Contains(next):
		return fmt.Errorf("address %s is the broadcast address of subnet %s: %w", ip, p, inventory.ErrInvalid)
	}
	return nil
}

// lateHive opens the hive when it is first needed, and again after a failure: the appliance boots
// machines also while git is missing or the hive's remote cannot be reached.
type lateHive struct {
	cfg hive.Config
	// self is what every host must know of the appliance; written to the hive when it is opened.
	self func() hive.ApplianceFile

	mu     sync.Mutex
	opened *hive.Hive
}

func (l *lateHive) open(ctx context.Context) (*hive.Hive, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened != nil {
		return l.opened, nil
	}
	h, err := hive.Open(ctx, l.cfg)
	if err != nil {
		return nil, err
	}
	if _, err := h.WriteAppliance(ctx, l.self()); err != nil {
		return nil, err
	}
	l.opened = h
	return h, nil
}

// rewrite writes what every host must know of the appliance into the hive anew, when it is open; else its opening does.
func (l *lateHive) rewrite(ctx context.Context) error {
	l.mu.Lock()
	h := l.opened
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	_, err := h.WriteAppliance(ctx, l.self())
	return err
}

// Roles implements pipeline.Hive.
func (l *lateHive) Roles(ctx context.Context) (inventory.Hive, error) {
	return opened(ctx, l, func(h *hive.Hive) (inventory.Hive, error) { return h.Roles(ctx) })
}

// Head implements pipeline.Hive.
func (l *lateHive) Head(ctx context.Context) (string, error) {
	return opened(ctx, l, func(h *hive.Hive) (string, error) { return h.Head(ctx) })
}

// WriteHost implements pipeline.Hive.
func (l *lateHive) WriteHost(ctx context.Context, f hive.HostFacts) (string, error) {
	return opened(ctx, l, func(h *hive.Hive) (string, error) { return h.WriteHost(ctx, f) })
}

// Build implements pipeline.Hive.
func (l *lateHive) Build(ctx context.Context, commit, name string, log io.Writer) (hive.Built, error) {
	return opened(ctx, l, func(h *hive.Hive) (hive.Built, error) { return h.Build(ctx, commit, name, log) })
}

// BuildFormat implements pipeline.Hive.
func (l *lateHive) BuildFormat(ctx context.Context, commit, name, slot string, log io.Writer) (string, error) {
	return opened(ctx, l, func(h *hive.Hive) (string, error) { return h.BuildFormat(ctx, commit, name, slot, log) })
}

// ReadHost implements pipeline.Hive.
func (l *lateHive) ReadHost(ctx context.Context, name string) (f hive.HostFile, known bool, err error) {
	_, err = opened(ctx, l, func(h *hive.Hive) (_ bool, err error) {
		f, known, err = h.ReadHost(ctx, name)
		return known, err
	})
	return f, known, err
}

// History implements pipeline.Hive.
func (l *lateHive) History(ctx context.Context) ([]hive.Commit, error) {
	return opened(ctx, l, func(h *hive.Hive) ([]hive.Commit, error) { return h.History(ctx) })
}

// opened does something with the hive, which it opens when it is not.
func opened[T any](ctx context.Context, l *lateHive, do func(*hive.Hive) (T, error)) (T, error) {
	h, err := l.open(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return do(h)
}

// roles tells the web where the hive is and reads it again.
type roles struct {
	jobs *pipeline.Runner
	hive *lateHive
}

// Location implements web.Hive.
func (r roles) Location() string {
	if r.hive.cfg.Source != "" {
		return r.hive.cfg.Dir + " (from " + r.hive.cfg.Source + ")"
	}
	return r.hive.cfg.Dir
}

// Refresh implements web.Hive.
func (r roles) Refresh(ctx context.Context) error { return r.jobs.RefreshRoles(ctx) }

// Summary implements web.Hive.
func (r roles) Summary(ctx context.Context) (out web.Fleet, err error) {
	h, err := r.hive.open(ctx)
	var hosts []hive.SummaryHost
	if err == nil {
		out.Revision, hosts, err = h.Summary(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		out.Error, out.Trace = pipeline.HiveTrouble(err)
		return out, nil
	}
	for _, s := range hosts {
		f := web.FleetHost{Name: s.Name, Role: s.Role, MAC: s.MAC, System: s.System, Address: s.Address, Static: s.Static, Disks: []web.FleetDisk{}}
		for _, slot := range slices.Sorted(maps.Keys(s.Disks)) {
			d := s.Disks[slot]
			f.Disks = append(f.Disks, web.FleetDisk{Slot: slot, Class: d.Class, ID: d.ID, Serial: d.Serial})
		}
		if k := s.K3s; k != nil {
			f.K3s = &web.FleetK3s{Role: k.Role, Cluster: k.Cluster, Init: k.Init, ServerURL: k.ServerURL}
		}
		out.Hosts = append(out.Hosts, f)
	}
	return out, nil
}

// pageURL is where people find a host's page.
func (a *appliance) pageURL(id inventory.HostID) string { return a.web.URL() + "/hosts/" + string(id) }

// Hardware implements web.Hive.
func (r roles) Hardware(ctx context.Context, name string) (json.RawMessage, error) {
	h, err := r.hive.open(ctx)
	if err != nil {
		return nil, err
	}
	return h.Facter(ctx, name)
}

// jobLogs streams the log of a host's last job to the web.
type jobLogs struct{ jobs *pipeline.Runner }

func webLine(e pipeline.Line) web.LogLine {
	return web.LogLine{ID: e.No, Time: e.Time, Step: e.Step, Level: e.Level(), Text: e.Text}
}

// Tail implements web.Logs.
func (l jobLogs) Tail(id inventory.HostID, n int) ([]web.LogLine, error) {
	lines, err := l.jobs.Tail(id, n)
	out := make([]web.LogLine, len(lines))
	for i, e := range lines {
		out[i] = webLine(e)
	}
	return out, err
}

// Follow implements web.Logs.
func (l jobLogs) Follow(ctx context.Context, id inventory.HostID, after uint64, fn func(web.LogLine) error) error {
	return l.jobs.Follow(ctx, id, after, func(e pipeline.Line) error { return fn(webLine(e)) })
}

// Job implements web.Logs.
func (l jobLogs) Job(id inventory.JobID, fn func(web.LogLine) error) error {
	return l.jobs.JobLog(id, func(e pipeline.Line) error { return fn(webLine(e)) })
}

// operator carries out the page's acts on running machines.
type operator struct{ jobs *pipeline.Runner }

// Operate implements web.Operator.
func (o operator) Operate(ctx context.Context, op web.Operation) error {
	switch op.Act {
	case web.ActReboot:
		return o.jobs.Reboot(ctx, op.Host, op.By)
	case web.ActPowerOff:
		return o.jobs.PowerOff(ctx, op.Host, op.By)
	}
	return web.ErrNotHere
}
