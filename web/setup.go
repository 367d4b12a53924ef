package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

// Setup is what a person may set on the page instead of in the configuration file. Safe for concurrent use.
type Setup interface {
	Setup() SetupStatus
	// SetDHCP stores a choice, which counts from the next start on. ErrInvalid; ErrConflict for what the configuration file sets.
	SetDHCP(c DHCPChoice) error
	// Restart ends all parts of the appliance soon and starts them anew. ErrBadEvent while a job runs.
	Restart() error
}

// DHCPChoice is how addresses are handed out.
type DHCPChoice struct {
	Mode       string   `json:"mode" enum:"auto,proxy,server,off"`
	Interfaces []string `json:"interfaces,omitempty" doc:"left out = every one with a private IPv4 address" maxItems:"32"`
	Range      string   `json:"range,omitempty" doc:"addresses to hand out, as 192.168.1.100-192.168.1.199" maxLength:"64"`
	Router     string   `json:"router,omitempty" maxLength:"64"`
	DNS        []string `json:"dns,omitempty" maxItems:"8"`
}

// SetupStatus is what is set, and what is proposed.
type SetupStatus struct {
	Now      DHCPChoice `json:"now" doc:"what this run of the appliance was started with"`
	Next     DHCPChoice `json:"next" doc:"what counts from the next start on"`
	Pending  bool       `json:"pending" doc:"next is not now: a restart is due"`
	Proposed DHCPChoice `json:"proposed"`
	Why      string     `json:"why" doc:"what was heard on the wire, and why that is proposed"`
	// Fixed are the keys that the configuration file or the command line sets: they cannot be changed here.
	Fixed      []string       `json:"fixed" nullable:"false"`
	Interfaces []NetInterface `json:"interfaces" nullable:"false" doc:"that may be served"`
}

// setupOut is the answer with lists for what is not there, as the document says.
func setupOut(st SetupStatus) *struct{ Body SetupStatus } {
	if st.Fixed == nil {
		st.Fixed = []string{}
	}
	if st.Interfaces == nil {
		st.Interfaces = []NetInterface{}
	}
	return &struct{ Body SetupStatus }{st}
}

// Operators keeps the SSH keys of the people who may log in on stage-0 and on installed hosts. Safe for concurrent use.
type Operators interface {
	Keys() ([]OperatorKey, error)
	// AddKeys takes one or more lines of authorized_keys; what is there already is left alone. ErrInvalid.
	AddKeys(ctx context.Context, text string) (added []OperatorKey, err error)
	// RemoveKey forgets a key that was added so. ErrNotFound; ErrConflict for one of the configuration file.
	RemoveKey(ctx context.Context, id string) (OperatorKey, error)
}

// OperatorKey is one SSH key that is let in.
type OperatorKey struct {
	ID          string `json:"id"`
	Key         string `json:"key" doc:"as a line of authorized_keys"`
	Comment     string `json:"comment" doc:"whose it is"`
	Fingerprint string `json:"fingerprint"`
	Fixed       bool   `json:"fixed" doc:"set in the configuration file and changed only there"`
}

var (
	errNoSetup = fmt.Errorf("this appliance is set up by its configuration file alone: %w", ErrNotHere)
	errNoKeys  = fmt.Errorf("this appliance keeps no SSH keys: %w", ErrNotHere)
)

func (s *Server) setDHCP(ctx context.Context, c DHCPChoice) error {
	if s.cfg.Setup == nil {
		return errNoSetup
	}
	if err := s.cfg.Setup.SetDHCP(c); err != nil {
		return err
	}
	text := "DHCP is to be " + first(c.Mode, "as it is") // "" where the command line says it
	if c.Range != "" {
		text += " with the addresses " + c.Range
	}
	return s.noteSite(ctx, topicNetwork, text+" from the next start on.")
}

// restart restarts the appliance; the activity tells of it before it begins.
func (s *Server) restart(ctx context.Context) error {
	if s.cfg.Setup == nil {
		return errNoSetup
	}
	if err := s.idle(); err != nil {
		return err
	}
	if err := s.noteSite(ctx, topicSetup, "A restart of the appliance was asked for by "+caller(ctx).By+"."); err != nil {
		return err
	}
	return s.cfg.Setup.Restart()
}

