package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// stream is an answer that stays open. Used by one goroutine.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// streamWrite is how long a reader may take to accept what is written before it is dropped.
const streamWrite = 20 * time.Second

// startStream lifts the server's limits on how long a request may take. The read limit too: when it
// passes, net/http ends the request's context, whatever the handler does.
func startStream(w http.ResponseWriter) (*stream, error) {
	s := &stream{w: w, rc: http.NewResponseController(w)}
	if err := errors.Join(s.rc.SetReadDeadline(time.Time{}), s.rc.SetWriteDeadline(time.Time{})); err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	return s, nil
}

// write sends b at once, or fails after streamWrite. The limit is lifted in between: HTTP/2 ends an idle stream at its limit.
func (s *stream) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	return s.rc.SetWriteDeadline(time.Time{})
}

// Write implements io.Writer, for long downloads.
func (s *stream) Write(b []byte) (int, error) { return len(b), s.write(b) }

// sse writes one stream of server-sent events (HTML Living Standard §9.2).
type sse struct{ *stream }

// ssePing is how often an idle stream says that it is alive.
const ssePing = 15 * time.Second

func startSSE(w http.ResponseWriter) (*sse, error) {
	s, err := startStream(w)
	if err != nil {
		return nil, err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return &sse{s}, nil
}

// retry tells a browser to come back after a second when the connection breaks, as in a restart.
func (s *sse) retry() error { return s.write([]byte("retry: 1000\n\n")) }

// send writes one event; empty name and id are left out.
func (s *sse) send(name, id string, data []byte) error {
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	if name != "" {
		fmt.Fprintf(&b, "event: %s\n", name)
	}
	for line := range bytes.Lines(data) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	if len(data) == 0 {
		b.WriteString("data:\n")
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// ping keeps the connection alive through proxies and finds dead readers.
func (s *sse) ping() error { return s.write([]byte(":\n\n")) }
