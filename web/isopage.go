package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// isoForm is what was typed to make a USB image, and why it was refused.
type isoForm struct {
	Arch, Days string
	staticText
	Error string
}

func (s *Server) createISOForm(c echo.Context) error {
	f := isoForm{Arch: c.FormValue("arch"), Days: c.FormValue("days"),
		staticText: staticText{c.FormValue("address"), c.FormValue("gateway"), c.FormValue("dns"), c.FormValue("mac")}}
	r, err := f.request(s.cfg.Now())
	if err == nil {
		_, err = s.createISO(c.Request().Context(), r)
	}
	if code := status(err); err != nil && code == http.StatusInternalServerError {
		return err
	} else if err != nil {
		f.Error = sentence(err)
		return s.showMedia(c, code, mediaPage{ISOForm: f})
	}
	s.flash(c, "The USB image is made. Download it below and write it to a stick.")
	return c.Redirect(http.StatusSeeOther, "/media#usb")
}

// request is what the form asks for.
func (f isoForm) request(now time.Time) (r ISORequest, err error) {
	days, err := strconv.Atoi(f.Days)
	if err != nil || days < 1 || days > 365 {
		days = 7 // the form offers no others
	}
	r = ISORequest{Arch: f.Arch, Expires: now.Add(time.Duration(days) * 24 * time.Hour)}
	r.Static, err = f.parse()
	return r, err
}

func (s *Server) revokeISOForm(c echo.Context) error {
	if err := s.revokeISO(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	s.flash(c, "The USB image is revoked: sticks made of it join no more.")
	return c.Redirect(http.StatusSeeOther, "/media#usb")
}
