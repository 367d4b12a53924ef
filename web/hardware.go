package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/danielgtaylor/huma/v2"
)

type hardwareOut struct {
	Disposition string `header:"Content-Disposition"`
	Body        json.RawMessage
}

// hardware answers with nixos-facter's report: what the host's hardware configuration in the hive is made of.
func (s *Server) hardware(ctx context.Context, in *RefIn) (*hardwareOut, error) {
	h, err := s.host(in.ID)
	if err != nil {
		return nil, err
	}
	if s.cfg.Hive == nil {
		return nil, fmt.Errorf("this appliance has no hive: %w", ErrNotHere)
	}
	report, err := s.cfg.Hive.Hardware(ctx, h.Name)
	if h.Name == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, huma.Error404NotFound("No nixos-facter report of " + h.Label() + " yet: it is made when an install begins.")
	}
	if err != nil {
		return nil, err
	}
	return &hardwareOut{Disposition: "inline; filename=\"facter.json\"", Body: report}, nil
}
