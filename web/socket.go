package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const socketName = "hatchery.sock"

// listenSocket makes DIR/hatchery.sock, which nobody but the owner can open at any moment: it is bound
// inside a private folder and moved into place. One left by a killed appliance is replaced; that no
// other one runs on the same directory is the database's lock to say.
func listenSocket(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketName)
	private, err := os.MkdirTemp(dir, ".s")
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	defer os.RemoveAll(private)
	tmp := filepath.Join(private, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket %s (a path of more than about 100 characters is not possible): %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return ln, nil
}

type localKey struct{}

// isLocal reports whether the request came through the socket: whoever can open it owns the appliance.
func isLocal(ctx context.Context) bool { return ctx.Value(localKey{}) != nil }

// local is what the socket serves: the API without a token, no pages.
func (s *Server) local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; !strings.HasPrefix(p, "/api/v1/") && p != "/healthz" && p != "/metrics" && p != "/openapi.json" {
			http.NotFound(w, r)
			return
		}
		s.echo.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), localKey{}, true)))
	})
}
