package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// network is DHCP's status; a mode of "unknown" when nobody tells.
func (s *Server) network() NetworkStatus {
	n := NetworkStatus{Mode: "unknown", Why: "This appliance does not answer DHCP itself."}
	if s.cfg.Network != nil {
		n = s.cfg.Network.Network()
	}
	if n.Interfaces == nil {
		n.Interfaces = []NetInterface{}
	}
	if n.Pools == nil {
		n.Pools = []AddressPool{}
	}
	if n.OtherServers == nil {
		n.OtherServers = []DHCPServer{}
	}
	return n
}

func (s *Server) media() MediaStatus {
	var m MediaStatus
	if s.cfg.Media != nil {
		m = s.cfg.Media.Media()
	}
	if m.IPXE == nil {
		m.IPXE = []BootFile{}
	}
	if m.Versions == nil {
		m.Versions = []ImageVersion{}
	}
	if m.Stage0 == nil {
		m.Stage0 = []Image{}
	}
	return m
}

// warnings are what keeps machines from booting or installing: what the appliance found itself, and the hive.
func (s *Server) warnings() []Warning {
	var out []Warning
	if s.cfg.SelfCheck != nil {
		out = append(out, s.cfg.SelfCheck()...)
	}
	out = append(out, s.certWarnings()...)
	h, err := s.hive()
	if err != nil || h.Error == "" {
		return out
	}
	hint := "The last good ones are still used. See Roles for the whole message."
	if len(h.Roles) == 0 {
		hint = "Without roles machines are shown but not installed. See Roles for the whole message; the hive is read again by itself."
	}
	return append(out, Warning{Text: "The hive's roles could not be read: " + firstLine(h.Error), Hint: hint})
}

// leases is a page of the leases, by the address as text, and the cursor of the following one.
func (s *Server) leases(cursor string, limit int) ([]Lease, string, error) {
	after, err := cursorOf(cursor, netip.ParseAddr)
	if err != nil || s.cfg.Leases == nil {
		return nil, "", err
	}
	l, next, err := s.cfg.Leases.Leases(after, limit)
	if !next.IsValid() {
		return l, "", err
	}
	return l, next.String(), err
}

// reservations is a page of the reserved addresses, by their MAC, and the cursor of the following one.
func (s *Server) reservations(cursor string, limit int) ([]Reservation, string, error) {
	after, err := cursorOf(cursor, inventory.ParseMAC)
	if err != nil || s.cfg.Leases == nil {
		return nil, "", err
	}
	r, next, err := s.cfg.Leases.Reservations(after, limit)
	if next.IsZero() {
		return r, "", err
	}
	return r, next.String(), err
}

// cursorOf reads a cursor that is the last thing of the page before; "" is its zero value.
func cursorOf[T any](cursor string, parse func(string) (T, error)) (at T, err error) {
	if cursor == "" {
		return at, nil
	}
	if at, err = parse(cursor); err != nil {
		err = fmt.Errorf("cursor %q: want the next of the page before: %w", clip(cursor, 40), inventory.ErrInvalid)
	}
	return at, err
}

// reserve stores a reservation, or removes it when it has no address.
func (s *Server) reserve(ctx context.Context, r Reservation) error {
	if s.cfg.Leases == nil {
		return fmt.Errorf("reservation of %s: this appliance hands out no addresses: %w", r.MAC, ErrNotHere)
	}
	if err := s.cfg.Leases.SetReservation(ctx, r); err != nil {
		return err
	}
	text := fmt.Sprintf("Address %s reserved for %s.", r.IP, r.MAC)
	if !r.IP.IsValid() {
		text = fmt.Sprintf("Reservation of %s given up.", r.MAC)
	}
	return s.noteSite(ctx, topicNetwork, text)
}

// noteSite writes a sentence into the appliance's own activity; topic is one of topics.
func (s *Server) noteSite(ctx context.Context, topic, text string) error {
	w := caller(ctx)
	return s.cfg.Store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: s.cfg.Now(), Kind: "admin." + topic, Text: text, By: w.By, From: w.From})
	})
}

func (s *Server) hive() (h inventory.Hive, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err = tx.Hive()
		return err
	})
	return h, err
}

func (s *Server) refreshRoles(ctx context.Context) error {
	if s.cfg.Hive == nil {
		return fmt.Errorf("roles: this appliance has no hive: %w", ErrNotHere)
	}
	if err := s.cfg.Hive.Refresh(ctx); err != nil {
		h, herr := s.hive()
		if herr != nil || h.Error == "" || status(err) != http.StatusInternalServerError {
			return err
		}
		return fmt.Errorf("the roles were read again, but the hive's newest ones cannot be used: %s: %w", strings.TrimSuffix(h.Error, "."), inventory.ErrConflict)
	}
	return s.noteSite(ctx, topicHive, "The roles were read again for "+caller(ctx).By+".")
}

