package web

import (
	"context"
	"errors"
	"net/http"
	"syscall"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// list is a page of a list; Next is the cursor of the following one, "" at the end.
type list[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next"`
}

type listOut[T any] struct{ Body list[T] }

// items is a list that fits in one page.
func items[T any](v []T) *listOut[T] {
	if v == nil {
		v = []T{}
	}
	return &listOut[T]{Body: list[T]{Items: v}}
}

// paged is one page of a list and the cursor of the following one.
func paged[T any](v []T, next string, err error) (*listOut[T], error) {
	out := items(v)
	out.Body.Next = next
	return out, err
}

// RefIn is the host a path names. It is exported because huma reads parameters of exported fields alone.
type RefIn struct {
	ID string `path:"id" doc:"the host's id, any of its MACs, or its name" maxLength:"128"`
}

type none struct{}

// api registers every operation below /api/v1.
func (s *Server) api(e *echo.Echo, g *echo.Group) {
	cfg := huma.DefaultConfig("Hatchery", s.cfg.Version)
	cfg.Info.Description = "The hosts of a Hatchery appliance: what they are, what becomes of them, and what happened."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "/openapi", "", "", nil
	cfg.Servers = []*huma.Server{{URL: "/api/v1"}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	cfg.Security = []map[string][]string{{"token": {}}}
	a := humaecho.NewWithGroup(e, g, cfg)
	s.hostAPI(a)
	s.actAPI(a)
	s.planAPI(a)
	s.siteAPI(a)
	s.streamAPI(a)
	s.accessAPI(a)
	s.backupAPI(a)
	s.careAPI(a)
	s.sshAPI(a)
	s.imageAPI(a)
	s.isoAPI(a)
	s.jobLogAPI(a)
	s.setupAPI(a)
	s.restoreAPI(g, a)
	s.certAPI(a)
	e.GET("/openapi.json", func(c echo.Context) error {
		return c.Redirect(http.StatusFound, "/api/v1/openapi.json")
	})
}

// op registers one operation and turns errors of the inventory into problems.
func op[I, O any](a huma.API, method, path, id, summary string, fn func(context.Context, *I) (*O, error)) {
	// Without a list of errors the document says that every other answer is a problem, which is so.
	o := huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxBody}
	if method == http.MethodPost && (path == "/hosts" || path == "/tokens" || path == "/isos") {
		o.DefaultStatus = http.StatusCreated
	}
	huma.Register(a, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			var known huma.StatusError
			if w := caller(ctx); w.fault != nil && !errors.As(err, &known) && status(err) == http.StatusInternalServerError {
				*w.fault = err
			}
			return nil, problem(err)
		}
		return out, nil
	})
}

// status is the HTTP status of an error of the inventory; 500 for one that people cannot mend.
func status(err error) int {
	switch {
	case errors.Is(err, inventory.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, inventory.ErrConflict), errors.Is(err, inventory.ErrBadEvent),
		errors.Is(err, diskplan.ErrBlocked), errors.Is(err, diskplan.ErrChanged):
		return http.StatusConflict
	case errors.Is(err, inventory.ErrInvalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, ErrNotHere):
		return http.StatusNotImplemented
	case errors.Is(err, errStale):
		return http.StatusPreconditionFailed
	case errors.Is(err, errMachine):
		return http.StatusBadGateway
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// problem is the RFC 9457 form of an error.
func problem(err error) error {
	var known huma.StatusError
	if errors.As(err, &known) {
		return err
	}
	return huma.NewError(status(err), sentence(err))
}
