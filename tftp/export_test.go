package tftp

import (
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

type spyFS func(name string)

// Open implements fs.FS.
func (s spyFS) Open(name string) (fs.File, error) {
	s(name)
	return nil, fs.ErrNotExist
}

// OpenForTest looks a name up and tells which file of the directory was opened for it.
func OpenForTest(opened func(string), name string) {
	s := &Server{cfg: Config{Files: spyFS(opened), HTTPPort: 80, Log: slog.New(slog.DiscardHandler)}, warn: rate.NewLimiter(0, 0)}
	s.cfg.Now = time.Now
	if body, _, err := s.open(name, netip.MustParseAddr("192.0.2.1")); err == nil {
		_ = body.Close()
	}
}
