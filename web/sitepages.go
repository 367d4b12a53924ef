package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

type rolesPage struct {
	base
	Roles    []roleView
	Hive     inventory.Hive
	Location string
	CanRead  bool
	Hits     []RuleHit
	From     string // the cursor that Hits begin behind; "" = the first
	Next     string // the cursor of the following ones; "" = none
	Err      string
	Fleet    *Fleet // the summary as it was evaluated last; nil = not yet
}

// roleView is a role and who has it.
type roleView struct {
	inventory.Role
	Hosts []row // the first few
	More  int   // that have it, too
	Lag   int   // how many of them all lag behind the hive
}

// roleHosts is how many machines of each role its page names.
const roleHosts = 50

func (s *Server) rolesPage(c echo.Context) error { return s.showRoles(c, http.StatusOK, "") }

// read takes in the roles and who has them; it costs what is shown, however many machines there are.
func (p *rolesPage) read(tx *inventory.Tx) (err error) {
	if p.Hive, err = tx.Hive(); err != nil {
		return err
	}
	counts, err := tx.RoleCounts()
	if err != nil {
		return err
	}
	for _, r := range sortedRoles(p.Hive) {
		v := roleView{Role: r, Lag: counts[r.Name].Lagging}
		hosts, err := tx.OfRole(r.Name, roleHosts)
		if err != nil {
			return err
		}
		for i := range hosts {
			v.Hosts = append(v.Hosts, row{Ref: refOf(&hosts[i]), Name: hosts[i].Label()})
		}
		v.More = counts[r.Name].Hosts - len(hosts)
		p.Roles = append(p.Roles, v)
	}
	return nil
}

func (s *Server) showRoles(c echo.Context, code int, problem string) error {
	p := rolesPage{base: s.page(c, "Roles", "roles"), CanRead: s.cfg.Hive != nil, Err: problem}
	p.Back = "/roles"
	if s.cfg.Hive != nil {
		p.Location = s.cfg.Hive.Location()
	}
	err := s.cfg.Store.View(p.read)
	if err != nil {
		return err
	}
	if s.cfg.Hive != nil && c.QueryParam("summary") != "" {
		if _, err := s.summary(c.Request().Context()); err != nil {
			return err
		}
	}
	p.Fleet = s.fleet.Load()
	p.From = clip(c.QueryParam("after"), 64)
	if p.Hits, p.Next, err = s.rulesPreview(p.From, 50); err != nil {
		return err
	}
	return s.render(c, code, "roles", p)
}

func (s *Server) refreshForm(c echo.Context) error {
	if err := s.refreshRoles(c.Request().Context()); err != nil {
		return s.refreshFailed(c, err)
	}
	s.flash(c, "The roles were read again.")
	return c.Redirect(http.StatusSeeOther, "/roles")
}

// refreshFailed shows the page again; why the hive could not be read is part of it.
func (s *Server) refreshFailed(c echo.Context, err error) error {
	h, herr := s.hive()
	if herr != nil || h.Error == "" {
		s.logFault(c, err)
		return s.showRoles(c, http.StatusConflict, sentence(err))
	}
	return s.showRoles(c, http.StatusConflict, "They were read again just now, and the newest still cannot be used. The reason is below.")
}

type mediaPage struct {
	base
	Media   MediaStatus
	CanISO  bool // USB images can be made here
	HasISO  bool // there is one to make them from
	ISOs    []ISO
	ISOForm isoForm
	CanUse  bool   // another kept stage-0 image can be chosen here
	Err     string // why what was just asked for was not done
}

func (s *Server) mediaPage(c echo.Context) error { return s.showMedia(c, http.StatusOK, mediaPage{}) }

func (s *Server) showMedia(c echo.Context, code int, p mediaPage) (err error) {
	p.base, p.Media, p.CanISO, p.CanUse = s.page(c, "Boot media", "media"), s.media(), s.cfg.ISOs != nil, s.cfg.Images != nil
	p.Back = "/media"
	p.HasISO = slices.ContainsFunc(p.Media.Stage0, func(i Image) bool { return i.ISO })
	if p.ISOs, err = s.isos(); err != nil {
		return err
	}
	return s.render(c, code, "media", p)
}

// networkRows is how many leases and reservations one network page shows.
const networkRows = 300

type networkPage struct {
	base
	Net          NetworkStatus
	Leases       []Lease
	Reservations []Reservation
	CanReserve   bool
	Known        map[inventory.MAC]row
	MoreLeases   bool   // that did not fit
	ReservedNext string // the cursor of the following reservations; "" = none
	Err          string
	Field        string // which field Err is about: "mac", "ip", "hostname"
	MAC, IP      string // typed, or of the reservation that is to be changed
	Hostname     string
	Changing     bool // MAC has a reservation
}

