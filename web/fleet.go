package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Fleet is the hive's configuration summary: what it says of every host.
type Fleet struct {
	Revision string      `json:"revision" doc:"commit of the hive that was evaluated; empty when there was none"`
	ReadAt   time.Time   `json:"read_at"`
	Hosts    []FleetHost `json:"hosts" nullable:"false"`
	Error    string      `json:"error" doc:"why it could not be evaluated; there are no hosts then"`
	Trace    string      `json:"trace" doc:"the end of what the evaluation said about the error, plain text of several lines"`
}

// FleetHost is one host in the hive.
type FleetHost struct {
	Name    string      `json:"name"`
	Role    string      `json:"role"`
	MAC     string      `json:"mac"`
	System  string      `json:"system"`
	Address string      `json:"address" doc:"empty: by DHCP"`
	Static  bool        `json:"static" doc:"the host configures the address itself; else it is reserved for it"`
	Disks   []FleetDisk `json:"disks" nullable:"false"`
	K3s     *FleetK3s   `json:"k3s,omitempty"`
}

// FleetDisk is the disk of one slot of a host.
type FleetDisk struct {
	Slot   string `json:"slot"`
	Class  string `json:"class" enum:"ephemeral,persistent"`
	ID     string `json:"id"`
	Serial string `json:"serial"`
}

// FleetK3s is a host's part in its cluster.
type FleetK3s struct {
	Role      string `json:"role" enum:"server,agent"`
	Cluster   string `json:"cluster"`
	Init      bool   `json:"init" doc:"the server that begins the cluster"`
	ServerURL string `json:"server_url,omitempty"`
}

// Text is the part in words.
func (k FleetK3s) Text() string {
	switch {
	case k.Init:
		return "begins cluster " + k.Cluster
	case k.ServerURL == "":
		return k.Role + " in cluster " + k.Cluster
	}
	return k.Role + " in cluster " + k.Cluster + " at " + k.ServerURL
}

// summary evaluates the hive's configuration summary, and keeps it for the page.
func (s *Server) summary(ctx context.Context) (Fleet, error) {
	if s.cfg.Hive == nil {
		return Fleet{}, fmt.Errorf("summary: this appliance has no hive: %w", ErrNotHere)
	}
	f, err := s.cfg.Hive.Summary(ctx)
	if err != nil {
		return f, err
	}
	if f.ReadAt = s.cfg.Now(); f.Hosts == nil {
		f.Hosts = []FleetHost{}
	}
	s.fleet.Store(&f)
	return f, nil
}

func (s *Server) fleetAPI(a huma.API) {
	op(a, http.MethodGet, "/roles/summary", "hive-summary", "Evaluate what the hive says of every host: addresses, roles, disks, k3s", func(ctx context.Context, _ *none) (*struct{ Body Fleet }, error) {
		f, err := s.summary(ctx)
		return &struct{ Body Fleet }{f}, err
	})
}
