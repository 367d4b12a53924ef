package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// headMost is how much of the body that nobody gets a HEAD has made for its Content-Length, in bytes.
const headMost = 1 << 20

// answerHead lets HEAD have what GET would say, without the body (RFC 9110 §9.3.2). Routes of e with a HEAD of their own
// keep it.
func answerHead(e *echo.Echo, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || hasHead(e, r) {
			h.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		get := r.WithContext(ctx) // net/http keeps the HEAD, and so drops the body
		get.Method = http.MethodGet
		h.ServeHTTP(&headWriter{ResponseWriter: w, cancel: cancel}, get)
	})
}

// hasHead reports whether the path has a route for HEAD.
func hasHead(e *echo.Echo, r *http.Request) bool {
	c := e.NewContext(nil, nil)
	e.Router().Find(http.MethodHead, echo.GetPath(r), c)
	for _, route := range e.Routes() {
		if route.Method == http.MethodHead && route.Path == c.Path() {
			return true
		}
	}
	return false
}

// headWriter ends what goes on for ever: a stream at its first flush, and a long download.
type headWriter struct {
	http.ResponseWriter
	cancel context.CancelFunc
	n      int
}

var errHeadOnly = errors.New("only the head was asked for")

func (w *headWriter) Write(b []byte) (int, error) {
	if w.n += len(b); w.n > headMost {
		w.cancel()
		return 0, errHeadOnly
	}
	return w.ResponseWriter.Write(b)
}

// FlushError sends the head and ends the request.
func (w *headWriter) FlushError() error {
	defer w.cancel()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
