package web

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// sse writes one stream of server-sent events (HTML Living Standard §9.2). Used by one goroutine.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

const (
	// sseWrite is how long a reader may take to accept one event before it is dropped.
	sseWrite = 20 * time.Second
	// ssePing is how often an idle stream says that it is alive.
	ssePing = 15 * time.Second
)

func startSSE(w http.ResponseWriter) *sse {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return &sse{w: w, rc: http.NewResponseController(w)}
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

func (s *sse) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(sseWrite)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
