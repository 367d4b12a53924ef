package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/staged-hive/hatchery/inventory"
)

// Job is a job as programs see it.
type Job struct {
	ID          inventory.JobID     `json:"id"`
	HostID      inventory.HostID    `json:"host_id"`
	Host        string              `json:"host" doc:"what the host was called when the job was made or tried again"`
	Kind        inventory.JobKind   `json:"kind"`
	State       inventory.JobState  `json:"state"`
	Role        string              `json:"role"`
	By          string              `json:"by"`
	Step        string              `json:"step"`
	StepNo      int                 `json:"step_no"`
	StepOf      int                 `json:"step_of"`
	StepAgain   bool                `json:"step_again" doc:"the step runs once more because the appliance was restarted; step_no is how far the job was"`
	BlockedOn   string              `json:"blocked_on"`
	Error       string              `json:"error"`
	Hint        string              `json:"hint"`
	PlanID      string              `json:"plan_id"`
	Wrote       bool                `json:"wrote"`
	CancelAsked bool                `json:"cancel_asked"`
	Attempt     int                 `json:"attempt"`
	Past        []inventory.Attempt `json:"past" nullable:"false" doc:"what became of earlier attempts, oldest first"`
	CreatedAt   time.Time           `json:"created_at"`
	StartedAt   time.Time           `json:"started_at,omitzero"`
	EndedAt     time.Time           `json:"ended_at,omitzero"`
}

func jobJSON(j *inventory.Job) Job {
	past := j.Past
	if past == nil {
		past = []inventory.Attempt{}
	}
	return Job{ID: j.ID, HostID: j.HostID, Host: j.Host, Past: past, Kind: j.Kind, State: j.State, Role: j.Role, By: j.By, Step: j.Step, StepNo: j.StepNo,
		StepOf: j.StepOf, StepAgain: j.StepAgain, BlockedOn: j.BlockedOn, Error: j.Error, Hint: j.Hint, PlanID: j.PlanID, Wrote: j.Wrote,
		CancelAsked: j.CancelAsked, Attempt: j.Attempt, CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, EndedAt: j.EndedAt}
}

type rolesOut struct {
	Body struct {
		Items    []inventory.Role `json:"items" nullable:"false"`
		Next     string           `json:"next"`
		Revision string           `json:"revision" doc:"commit of the hive that the roles are of"`
		ReadAt   time.Time        `json:"read_at,omitzero"`
		Error    string           `json:"error" doc:"why the newest revision could not be read; the roles are then the last good ones"`
		Trace    string           `json:"trace" doc:"the end of what the evaluation said about the error, plain text of several lines"`
	}
}

// siteAPI registers what is not about one host.
func (s *Server) siteAPI(a huma.API) {
	op(a, http.MethodGet, "/roles", "list-roles", "List the hive's roles", s.listRoles)
	op(a, http.MethodPost, "/roles/refresh", "refresh-roles", "Read the hive's roles again", func(ctx context.Context, in *none) (*rolesOut, error) {
		if err := s.refreshRoles(ctx); err != nil {
			return nil, err
		}
		return s.listRoles(ctx, in)
	})
	s.fleetAPI(a)
	op(a, http.MethodGet, "/rules/preview", "preview-rules", "What the roles' autoInstall rules would do to every host, in order of host id", func(_ context.Context, in *PageIn) (*listOut[RuleHit], error) {
		return paged(s.rulesPreview(in.Cursor, in.Limit))
	})
	op(a, http.MethodGet, "/jobs", "list-jobs", "List jobs, newest first", s.listJobs)
	op(a, http.MethodGet, "/jobs/{id}", "get-job", "Read a job", s.getJob)
	op(a, http.MethodGet, "/activity", "list-activity", "Read who did what, and what the appliance did by itself, newest first", s.listActivity)
	op(a, http.MethodGet, "/network", "get-network", "What DHCP does and why", func(context.Context, *none) (*struct{ Body NetworkStatus }, error) {
		return &struct{ Body NetworkStatus }{s.network()}, nil
	})
	op(a, http.MethodGet, "/decisions", "list-decisions", "The last DHCP decisions with their reasons, also of silence, newest first", func(context.Context, *none) (*listOut[Decision], error) {
		return items(s.network().Decisions), nil
	})
	op(a, http.MethodGet, "/media", "get-media", "Boot files and stage-0 images", func(context.Context, *none) (*struct{ Body MediaStatus }, error) {
		return &struct{ Body MediaStatus }{s.media()}, nil
	})
	op(a, http.MethodGet, "/warnings", "list-warnings", "What keeps machines from booting or installing", func(context.Context, *none) (*listOut[Warning], error) {
		return items(s.warnings()), nil
	})
	s.leaseAPI(a)
}

type macIn struct {
	MAC string `path:"mac"`
}

type putReservationIn struct {
	MAC  string `path:"mac"`
	Body struct {
		IP       string `json:"ip"`
		Hostname string `json:"hostname,omitempty"`
	}
}

type reservationOut struct{ Body Reservation }

