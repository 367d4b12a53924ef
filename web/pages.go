package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes is everything the web listener answers.
func (s *Server) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.onError
	e.Pre(plainPath)
	e.Use(s.guard)
	e.GET("/healthz", s.healthz)
	metrics, agent := http.NotFoundHandler(), http.NotFoundHandler()
	if s.cfg.Metrics != nil {
		metrics = promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{})
	}
	if s.cfg.AgentHandler != nil {
		agent = s.cfg.AgentHandler
	}
	e.GET("/metrics", echo.WrapHandler(metrics))
	e.Any("/agent/v1/*", echo.WrapHandler(agent))
	e.GET("/static/:name", s.static)
	session := echo.WrapMiddleware(s.sessions.LoadAndSave)
	e.GET("/login", s.showLogin, session)
	e.POST("/login", s.login, session)
	e.GET("/first-run", s.showFirstRun, session)
	e.POST("/first-run", s.setFirstPassword, session)
	e.POST("/theme", s.setTheme)
	s.api(e, e.Group("/api/v1", session, s.admit))
	s.pageRoutes(e.Group("", session, s.admit))
	return e
}

// healthz says whether the appliance can do its work: 503 and why when it cannot. It tells strangers no paths.
func (s *Server) healthz(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	if s.cfg.Health == nil {
		return c.String(http.StatusOK, "ok\n")
	}
	if err := s.cfg.Health(); err != nil {
		return c.String(http.StatusServiceUnavailable, words(err)+"\n")
	}
	return c.String(http.StatusOK, "ok\n")
}

// plainPath lets routes see what %3A and the like mean: a MAC may be written either way.
func plainPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Request().URL.RawPath = ""
		return next(c)
	}
}

func (s *Server) pageRoutes(g *echo.Group) {
	g.POST("/logout", s.logout)
	g.GET("/", s.machines)
	g.POST("/assign", s.assignMany)
	g.GET("/live", s.live)
	g.GET("/hosts", func(c echo.Context) error { return c.Redirect(http.StatusSeeOther, "/") }) // a machine's address, cut short
	g.GET("/hosts/:id", s.machine)
	g.POST("/hosts/:id/:act", s.machineAct)
	g.GET("/hosts/:id/:act", func(c echo.Context) error { // the address of a page that a refused act drew, asked for anew
		return c.Redirect(http.StatusSeeOther, "/hosts/"+url.PathEscape(c.Param("id")))
	})
	g.GET("/hosts/:id/log/stream", s.logStreamPage)
	g.GET("/jobs/:id", s.job)
	g.POST("/hosts", s.announceForm)
	g.GET("/roles", s.rolesPage)
	g.POST("/roles/refresh", s.refreshForm)
	g.POST("/roles/deploy", s.deployRoleForm)
	g.GET("/media", s.mediaPage)
	g.POST("/media/stage0/:arch/:digest/use", s.useImageForm)
	g.POST("/media/isos", s.createISOForm)
	g.POST("/media/isos/:id/revoke", s.revokeISOForm)
	g.GET("/network", s.networkPage)
	g.POST("/reservations", s.reserveForm)
	g.GET("/activity", s.activityPage)
	g.GET("/setup", s.setupPage)
	g.POST("/setup/dhcp", s.setDHCPForm)
	g.POST("/setup/keys", s.addKeysForm)
	g.POST("/setup/keys/:id/remove", s.removeKeyForm)
	g.POST("/restart", s.restartForm)
	g.GET("/settings", s.settingsPage)
	g.POST("/settings/tokens", s.createTokenForm)
	g.POST("/settings/tokens/:id/revoke", s.revokeTokenForm)
	g.POST("/settings/password", s.changePassword)
	g.POST("/settings/sessions/:id/revoke", s.revokeSession)
	g.POST("/settings/signout", s.signOutAll)
	g.GET("/settings/backup", s.backup)
	g.POST("/settings/restore", s.restoreForm)
	g.POST("/settings/certificate", s.certificateForm)
}

// setTheme keeps the wish for light or dark in a cookie, so that the page is drawn right at once and without script.
func (s *Server) setTheme(c echo.Context) error {
	theme := c.FormValue("theme")
	if theme != "light" && theme != "dark" {
		theme = "auto"
	}
	c.SetCookie(&http.Cookie{Name: "theme", Value: theme, Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.cert != nil})
	return c.Redirect(http.StatusSeeOther, localPath(c.FormValue("back")))
}

// flash shows a sentence on the next page that is opened. Who came with a token or through the socket opens none, and gets no session.
func (s *Server) flash(c echo.Context, text string) {
	if s.sessions.GetString(c.Request().Context(), sessionMark) == "" {
		return
	}
	s.sessions.Put(c.Request().Context(), "flash", text)
}

// page is base with the sentence about what was just done, the last jobs, and a stream that keeps them fresh.
func (s *Server) page(c echo.Context, title, nav string) base {
	b := s.base(c, title, nav)
	b.Strip, b.Live = s.strip(), "/live?page="+nav+"&since="+s.feed.id(s.feed.now())
	b.Flash = s.sessions.PopString(c.Request().Context(), "flash")
	return b
}

// back returns to the page that a form was sent from.
func back(c echo.Context, to string) error {
	if b := c.FormValue("back"); strings.HasPrefix(b, "/") {
		to = localPath(b)
	}
	return c.Redirect(http.StatusSeeOther, to)
}
