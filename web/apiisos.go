package web

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

type newISOIn struct {
	Body struct {
		Arch   string `json:"arch,omitempty" enum:"x86_64,aarch64" default:"x86_64"`
		Static *struct {
			Address string   `json:"address" doc:"with the length of its network, as 192.168.1.50/24" maxLength:"64"`
			Gateway string   `json:"gateway,omitempty" maxLength:"64"`
			DNS     []string `json:"dns,omitempty" maxItems:"3"`
			MAC     string   `json:"mac,omitempty" doc:"the interface it is for; left out = the first one with a cable in" maxLength:"32"`
		} `json:"static,omitempty" doc:"a fixed address; left out = by DHCP"`
		Expires *time.Time `json:"expires,omitempty" doc:"until when machines that boot it are let in; left out = in a week"`
	}
}

// isoIn is the image a path names.
type isoIn struct {
	ID string `path:"id" maxLength:"64"`
}

// isoAPI registers USB images. Their bytes hold a join token, so a download needs scope operate; see needs.
func (s *Server) isoAPI(a huma.API) {
	op(a, http.MethodGet, "/isos", "list-isos", "List the USB images that were made and not revoked, newest first", func(context.Context, *none) (*listOut[ISO], error) {
		all, err := s.isos()
		return items(all), err
	})
	op(a, http.MethodPost, "/isos", "create-iso", "Make a USB image of stage-0 that knows this appliance", func(ctx context.Context, in *newISOIn) (*struct{ Body ISO }, error) {
		r := ISORequest{Arch: in.Body.Arch}
		if in.Body.Expires != nil {
			r.Expires = *in.Body.Expires
		}
		if t := in.Body.Static; t != nil {
			var err error
			if r.Static, err = (staticText{t.Address, t.Gateway, strings.Join(t.DNS, ","), t.MAC}).parse(); err != nil {
				return nil, err
			}
		}
		i, err := s.createISO(ctx, r)
		return &struct{ Body ISO }{i}, err
	})
	op(a, http.MethodDelete, "/isos/{id}", "revoke-iso", "Revoke a USB image: sticks made of it join no more", func(ctx context.Context, in *isoIn) (*none, error) {
		return nil, s.revokeISO(ctx, in.ID)
	})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		huma.Register(a, huma.Operation{OperationID: strings.ToLower(method) + "-iso", Method: method, Path: "/isos/{id}", Summary: "Download a USB image",
			Description: "The same bytes at every call, with Range, ETag and Content-Length, so that a broken download resumes.",
			Responses: map[string]*huma.Response{"200": {Description: "the image", Content: map[string]*huma.MediaType{
				"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}}, s.sendISO)
	}
}

func (s *Server) sendISO(_ context.Context, in *isoIn) (*huma.StreamResponse, error) {
	if s.cfg.ISOs == nil {
		return nil, problem(errNoISOs)
	}
	i, body, err := s.cfg.ISOs.OpenISO(in.ID)
	if err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humaecho.Unwrap(hc)
		out, err := startStream(c.Response())
		if err != nil {
			s.log.Error("download of a USB image", "err", err)
			return
		}
		h := c.Response().Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", `attachment; filename="`+i.FileName()+`"`)
		h.Set("Cache-Control", "private, no-store") // a join token is in it
		h.Set("ETag", `"`+i.SHA256+`"`)
		http.ServeContent(download{c.Response(), out}, c.Request(), "", i.CreatedAt, body)
	}}, nil
}

// download is a response whose reader has streamWrite for each piece, however long all of it takes.
type download struct {
	http.ResponseWriter
	out *stream
}

// Write implements io.Writer.
func (d download) Write(b []byte) (int, error) { return d.out.Write(b) }
