package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/staged-hive/hatchery/inventory"
)

// Check is one thing that the doctor looked at.
type Check struct {
	Name  string `json:"name"`
	State string `json:"state" enum:"ok,fail,skipped"`
	Text  string `json:"text" doc:"what was found, a sentence"`
	Hint  string `json:"hint,omitempty" doc:"what to do, where it failed"`
	// Took is in milliseconds; 0 where it is of no interest.
	Took int64 `json:"took_ms,omitempty"`
}

// The states of a [Check].
const (
	CheckOK      = "ok"
	CheckFail    = "fail"
	CheckSkipped = "skipped" // not tried; Text says why
)

// Care looks after the appliance itself. Safe for concurrent use.
type Care interface {
	// Doctor looks at everything that machines need, and plays a machine's firmware against the running appliance.
	Doctor(ctx context.Context) ([]Check, error)
	// Support writes a .tar.gz for whoever helps: versions, settings, the doctor's findings, logs, machines, jobs and
	// decisions, without secrets.
	Support(ctx context.Context, w io.Writer) error
	// Packets writes a pcap file of the last DHCP, TFTP and port 4011 packets of the machine with those MACs and addresses.
	Packets(w io.Writer, macs []inventory.MAC, ips []netip.Addr) error
}

// careAPI registers the doctor, the support bundle and the packets of one host.
func (s *Server) careAPI(a huma.API) {
	op(a, http.MethodPost, "/doctor", "run-doctor", "Look at everything that machines need, and play a machine's firmware against the appliance", s.runDoctor)
	huma.Register(a, huma.Operation{OperationID: "support", Method: http.MethodGet, Path: "/support", Summary: "Download a support bundle",
		Description: "A .tar.gz without secrets: versions, settings, the doctor's findings, the end of the logs, machines, jobs, leases, decisions. It names machines, addresses and serial numbers.",
		Responses:   binary("application/gzip", "the bundle")}, s.sendSupport)
	huma.Register(a, huma.Operation{OperationID: "host-packets", Method: http.MethodGet, Path: "/hosts/{id}/packets", Summary: "Download a host's last DHCP, TFTP and port 4011 packets",
		Description: "A pcap file for Wireshark. The packets of all machines share a small ring, so only the last boots are there; of TFTP data only the beginning of each packet.",
		Responses:   binary("application/vnd.tcpdump.pcap", "the packets")}, s.sendPackets)
}

func binary(kind, what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: what, Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}
}

func (s *Server) care(what string) (Care, error) {
	if s.cfg.Care == nil {
		return nil, fmt.Errorf("%s: this appliance offers none here: %w", what, ErrNotHere)
	}
	return s.cfg.Care, nil
}

func (s *Server) runDoctor(ctx context.Context, _ *none) (*listOut[Check], error) {
	c, err := s.care("self-test")
	if err != nil {
		return nil, err
	}
	if err := s.noteSite(ctx, topicNetwork, "The self-test was run by "+caller(ctx).By+"."); err != nil {
		return nil, err
	}
	checks, err := c.Doctor(ctx)
	return items(checks), err
}

func (s *Server) sendSupport(ctx context.Context, _ *none) (*huma.StreamResponse, error) {
	c, err := s.care("support bundle")
	if err != nil {
		return nil, problem(err)
	}
	if err := s.noteSite(ctx, topicBackup, "A support bundle was downloaded by "+caller(ctx).By+"."); err != nil {
		return nil, problem(err)
	}
	name := "hatchery-support-" + s.cfg.Now().UTC().Format("20060102-150405") + ".tar.gz"
	return s.download("application/gzip", name, func(w io.Writer) error { return c.Support(ctx, w) }), nil
}

func (s *Server) sendPackets(_ context.Context, in *RefIn) (*huma.StreamResponse, error) {
	c, err := s.care("packets")
	if err != nil {
		return nil, problem(err)
	}
	h, err := s.host(in.ID)
	if err != nil {
		return nil, problem(err)
	}
	return s.download("application/vnd.tcpdump.pcap", h.MAC.Hyphens()+".pcap", func(w io.Writer) error { return c.Packets(w, h.MACs, []netip.Addr{h.IP}) }), nil
}

// download streams what write makes as a file of that name; an error in the midst of it ends the connection.
func (s *Server) download(kind, name string, write func(io.Writer) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w := humaecho.Unwrap(hc).Response()
		out, err := startStream(w)
		if err == nil {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
			w.Header().Set("Cache-Control", "no-store")
			err = write(out)
		}
		if err != nil {
			s.log.Error("download", "step", name, "err", err)
		}
	}}
}