// idle says why the appliance should not restart now: a job would be cut off.
func (s *Server) idle() error {
	for _, j := range s.openJobs() {
		if j.State == inventory.JobRunning {
			return fmt.Errorf("a job works on %s: wait until it has ended, or stop it first: %w", first(j.Host, string(j.HostID)), inventory.ErrBadEvent)
		}
	}
	return nil
}

func (s *Server) operatorKeys() ([]OperatorKey, error) {
	if s.cfg.Operators == nil {
		return nil, nil
	}
	return s.cfg.Operators.Keys()
}

func (s *Server) addKeys(ctx context.Context, text string) ([]OperatorKey, error) {
	if s.cfg.Operators == nil {
		return nil, errNoKeys
	}
	added, err := s.cfg.Operators.AddKeys(ctx, text)
	for _, k := range added {
		if nerr := s.noteSite(ctx, topicAccess, "SSH key "+k.Fingerprint+" ("+first(k.Comment, "no comment")+") is let in on stage-0 and on hosts."); err == nil {
			err = nerr
		}
	}
	if err == nil && len(added) == 0 {
		err = fmt.Errorf("every one of these keys is let in already: %w", inventory.ErrConflict)
	}
	return added, err
}

func (s *Server) removeKey(ctx context.Context, id string) (OperatorKey, error) {
	if s.cfg.Operators == nil {
		return OperatorKey{}, errNoKeys
	}
	k, err := s.cfg.Operators.RemoveKey(ctx, id)
	if err == nil {
		err = s.noteSite(ctx, topicAccess, "SSH key "+k.Fingerprint+" ("+first(k.Comment, "no comment")+") is let in no more on stage-0; hosts drop it with their next deploy.")
	}
	return k, err
}

type newKeysIn struct {
	Body struct {
		Keys string `json:"keys" doc:"one or more lines of authorized_keys" maxLength:"65536"`
	}
}

// setupAPI registers what is set on the page instead of in the configuration file. Changes need scope admin; see needs.
func (s *Server) setupAPI(a huma.API) {
	op(a, http.MethodGet, "/setup", "get-setup", "Read how the appliance is set up, and what is proposed", func(context.Context, *none) (*struct{ Body SetupStatus }, error) {
		if s.cfg.Setup == nil {
			return nil, errNoSetup
		}
		return setupOut(s.cfg.Setup.Setup()), nil
	})
	op(a, http.MethodPut, "/setup/dhcp", "set-dhcp", "Choose how addresses are handed out, from the next start on", func(ctx context.Context, in *struct{ Body DHCPChoice }) (*struct{ Body SetupStatus }, error) {
		if err := s.setDHCP(ctx, in.Body); err != nil {
			return nil, err
		}
		return setupOut(s.cfg.Setup.Setup()), nil
	})
	op(a, http.MethodPost, "/restart", "restart", "Restart the appliance; refused while a job runs", func(ctx context.Context, _ *none) (*none, error) {
		return nil, s.restart(ctx)
	})
	op(a, http.MethodGet, "/ssh/keys", "list-ssh-keys", "List the SSH keys of people that are let in on stage-0 and on hosts", func(context.Context, *none) (*listOut[OperatorKey], error) {
		all, err := s.operatorKeys()
		return items(all), err
	})
	op(a, http.MethodPost, "/ssh/keys", "add-ssh-keys", "Let SSH keys in on stage-0 at once, on hosts with their next deploy", func(ctx context.Context, in *newKeysIn) (*listOut[OperatorKey], error) {
		added, err := s.addKeys(ctx, in.Body.Keys)
		return items(added), err
	})
	op(a, http.MethodDelete, "/ssh/keys/{id}", "remove-ssh-key", "Let an SSH key in no more", func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*none, error) {
		_, err := s.removeKey(ctx, in.ID)
		return nil, err
	})
}

type setupPage struct {
	base
	First    bool // it follows the first password
	CanSet   bool
	Status   SetupStatus
	Choice   DHCPChoice // in the form
	Net      NetworkStatus
	Keys     []OperatorKey
	CanKeys  bool
	Err      string
	Wrong    string // the form that Err is about: "dhcp", "keys", "restart"
	KeysText string // typed, when refused
	HiveAt   string
	Roles    int
	NoStage0 bool
}

