package web

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

type settingsPage struct {
	base
	URL          string
	Fingerprint  string
	Pin          string
	CertEnds     time.Time
	TokenFile    string
	Dir          string
	CanBackup    bool
	CanSupport   bool
	Tokens       []Token
	Made         *NewToken // just made: its secret is shown this once
	Form         tokenForm // typed, when it was refused
	Sessions     []Session
	CanRestore   bool
	RestoreError string // why a backup was not taken
	Asked        string // the confirmation that is drawn open, "" = none
	Keys         []OperatorKey
	CanSetup     bool
	CertNames    []string // that the certificate is good for
	CertGiven    bool     // a person put it in
	CanCert      bool
	CertError    string // why one was not taken
	CertTyped    string
	// HasPassword tells that a password is set; PasswordError is why a change was refused.
	HasPassword   bool
	PasswordError string
}

// tokenForm is what was typed to make an API token, and why it was refused.
type tokenForm struct{ Name, Scope, Days, Error string }

func (s *Server) settingsPage(c echo.Context) error {
	return s.showSettings(c, http.StatusOK, settingsPage{})
}

func (s *Server) showSettings(c echo.Context, code int, p settingsPage) error {
	p.base, p.URL, p.Fingerprint, p.Pin = s.page(c, "Settings", "settings"), s.URL(), s.Fingerprint(), s.Pin()
	p.Back, p.Dir, p.TokenFile, p.CanBackup = "/settings", s.cfg.Dir, filepath.Join(s.cfg.Dir, "admin-token"), s.cfg.Backup != nil
	p.CanSupport = s.cfg.Care != nil
	p.CanRestore, p.CanSetup = s.cfg.Restore != nil, s.cfg.Setup != nil
	switch p.Asked = c.QueryParam("confirm"); {
	case p.RestoreError != "":
		p.Asked = "restore"
	case p.CertError != "":
		p.Asked = "certificate"
	}
	if c := s.inUse.Load(); c != nil && c.Leaf != nil {
		p.CertEnds, p.CertNames = c.Leaf.NotAfter, c.Leaf.DNSNames
		for _, ip := range c.Leaf.IPAddresses {
			p.CertNames = append(p.CertNames, ip.String())
		}
		given, err := s.givenCertificate()
		p.CertGiven, p.CanCert = given != nil || err != nil, s.mayGive() == nil // one that cannot be read is there to be taken away
	}
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		all, err := tokens(tx)
		for i := range all {
			p.Tokens = append(p.Tokens, tokenJSON(&all[i], p.Now))
		}
		return err
	})
	if err != nil {
		return err
	}
	p.HasPassword = s.FirstRunCode() == ""
	if p.Keys, err = s.operatorKeys(); err != nil {
		return err
	}
	if p.Sessions, err = s.openSessions(s.sessionOf(c.Request().Context())); err != nil {
		return err
	}
	return s.render(c, code, "settings", p)
}

// createTokenForm answers with the page itself, which is the only place that ever shows the secret.
func (s *Server) createTokenForm(c echo.Context) error {
	f := tokenForm{Name: c.FormValue("name"), Scope: c.FormValue("scope"), Days: c.FormValue("days")}
	n := newToken{Name: f.Name, Scope: Scope(f.Scope)}
	if f.Days != "never" {
		days, err := strconv.Atoi(f.Days)
		if err != nil || days < 1 || days > 3660 {
			f.Error = fmt.Sprintf("%q is not a time in days.", clip(f.Days, 20))
			return s.showSettings(c, http.StatusUnprocessableEntity, settingsPage{Form: f})
		}
		n.Expires = s.cfg.Now().Add(time.Duration(days) * 24 * time.Hour)
	}
	t, secret, err := s.issueToken(c.Request().Context(), n)
	if code := status(err); err != nil && code == http.StatusInternalServerError {
		return err
	} else if err != nil {
		f.Error = sentence(err)
		return s.showSettings(c, code, settingsPage{Form: f})
	}
	return s.showSettings(c, http.StatusOK, settingsPage{Made: &NewToken{tokenJSON(&t, s.cfg.Now()), secret}})
}

func (s *Server) revokeTokenForm(c echo.Context) error {
	t, err := s.revokeToken(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	s.flash(c, fmt.Sprintf("Token %q is revoked.", t.Name))
	return c.Redirect(http.StatusSeeOther, "/settings")
}

// signOutAll ends every session, the caller's too.
func (s *Server) signOutAll(c echo.Context) error {
	if err := s.sessions.Destroy(c.Request().Context()); err != nil {
		return err
	}
	if err := s.endSessions(c.Request().Context()); err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, "/login")
}

func (s *Server) backup(c echo.Context) error {
	if s.cfg.Backup == nil {
		return echo.NewHTTPError(http.StatusNotImplemented, "This appliance offers no backup here. Stop it and copy its data directory.")
	}
	if err := s.noteSite(c.Request().Context(), topicBackup, "The database was downloaded by "+caller(c.Request().Context()).By+"."); err != nil {
		return err
	}
	out, err := startStream(c.Response())
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Type", "application/gzip")
	h.Set("Content-Disposition", `attachment; filename="hatchery-`+s.cfg.Now().UTC().Format("2006-01-02-150405")+`.tar.gz"`)
	c.Response().WriteHeader(http.StatusOK)
	return s.cfg.Backup(out)
}