func (s *Server) leaseAPI(a huma.API) {
	op(a, http.MethodGet, "/leases", "list-leases", "List DHCP leases, by their address as text", func(_ context.Context, in *PageIn) (*listOut[Lease], error) {
		return paged(s.leases(in.Cursor, in.Limit))
	})
	op(a, http.MethodGet, "/reservations", "list-reservations", "List reserved addresses, by their MAC", func(_ context.Context, in *PageIn) (*listOut[Reservation], error) {
		return paged(s.reservations(in.Cursor, in.Limit))
	})
	op(a, http.MethodGet, "/reservations/{mac}", "get-reservation", "Read a reserved address", func(_ context.Context, in *macIn) (*reservationOut, error) {
		m, err := parseMAC(in.MAC)
		if err != nil {
			return nil, err
		}
		if s.cfg.Leases == nil {
			return nil, fmt.Errorf("a reservation for %s is %w", m, inventory.ErrNotFound)
		}
		r, err := s.cfg.Leases.Reservation(m)
		return &reservationOut{r}, err
	})
	op(a, http.MethodPut, "/reservations/{mac}", "put-reservation", "Reserve an address for a MAC", func(ctx context.Context, in *putReservationIn) (*reservationOut, error) {
		r, err := parseReservation(in.MAC, in.Body.IP, in.Body.Hostname)
		if err == nil {
			err = s.reserve(ctx, r)
		}
		return &reservationOut{r}, err
	})
	op(a, http.MethodDelete, "/reservations/{mac}", "delete-reservation", "Give a reserved address up", func(ctx context.Context, in *macIn) (*none, error) {
		m, err := parseMAC(in.MAC)
		if err != nil {
			return nil, err
		}
		return nil, s.reserve(ctx, Reservation{MAC: m})
	})
}

func parseMAC(text string) (inventory.MAC, error) {
	m, err := inventory.ParseMAC(strings.TrimSpace(text))
	if err != nil {
		return m, fmt.Errorf("%w: %w", err, inventory.ErrInvalid)
	}
	return m, nil
}

func parseReservation(mac, ip, hostname string) (Reservation, error) {
	m, err := parseMAC(mac)
	if err != nil {
		return Reservation{}, err
	}
	a, err := netip.ParseAddr(strings.TrimSpace(ip))
	if err != nil || !a.Is4() {
		return Reservation{}, fmt.Errorf("address %q: want one IPv4 address like 192.168.1.20: %w", clip(ip, 40), inventory.ErrInvalid)
	}
	return Reservation{MAC: m, IP: a, Hostname: hostname}, inventory.CheckName(hostname)
}

func (s *Server) listRoles(context.Context, *none) (*rolesOut, error) {
	h, err := s.hive()
	if err != nil {
		return nil, err
	}
	out := &rolesOut{}
	out.Body.Items, out.Body.Revision, out.Body.ReadAt, out.Body.Error, out.Body.Trace = sortedRoles(h), h.Revision, h.ReadAt, h.Error, h.Trace
	return out, nil
}

// PageIn asks for one page of a list.
type PageIn struct {
	Cursor string `query:"cursor" doc:"next of the page before; a page may be short, even empty, and have a next one" maxLength:"64"`
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"500"`
}

type jobsIn struct {
	PageIn
	State string `query:"state" enum:"open,queued,running,done,failed,cancelled" doc:"only jobs in that state; open = queued or running"`
	Host  string `query:"host" doc:"only jobs of that host, by id, MAC or name; of a forgotten one by id" maxLength:"128"`
}

func (in *jobsIn) wants(j *inventory.Job) bool {
	state := in.State == "" || string(j.State) == in.State || in.State == "open" && j.Open()
	return state && (in.Host == "" || string(j.HostID) == in.Host)
}

// listJobs is newest first, by id: those sort by when the job was made.
func (s *Server) listJobs(_ context.Context, in *jobsIn) (*listOut[Job], error) {
	out := items([]Job(nil))
	looked, last := 0, inventory.JobID("")
	more := func(j inventory.Job) (bool, error) {
		if len(out.Body.Items) == in.Limit || looked == maxLooks {
			out.Body.Next = string(last)
			return false, nil
		}
		if looked, last = looked+1, j.ID; in.wants(&j) {
			out.Body.Items = append(out.Body.Items, jobJSON(&j))
		}
		return true, nil
	}
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		if h, err := tx.FindHost(in.Host); in.Host != "" && err == nil {
			in.Host = string(h.ID)
		}
		if in.State != "open" {
			return tx.JobsBack(inventory.HostID(in.Host), inventory.JobID(in.Cursor), more)
		}
		open, err := tx.OpenJobs()
		for _, j := range slices.Backward(open) {
			if in.Cursor != "" && string(j.ID) >= in.Cursor {
				continue
			}
			if on, err := more(j); !on {
				return err
			}
		}
		return err
	})
	return out, err
}

type activityIn struct {
	PageIn
	ActivityIn
}

// listActivity is the audit log, newest first.
func (s *Server) listActivity(_ context.Context, in *activityIn) (*listOut[inventory.Entry], error) {
	before, err := parseSeq(in.Cursor)
	if err != nil {
		return nil, err
	}
	var all []inventory.Entry
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		f := in.filter(tx)
		all, err = tx.DiaryFind("", before, in.Limit+1, f.entry)
		return err
	})
	return entriesPage(all, in.Limit), err
}

// entriesPage is a page of a diary; all has one entry more than limit when there is a next page.
func entriesPage(all []inventory.Entry, limit int) *listOut[inventory.Entry] {
	out := items(all)
	if len(all) > limit {
		out.Body.Items = all[:limit]
		out.Body.Next = strconv.FormatUint(all[limit-1].Seq, 10)
	}
	return out
}

// parseSeq reads a cursor that is the number of a diary entry; "" is 0.
func parseSeq(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	seq, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cursor %q: want the next of the page before: %w", clip(cursor, 40), inventory.ErrInvalid)
	}
	return seq, nil
}

func (s *Server) getJob(_ context.Context, in *struct {
	ID string `path:"id" maxLength:"64"`
}) (*struct{ Body Job }, error) {
	out := &struct{ Body Job }{}
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		j, err := tx.Job(inventory.JobID(in.ID))
		out.Body = jobJSON(&j)
		return err
	})
	return out, err
}
