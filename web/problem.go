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
	if code == http.StatusInternalServerError {
		s.log.Error("request failed", "step", c.Request().Method+" "+c.Path(), "err", err)
		text = "The appliance could not do this: " + text
	}
	if code == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", retryAfter)
	}
	if strings.HasPrefix(c.Request().URL.Path, "/api/") {
		err = writeProblem(c, code, text)
	} else {
		err = s.render(c, code, "problem", problemPage{base: s.base(c, http.StatusText(code), "problem"), Code: code, Text: text})
	}
	if err != nil {
		s.log.Warn("answer could not be written", "err", err)
	}
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
