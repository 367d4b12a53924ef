package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/staged-hive/hatchery/inventory"
)

// streamAPI registers the event stream and the log.
func (s *Server) streamAPI(a huma.API) {
	text := func(types ...string) map[string]*huma.Response { return textResponses("a stream", types...) }
	huma.Register(a, huma.Operation{OperationID: "events", Method: http.MethodGet, Path: "/events", Summary: "Follow all changes as server-sent events",
		Description: "Events: host (a host), forgotten ({id}), job (a job), diary (an entry), log (a line of an installer's log: host_id, id, time, step, text). Last-Event-ID resumes; the event resync says that too much was missed: read everything again.",
		Responses:   text("text/event-stream")}, s.events)
	huma.Register(a, huma.Operation{OperationID: "host-log", Method: http.MethodGet, Path: "/hosts/{id}/log", Summary: "Read or follow the log of a host's last job",
		Description: "text/plain by default; application/x-ndjson and text/event-stream (follows) by Accept. It follows as long as the host's job is open.",
		Responses:   text("text/plain", "application/x-ndjson", "text/event-stream")}, s.logStream)
}

// textResponses describes an answer that is text of one of the types.
func textResponses(what string, types ...string) map[string]*huma.Response {
	r := &huma.Response{Description: what, Content: map[string]*huma.MediaType{}}
	for _, t := range types {
		r.Content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return map[string]*huma.Response{"200": r}
}

type eventsIn struct {
	LastEventID string `header:"Last-Event-ID" maxLength:"64"`
	Since       string `query:"since" doc:"as Last-Event-ID, for clients that cannot set headers" maxLength:"64"`
}

func (s *Server) events(_ context.Context, in *eventsIn) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		ctx, cancel := s.whileSignedIn(hc.Context())
		defer cancel()
		out, err := startSSE(humaecho.Unwrap(hc).Response())
		if err == nil {
			err = s.follow(ctx, out, first(in.LastEventID, in.Since))
		}
		s.ended(ctx, "event stream ended", err)
	}}, nil
}

// ended logs why a stream ended, unless its reader went.
func (s *Server) ended(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Debug(what, "err", err)
	}
}

// follow sends every event after the one with the id `last` ("" = from now on).
func (s *Server) follow(ctx context.Context, out *sse, last string) error {
	seq, ok := s.feed.parse(last)
	if !ok {
		seq = s.feed.now()
		name := "hello"
		if last != "" {
			name = "resync"
		}
		if err := out.send(name, s.feed.id(seq), []byte("{}")); err != nil {
			return err
		}
	}
	idle := time.NewTicker(ssePing)
	defer idle.Stop()
	for {
		evs, missed, wake := s.feed.since(seq)
		if missed {
			seq = s.feed.now()
			if err := out.send("resync", s.feed.id(seq), []byte("{}")); err != nil {
				return err
			}
			continue
		}
		for _, ev := range evs {
			if err := out.send(ev.name, s.feed.id(ev.seq), ev.data); err != nil {
				return err
			}
			seq = ev.seq
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-idle.C:
			if err := out.ping(); err != nil {
				return err
			}
		}
	}
}

type logIn struct {
	RefIn
	Accept      string `header:"Accept"`
	LastEventID string `header:"Last-Event-ID" maxLength:"32"`
	After       uint64 `query:"after" doc:"only lines after that id"`
	Follow      string `query:"follow" enum:"auto,true,false" default:"auto" doc:"send new lines as they come; auto = as long as the host's job is open"`
}

func (s *Server) logStream(_ context.Context, in *logIn) (*huma.StreamResponse, error) {
	h, err := s.host(in.ID)
	if err != nil {
		return nil, problem(err)
	}
	if s.cfg.Logs == nil {
		return nil, problem(fmt.Errorf("log of host %s: this appliance installs nothing: %w", h.Label(), ErrNotHere))
	}
	if n, err := strconv.ParseUint(in.LastEventID, 10, 64); err == nil {
		in.After = n
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w := humaecho.Unwrap(hc).Response()
		ctx, cancel := s.whileSignedIn(hc.Context())
		defer cancel()
		s.ended(ctx, "log stream ended", s.sendLog(ctx, w, h.ID, in))
	}}, nil
}

func (s *Server) sendLog(ctx context.Context, w http.ResponseWriter, id inventory.HostID, in *logIn) error {
	if strings.Contains(in.Accept, "text/event-stream") {
		out, err := startSSE(w)
		if err != nil {
			return err
		}
		return s.followLog(ctx, out, id, in.After)
	}
	kind, form := "text/plain; charset=utf-8", func(l LogLine) ([]byte, error) { return logText(l), nil }
	if strings.Contains(in.Accept, "ndjson") {
		kind, form = "application/x-ndjson", func(l LogLine) ([]byte, error) {
			b, err := json.Marshal(l)
			return append(b, '\n'), err
		}
	}
	out, err := startStream(w)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	write := func(l LogLine) error {
		b, err := form(l)
		if err != nil {
			return err
		}
		return out.write(b)
	}
	ctx, open := s.whileOpen(ctx, id, in.Follow)
	if open {
		err := s.cfg.Logs.Follow(ctx, id, in.After, write)
		if ctx.Err() != nil { // the job ended, or the reader went
			return nil
		}
		return err
	}
	last, err := s.cfg.Logs.Tail(id, 1)
	if err != nil || len(last) == 0 || last[0].ID <= in.After {
		return err
	}
	err = s.cfg.Logs.Follow(ctx, id, in.After, func(l LogLine) error {
		if err := write(l); err != nil || l.ID < last[0].ID {
			return err
		}
		return errLogRead
	})
	if errors.Is(err, errLogRead) {
		return nil
	}
	return err
}

// errLogRead ends the reading of a log that is not to be followed, at its last line.
var errLogRead = errors.New("the log was read")

// whileOpen is a context that ends once the host has no open job; false when there is nothing to wait for.
// follow is "auto", "true" (until the reader goes) or "false".
func (s *Server) whileOpen(ctx context.Context, id inventory.HostID, follow string) (context.Context, bool) {
	if follow == "true" || follow == "false" {
		return ctx, follow == "true"
	}
	busy := func() bool {
		h, err := s.host(string(id))
		return err == nil && (h.State == inventory.StateQueued || h.State == inventory.StateInstalling)
	}
	if !busy() {
		return ctx, false
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for {
			_, _, wake := s.feed.since(s.feed.now())
			if !busy() {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-wake:
			}
		}
	}()
	return ctx, true
}

// followLog sends a host's log lines as events; the data is the line as JSON.
func (s *Server) followLog(ctx context.Context, out *sse, id inventory.HostID, after uint64) error {
	if err := out.retry(); err != nil {
		return err
	}
	lines := make(chan LogLine)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		done <- s.cfg.Logs.Follow(ctx, id, after, func(l LogLine) error {
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	idle := time.NewTicker(ssePing)
	defer idle.Stop()
	for {
		var err error
		select {
		case l := <-lines:
			var b []byte
			if b, err = json.Marshal(l); err == nil {
				err = out.send("line", strconv.FormatUint(l.ID, 10), b)
			}
		case <-idle.C:
			err = out.ping()
		case err := <-done:
			return err
		}
		if err != nil {
			cancel()
			<-done
			return err
		}
	}
}
