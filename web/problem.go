package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

type problemPage struct {
	base
	Code int
	Text string
}

// onError answers a request that failed: a page for people, a problem for programs.
func (s *Server) onError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	code, text := status(err), sentence(err)
	if he, ok := err.(*echo.HTTPError); ok { //nolint:errorlint // echo's own, never wrapped
		code, text = he.Code, fmt.Sprint(he.Message)
	}
	if code == http.StatusNotFound && text == http.StatusText(code) {
		code, text = s.nothingHere(c)
	}
	switch code {
	case http.StatusNotFound:
		if strings.HasPrefix(c.Request().URL.Path, "/hosts/") {
			text += " It was forgotten, or never seen here. A machine appears again by itself when it netboots."
		}
	case http.StatusInternalServerError:
		s.logFault(c, err)
		text = s.faultOf(c)
	case http.StatusInsufficientStorage:
		s.logFault(c, err)
	}
	if code == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", retryAfter)
	}
	switch {
	case strings.HasPrefix(c.Request().URL.Path, "/api/"):
		err = writeProblem(c, code, text)
	case wantsSentence(c):
		err = c.String(code, text)
	default:
		err = s.render(c, code, "problem", problemPage{base: s.base(c, problemTitle(code), "problem"), Code: code, Text: text})
	}
	if err != nil {
		s.log.Warn("answer could not be written", "err", err)
	}
}

// problemTitle is what went wrong in a few words for people.
func problemTitle(code int) string {
	switch code {
	case http.StatusNotFound:
		return "Nothing here"
	case http.StatusInternalServerError:
		return "A fault of the appliance"
	case http.StatusInsufficientStorage:
		return "The disk is full"
	case http.StatusForbidden:
		return "Refused"
	}
	return http.StatusText(code)
}

// logFault keeps the words of an error that a browser is not told them of.
func (s *Server) logFault(c echo.Context, err error) {
	if code := status(err); err != nil && (code == http.StatusInternalServerError || code == http.StatusInsufficientStorage) {
		s.log.Error("request failed", "step", c.Request().Method+" "+c.Path(), "err", err)
	}
}

// faultOf says of a request that failed by the appliance's fault what that means, with the cause where it is known.
func (s *Server) faultOf(c echo.Context) string {
	text := faultText
	if m := c.Request().Method; m == http.MethodGet || m == http.MethodHead {
		text = "The appliance could not show this, because of a fault of its own. Nothing was changed. Try again in a moment; if it stays, " +
			"the reason is in the appliance's log (journalctl -u hatchery)."
	}
	if s.cfg.Health != nil {
		if err := s.cfg.Health(); err != nil { // its words are for strangers too
			text = words(err) + " " + text
		}
	}
	return text
}

func writeProblem(c echo.Context, code int, text string) error {
	c.Response().Header().Set("Content-Type", "application/problem+json")
	return c.JSON(code, map[string]any{"title": http.StatusText(code), "status": code, "detail": text})
}

// nothingHere tells a wrong address from a wrong method, with the methods that there are (RFC 9110 §15.5.6).
func (s *Server) nothingHere(c echo.Context) (code int, text string) {
	r := c.Request()
	methods := methodsOf(s.echo.Routes(), r.URL.Path)
	if len(methods) == 0 || slices.Contains(methods, r.Method) {
		return http.StatusNotFound, "There is nothing at this address."
	}
	allow := strings.Join(methods, ", ")
	c.Response().Header().Set("Allow", allow)
	return http.StatusMethodNotAllowed, "This address takes " + allow + ", not " + clip(r.Method, 20) + "."
}

// methodsOf are the methods of the routes that a path fits, sorted.
func methodsOf(routes []*echo.Route, path string) (methods []string) {
	parts := strings.Split(path, "/")
	for _, r := range routes {
		if r.Method != echo.RouteNotFound && !slices.Contains(methods, r.Method) && fits(strings.Split(r.Path, "/"), parts) {
			methods = append(methods, r.Method)
		}
	}
	slices.Sort(methods)
	return methods
}

// fits reports whether the parts of a path fit those of a route without wildcards.
func fits(route, path []string) bool {
	if len(route) != len(path) {
		return false
	}
	for i, p := range route {
		if p != path[i] && (!strings.HasPrefix(p, ":") || path[i] == "") {
			return false
		}
	}
	return true
}