func sortedRoles(h inventory.Hive) []inventory.Role {
	out := []inventory.Role{}
	for n, r := range h.Roles {
		r.Name = n
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b inventory.Role) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// asked is what a rule asks of a machine, a few words each.
func asked(m inventory.Match) (words []string) {
	say := func(set bool, format string, a ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, a...))
		}
	}
	say(m.Vendor != "", "vendor %s", m.Vendor)
	say(m.Product != "", "product %s", m.Product)
	say(m.Serial != "", "serial %s", m.Serial)
	say(m.MAC != "", "MAC %s", m.MAC)
	say(m.Arch != "", "%s", m.Arch)
	say(m.MinMemoryBytes > 0, "memory ≥ %s", memoryText(m.MinMemoryBytes))
	say(m.MaxMemoryBytes > 0, "memory ≤ %s", memoryText(m.MaxMemoryBytes))
	say(m.MinDisks > 0, "disks ≥ %d", m.MinDisks)
	say(m.MaxDisks > 0, "disks ≤ %d", m.MaxDisks)
	disk := "a disk"
	if m.DiskType != "" {
		disk = "a disk of type " + m.DiskType
	}
	if m.MinDiskBytes > 0 {
		disk += " ≥ " + diskText(m.MinDiskBytes)
	}
	if m.MaxDiskBytes > 0 {
		disk += " ≤ " + diskText(m.MaxDiskBytes)
	}
	say(disk != "a disk", "%s", disk)
	return words
}

// RuleHit is what the autoInstall rules mean for one host.
type RuleHit struct {
	HostID inventory.HostID `json:"host_id"`
	Host   string           `json:"host"`
	Roles  []string         `json:"roles" nullable:"false" doc:"whose rule matches"`
	Would  string           `json:"would" enum:"assign,nothing,stop"`
	Why    string           `json:"why"`
}

// maxLooks is how many records one page of a list looks at to find those it shows: a page may be short, even empty, and
// have a next one.
const maxLooks = 500

// rulesPreview tells for up to limit hosts that a rule matches what would happen, from the one after cursor on, and the
// cursor of the following page.
func (s *Server) rulesPreview(cursor string, limit int) (out []RuleHit, next string, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		hive, err := tx.Hive()
		ruled := func(r inventory.Role) bool { return r.AutoInstall != nil }
		if err != nil || !slices.ContainsFunc(slices.Collect(maps.Values(hive.Roles)), ruled) {
			return err
		}
		hosts, more, err := tx.Hosts(inventory.HostID(cursor), maxLooks)
		next = string(more)
		for i := range hosts {
			hit, ok := ruleHit(&hosts[i], hive)
			if !ok {
				continue
			}
			if out = append(out, hit); len(out) == limit && (i < len(hosts)-1 || more != "") {
				next = string(hosts[i].ID)
				break
			}
		}
		return err
	})
	return out, next, err
}

func ruleHit(h *inventory.Host, hive inventory.Hive) (RuleHit, bool) {
	hit := RuleHit{HostID: h.ID, Host: h.Label(), Would: "nothing", Roles: inventory.Matching(h, hive.Roles)}
	switch why := h.NoRule(); {
	case len(hit.Roles) == 0:
		return hit, false
	case why != "":
		hit.Why = why
	case len(hit.Roles) > 1:
		hit.Would, hit.Why = "stop", "More than one rule matches; a person must choose the role."
	default:
		hit.Would, hit.Why = "assign", foretell(h, hive.Roles[hit.Roles[0]])
	}
	return hit, true
}

// foretell says what an automatic install of the role would do to the host's disks.
func foretell(h *inventory.Host, role inventory.Role) string {
	p := diskplan.Make(diskplan.Input{Host: *h, Role: role, Auto: true})
	if len(p.Blockers) > 0 {
		return "It would wait for a person: " + p.Blockers[0].Text
	}
	words := map[diskplan.Fate]string{diskplan.FateWipe: "formats", diskplan.FateFormatIfBlank: "formats", diskplan.FateKeep: "keeps"}
	var does []string
	for _, d := range p.Disks {
		if w := words[d.Fate]; w != "" {
			does = append(does, fmt.Sprintf("%s %s for %s (%s)", w, first(d.Serial, d.ID), d.Slot, d.Holds))
		}
	}
	return "It installs by itself and " + strings.Join(does, ", ") + "."
}

// openJobs are the open jobs; none when they cannot be read.
func (s *Server) openJobs() []inventory.Job {
	var jobs []inventory.Job
	if err := s.cfg.Store.View(func(tx *inventory.Tx) (err error) {
		jobs, err = tx.OpenJobs()
		return err
	}); err != nil {
		s.log.Error("open jobs could not be read", "err", err)
	}
	slices.SortFunc(jobs, func(a, b inventory.Job) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return jobs
}

// tail is the last n entries of a diary, oldest first.
func tail(tx *inventory.Tx, id inventory.HostID, n int) ([]inventory.Entry, error) {
	out, err := tx.DiaryBack(id, 0, n)
	slices.Reverse(out)
	return out, err
}