// Machine is the machine of a MAC, for a link; its Ref is "" when there is none.
func (p networkPage) Machine(m inventory.MAC) row { return p.Known[m] }

func (s *Server) networkPage(c echo.Context) error {
	return s.showNetwork(c, http.StatusOK, networkPage{MAC: c.QueryParam("mac"), IP: c.QueryParam("ip"), Hostname: c.QueryParam("hostname")})
}

func (s *Server) showNetwork(c echo.Context, code int, p networkPage) (err error) {
	p.base, p.Net, p.CanReserve = s.page(c, "Network", "network"), s.network(), s.cfg.Leases != nil
	p.Back = "/network"
	if err := s.readLeases(&p); err != nil {
		return err
	}
	if p.Reservations, p.ReservedNext, err = s.reservations(c.QueryParam("reserved"), networkRows); err != nil {
		return err
	}
	slices.SortFunc(p.Reservations, func(a, b Reservation) int { return a.IP.Compare(b.IP) })
	typed, _ := inventory.ParseMAC(p.MAC)
	p.Changing = slices.ContainsFunc(p.Reservations, func(r Reservation) bool { return r.MAC == typed })
	if p.Known, err = s.knownMACs(p); err != nil {
		return err
	}
	return s.render(c, code, "network", p)
}

// readLeases reads as many leases as the page shows.
func (s *Server) readLeases(p *networkPage) (err error) {
	next := ""
	p.Leases, next, err = s.leases("", networkRows)
	p.MoreLeases = next != ""
	slices.SortFunc(p.Leases, func(a, b Lease) int { return a.IP.Compare(b.IP) })
	return err
}

// networkParts are the parts of the network page that change by themselves.
func (s *Server) networkParts() ([][]byte, error) {
	p := networkPage{base: base{Now: s.cfg.Now()}, Net: s.network(), CanReserve: s.cfg.Leases != nil}
	err := s.readLeases(&p)
	if err != nil {
		return nil, err
	}
	if p.Known, err = s.knownMACs(p); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, part := range []string{"n-status", "n-leases", "n-decisions"} {
		f, err := s.fragment("network", part, p)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// knownMACs finds the machines of the MACs on the page.
func (s *Server) knownMACs(p networkPage) (map[inventory.MAC]row, error) {
	out := map[inventory.MAC]row{}
	for _, l := range p.Leases {
		out[l.MAC] = row{}
	}
	for _, r := range p.Reservations {
		out[r.MAC] = row{}
	}
	for _, d := range p.Net.Decisions {
		out[d.MAC] = row{}
	}
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		for m := range out {
			if h, err := tx.HostByMAC(m); err == nil {
				out[m] = row{Ref: refOf(&h), Name: h.Label()}
			}
		}
		return nil
	})
	return out, err
}

func (s *Server) reserveForm(c echo.Context) error {
	typed := networkPage{MAC: c.FormValue("mac"), IP: c.FormValue("ip"), Hostname: c.FormValue("hostname")}
	r, err := parseReservation(typed.MAC, first(typed.IP, "0.0.0.0"), strings.TrimSpace(typed.Hostname))
	if c.FormValue("remove") != "" {
		r.IP = netip.Addr{}
	} else if err == nil && typed.IP == "" {
		_, err = parseReservation(typed.MAC, "", "")
	}
	if err == nil {
		err = s.reserve(c.Request().Context(), r)
	}
	if code := status(err); err != nil && code != http.StatusInternalServerError {
		typed.Err, typed.Field = sentence(err), reservationField(typed)
		return s.showNetwork(c, code, typed)
	} else if err != nil {
		return err
	}
	s.flash(c, "Saved.")
	return c.Redirect(http.StatusSeeOther, "/network")
}

// reservationField is the field of the form that was refused.
func reservationField(p networkPage) string {
	if _, err := parseMAC(p.MAC); err != nil {
		return "mac"
	}
	if inventory.CheckName(p.Hostname) != nil {
		return "hostname"
	}
	return "ip"
}

// announceForm makes a host known before it exists.
func (s *Server) announceForm(c echo.Context) error {
	m, err := parseMAC(c.FormValue("mac"))
	if err == nil {
		_, err = s.expect(c.Request().Context(), inventory.Announce{MAC: m, Name: strings.TrimSpace(c.FormValue("name")), Role: c.FormValue("role")})
	}
	if code := status(err); err != nil && code == http.StatusInternalServerError {
		return err
	} else if err != nil {
		return s.showMachines(c, code, sentence(err))
	}
	s.flash(c, m.String()+" is expected now: power it on with network boot.")
	return c.Redirect(http.StatusSeeOther, "/")
}
