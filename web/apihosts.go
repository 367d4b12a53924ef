package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/staged-hive/hatchery/inventory"
)

// errStale says that If-Match names another version of the host than the stored one.
var errStale = errors.New("changed since it was read")

type hostOut struct {
	ETag string `header:"ETag"`
	Body Host
}

type createdOut struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     Host
}

func (s *Server) hostOut(h inventory.Host, err error) (*hostOut, error) {
	if err != nil {
		return nil, err
	}
	return &hostOut{ETag: etag(h.Revision), Body: s.hostJSON(&h)}, nil
}

func etag(rev uint64) string { return `"` + strconv.FormatUint(rev, 10) + `"` }

type hostsIn struct {
	PageIn
	State string `query:"state" doc:"only hosts in that state" enum:"expected,seen,booting,ready,queued,installing,installed,failed,ignored"`
	Name  string `query:"name" doc:"only the host of that name" maxLength:"63"`
}

type announceIn struct {
	Body struct {
		MAC    string `json:"mac,omitempty"`
		UUID   string `json:"uuid,omitempty" maxLength:"64"`
		Serial string `json:"serial,omitempty" maxLength:"256"`
		Name   string `json:"name,omitempty"`
		Role   string `json:"role,omitempty"`
	}
}

// IfMatchIn makes an act depend on the version that was read. It is exported because huma reads parameters of exported fields alone.
type IfMatchIn struct {
	IfMatch string `header:"If-Match" doc:"the ETag of the version that was read; the change is refused when it is another by now" maxLength:"256"`
}

type putHostIn struct {
	RefIn
	IfMatchIn
	Body struct {
		Name       *string           `json:"name,omitempty" doc:"a host name; left out = as it is"`
		Role       *string           `json:"role,omitempty" doc:"of the hive; giving one to a host that was never installed makes its job"`
		Pins       map[string]string `json:"pins,omitempty" doc:"slot → disk id"`
		KernelArgs *string           `json:"kernel_args,omitempty"`
		Notes      *string           `json:"notes,omitempty" doc:"what people want to remember of it" maxLength:"2000"`
		Address    *Address          `json:"address,omitempty" doc:"the fixed address of the installed system; k3s servers need one"`
	}
}

// match compares If-Match with a host as it is stored; nil = there is none yet (RFC 9110 §13.1.1).
func (in *IfMatchIn) match(h *inventory.Host) error {
	if in.IfMatch == "" {
		return nil
	}
	if h == nil {
		return fmt.Errorf("there is no such host yet, so no version of it either; leave If-Match out to announce it: %w", errStale)
	}
	for m := range strings.SplitSeq(in.IfMatch, ",") {
		if m = strings.TrimSpace(m); m == "*" || m == etag(h.Revision) {
			return nil
		}
	}
	return fmt.Errorf("host %s has version %s, not %s; read it again: %w", h.Label(), etag(h.Revision), clip(in.IfMatch, 40), errStale)
}

type diaryIn struct {
	RefIn
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"64"`
	After  uint64 `query:"after" doc:"only entries after that seq"`
	Limit  int    `query:"limit" default:"500" minimum:"1" maximum:"1000"`
}

// hostAPI registers what reads and changes hosts.
func (s *Server) hostAPI(a huma.API) {
	op(a, http.MethodGet, "/hosts", "list-hosts", "List hosts", s.listHosts)
	op(a, http.MethodGet, "/hosts/{id}", "get-host", "Read a host", func(_ context.Context, in *RefIn) (*hostOut, error) {
		return s.hostOut(s.host(in.ID))
	})
	op(a, http.MethodPost, "/hosts", "announce-host", "Announce a host by MAC, UUID or serial before it exists", s.announce)
	op(a, http.MethodPut, "/hosts/{id}", "put-host", "Name a host, give it a role", s.putHost)
	op(a, http.MethodDelete, "/hosts/{id}", "forget-host", "Forget a host", func(ctx context.Context, in *struct {
		RefIn
		IfMatchIn
	}) (*none, error) {
		return nil, s.forget(ctx, in.ID, in.IfMatchIn)
	})
	op(a, http.MethodGet, "/hosts/{id}/hardware", "host-hardware", "Read nixos-facter's report of an installed host", s.hardware)
	op(a, http.MethodGet, "/hosts/{id}/events", "host-events", "Read a host's boot diary, oldest first", s.hostEvents)
}

func (s *Server) listHosts(_ context.Context, in *hostsIn) (*listOut[Host], error) {
	out := items([]Host(nil))
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		if in.Name != "" {
			h, err := tx.HostByName(in.Name)
			if errors.Is(err, inventory.ErrNotFound) {
				return nil
			}
			if err == nil && (in.State == "" || string(h.State) == in.State) {
				out.Body.Items = append(out.Body.Items, s.hostJSON(&h))
			}
			return err
		}
		for after, looked := inventory.HostID(in.Cursor), 0; ; looked += in.Limit {
			if looked >= maxLooks {
				out.Body.Next = string(after)
				return nil
			}
			hosts, next, err := tx.Hosts(after, in.Limit)
			if err != nil {
				return err
			}
			for i, h := range hosts {
				if in.State != "" && string(h.State) != in.State {
					continue
				}
				out.Body.Items = append(out.Body.Items, s.hostJSON(&h))
				if len(out.Body.Items) == in.Limit {
					if i < len(hosts)-1 || next != "" {
						out.Body.Next = string(h.ID)
					}
					return nil
				}
			}
			if next == "" {
				return nil
			}
			after = next
		}
	})
	return out, err
}

func (s *Server) announce(ctx context.Context, in *announceIn) (*createdOut, error) {
	b := in.Body
	an := inventory.Announce{UUID: inventory.Clean(b.UUID, 64), Serial: inventory.Clean(b.Serial, inventory.MaxFactLen), Name: b.Name, Role: b.Role}
	if b.MAC != "" {
		m, err := inventory.ParseMAC(b.MAC)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, inventory.ErrInvalid)
		}
		an.MAC = m
	}
	h, err := s.expect(ctx, an)
	if err != nil {
		return nil, err
	}
	return &createdOut{Location: "/api/v1/hosts/" + string(h.ID), ETag: etag(h.Revision), Body: s.hostJSON(&h)}, nil
}

func (s *Server) putHost(ctx context.Context, in *putHostIn) (*hostOut, error) {
	b := in.Body
	addr, err := b.Address.parse()
	if err != nil {
		return nil, err
	}
	return s.hostOut(s.assign(ctx, in.ID, inventory.Assignment{Name: b.Name, Role: b.Role, KernelArgs: b.KernelArgs, Notes: b.Notes, Pins: b.Pins, Address: addr}, in.IfMatchIn))
}

func (s *Server) hostEvents(_ context.Context, in *diaryIn) (*listOut[inventory.Entry], error) {
	after, err := parseSeq(in.Cursor)
	if err != nil {
		return nil, err
	}
	var entries []inventory.Entry
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.FindHost(in.ID)
		if err != nil {
			return err
		}
		entries, err = tx.Diary(h.ID, max(after, in.After), in.Limit+1)
		return err
	})
	return entriesPage(entries, in.Limit), err
}