// On reports whether an interface is chosen.
func (p *setupPage) On(name string) bool { return slices.Contains(p.Choice.Interfaces, name) }

// DNSText is the DNS servers as they are typed in.
func (p *setupPage) DNSText() string { return strings.Join(p.Choice.DNS, ", ") }

// Fixed reports whether the configuration file sets a key.
func (p *setupPage) Fixed(key string) bool { return slices.Contains(p.Status.Fixed, key) }

func (s *Server) setupPage(c echo.Context) error {
	return s.showSetup(c, http.StatusOK, &setupPage{First: c.QueryParam("first") != ""})
}

func (s *Server) showSetup(c echo.Context, code int, p *setupPage) (err error) {
	p.base, p.Net, p.CanSet, p.CanKeys = s.page(c, "Set up", "settings"), s.network(), s.cfg.Setup != nil, s.cfg.Operators != nil
	p.Back, p.NoStage0 = "/setup", len(s.media().Stage0) == 0
	if p.CanSet {
		p.Status = s.cfg.Setup.Setup()
		if p.Wrong != "dhcp" {
			if p.Choice = p.Status.Next; p.First && !p.Status.Pending && p.Choice.Mode == "auto" && p.Choice.Range == "" {
				p.Choice = p.Status.Proposed
			}
		}
	}
	if p.Keys, err = s.operatorKeys(); err != nil {
		return err
	}
	hive, err := s.hive()
	if err != nil {
		return err
	}
	if p.Roles = len(hive.Roles); s.cfg.Hive != nil {
		p.HiveAt = s.cfg.Hive.Location()
	}
	return s.render(c, code, "setup", p)
}

// refuseSetup draws the page again with why a form of it was refused.
func (s *Server) refuseSetup(c echo.Context, err error, p setupPage) error {
	code := status(err)
	if code == http.StatusInternalServerError {
		return err
	}
	p.Err, p.First = sentence(err), c.FormValue("first") != ""
	return s.showSetup(c, code, &p)
}

func (s *Server) setupTo(c echo.Context, to string) error {
	if c.FormValue("first") != "" {
		to = "/setup?first=1" + strings.TrimPrefix(to, "/setup")
	}
	return c.Redirect(http.StatusSeeOther, to)
}

func (s *Server) setDHCPForm(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "This form could not be read. Go back and try again.")
	}
	choice := DHCPChoice{Mode: form.Get("mode"), Interfaces: form["interface"], Range: strings.TrimSpace(form.Get("range")), Router: strings.TrimSpace(form.Get("router")),
		DNS: strings.FieldsFunc(form.Get("dns"), func(r rune) bool { return r == ',' || r == ' ' })}
	if err := s.setDHCP(c.Request().Context(), choice); err != nil {
		return s.refuseSetup(c, err, setupPage{Wrong: "dhcp", Choice: choice})
	}
	s.flash(c, "Saved.")
	return s.setupTo(c, "/setup#network")
}

func (s *Server) addKeysForm(c echo.Context) error {
	text := c.FormValue("keys")
	added, err := s.addKeys(c.Request().Context(), text)
	if err != nil {
		return s.refuseSetup(c, err, setupPage{Wrong: "keys", KeysText: text})
	}
	s.flash(c, plural(len(added), "SSH key")+" added.")
	return s.setupTo(c, "/setup#keys")
}

func (s *Server) removeKeyForm(c echo.Context) error {
	k, err := s.removeKey(c.Request().Context(), c.Param("id"))
	if err != nil {
		return s.refuseSetup(c, err, setupPage{Wrong: "keys"})
	}
	s.flash(c, "SSH key "+first(k.Comment, k.Fingerprint)+" removed.")
	return s.setupTo(c, "/setup#keys")
}

type restartingPage struct {
	base
	Text string
}

func (s *Server) restartForm(c echo.Context) error {
	if err := s.restart(c.Request().Context()); err != nil {
		return s.refuseSetup(c, err, setupPage{Wrong: "restart"})
	}
	return s.render(c, http.StatusOK, "restarting", restartingPage{base: base{Title: "Restarting", Nav: "settings", Now: s.cfg.Now(), Version: s.cfg.Version},
		Text: "The appliance starts anew with what was saved. Machines that boot meanwhile ask again by themselves."})
}
