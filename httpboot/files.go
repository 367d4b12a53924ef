package httpboot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// download is one file on its way out.
type download struct {
	name    string
	size    int64
	modTime time.Time
	etag    string
	body    io.ReadSeeker
	more    string // what is said of what follows it, "" = nothing
	// watch is called when the next n bytes of body are about to go out; nil = nobody wants to know how far they are.
	watch func(n int64) *transfer
}

// bootFile answers GET and HEAD /ipxe/NAME.
func (s *Server) bootFile(c echo.Context) error {
	name := c.Param("name")
	if name == bootfile.AutoexecIPXE {
		return s.autoexec(c)
	}
	if !bootfile.Known(name) || s.cfg.Files == nil {
		return echo.NewHTTPError(http.StatusNotFound, "no such boot file")
	}
	f, err := s.cfg.Files.Open(bootfile.OnDisk(name))
	if errors.Is(err, fs.ErrNotExist) {
		s.warnf("boot file missing", "err", fmt.Errorf("%s is not in the directory of --ipxe: put Debian trixie's iPXE files there", bootfile.OnDisk(name)))
		return echo.NewHTTPError(http.StatusNotFound, name+" is missing on the appliance: its media page says how to get it")
	}
	if err != nil {
		return fmt.Errorf("boot file %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	body, ok := f.(io.ReadSeeker)
	if err != nil || !ok {
		return fmt.Errorf("boot file %s: cannot be read: %w", name, err)
	}
	s.serve(c, download{name: name, size: st.Size(), modTime: st.ModTime(), etag: etag(st), body: body})
	return nil
}

// etag tells a file from the one that takes its place, of the same size too: in a Nix store all are from 1970.
func etag(st fs.FileInfo) string {
	tag := fmt.Sprintf("%x-%x", st.Size(), st.ModTime().UnixNano())
	if on, ok := st.Sys().(*syscall.Stat_t); ok {
		tag += fmt.Sprintf("-%x-%x", on.Ino, on.Ctim.Nano())
	}
	return `"` + tag + `"`
}

// stage0File answers GET and HEAD /stage0/ARCH/FILE; ?v=DIGEST asks for one version, which a
// machine in the middle of a boot goes on with when another one was put in meanwhile.
func (s *Server) stage0File(c echo.Context) error {
	arch, name, v := c.Param("arch"), c.Param("file"), c.QueryParam("v")
	im, err := s.cfg.Stage0.Image(arch)
	if v != "" && (err != nil || im.Digest != v) {
		im, err = s.cfg.Stage0.ByDigest(arch, v)
	}
	if err != nil {
		return echo.NewHTTPError(http.StatusNotFound, err.Error())
	}
	if name == stage0.ManifestName {
		sum := sha256.Sum256(im.Raw)
		c.Response().Header().Set("Content-Type", "application/json")
		s.serve(c, download{name: name, size: int64(len(im.Raw)), modTime: im.Files[im.Kernel].ModTime, etag: fmt.Sprintf(`"%x"`, sum), body: bytes.NewReader(im.Raw)})
		return nil
	}
	file, ok := im.Files[name]
	if !ok {
		return echo.NewHTTPError(http.StatusNotFound, "no such file in the stage-0 image")
	}
	f, err := file.Open()
	if err != nil {
		s.cfg.Log.Error("stage-0 file", "arch", arch, "err", err)
		return echo.NewHTTPError(http.StatusServiceUnavailable, err.Error())
	}
	defer func() { _ = f.Close() }()
	more := ""
	if name == im.Kernel {
		more = initrdNext
	}
	s.serve(c, download{name: name, size: file.Size, modTime: file.ModTime, etag: `"` + file.SHA256 + `"`, body: f, more: more, watch: func(n int64) *transfer {
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil
		}
		from, _ := endpoints(c.Request())
		return s.loads.start(from, im.Digest, name, f, socketOf(c.Request()), span{at, at + n})
	}})
	return nil
}

// serve streams a file (Range, ETag, HEAD by net/http) and notes it in the diary once it is complete.
func (s *Server) serve(c echo.Context, d download) {
	start := s.cfg.Now()
	h := c.Response().Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("ETag", d.etag)
	// echo's Response would copy through a buffer; net/http's own writer uses sendfile.
	w := &fileWriter{ResponseWriter: c.Response().Writer, control: http.NewResponseController(c.Response().Writer), watch: d.watch}
	c.Response().Committed = true
	defer func() { s.loads.stop(w.watched, w.sent, c.Request().Close) }()
	http.ServeContent(w, c.Request(), d.name, d.modTime, d.body)
	if c.Request().Method == http.MethodHead || w.sent == 0 {
		return
	}
	s.count.bytes.Add(uint64(w.sent))
	from, _ := endpoints(c.Request())
	took := s.cfg.Now().Sub(start)
	if !complete(h, d.size, w.sent) {
		s.cfg.Log.Debug("download ended early", "ip", from, "file", d.name, "bytes", w.sent, "dur", took)
		return
	}
	s.count.downloads.Add(1)
	s.noteFile(c.Request(), d, w.sent, took)
}

// complete reports whether the answer with these headers took the file to its end.
func complete(h http.Header, size, sent int64) bool {
	r := h.Get("Content-Range")
	if r == "" {
		return sent == size
	}
	var first, last int64
	_, err := fmt.Sscanf(r, "bytes %d-%d/", &first, &last)
	return err == nil && last == size-1 && sent == last-first+1
}

func (s *Server) noteFile(r *http.Request, d download, sent int64, took time.Duration) {
	from, _ := endpoints(r)
	err := inventory.NoteFrom(s.cfg.Store, s.cfg.Neighbor, inventory.Entry{Time: s.cfg.Now(), Kind: "http.file", By: byAgent(r), From: from,
		Bytes: sent, Duration: took, Text: fmt.Sprintf("Loaded %s by HTTP: %s in %.1f s%s.", d.name, mb(sent), took.Seconds(), d.more)})
	if err != nil {
		s.cfg.Log.Error("noting a download", "ip", from, "err", err)
	}
}

// Downloads go out in pieces, each with a deadline of its own: a machine on a slow link
// takes as long as it needs, one that stopped reading is let go.
const (
	pieceBytes = 4 << 20
	pieceTime  = 2 * time.Minute
)

// fileWriter counts what goes out and keeps ReadFrom, and with it sendfile(2).
type fileWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	sent    int64
	watch   func(n int64) *transfer // of the download; nil once called, or when nobody watches
	watched *transfer
}

// Write implements io.Writer.
func (w *fileWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(pieceTime))
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom; net/http passes an io.LimitedReader over the file.
func (w *fileWriter) ReadFrom(r io.Reader) (int64, error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	src, limited := r.(*io.LimitedReader)
	if !limited {
		src = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	if w.watch != nil && limited {
		w.watched, w.watch = w.watch(src.N), nil
	}
	var total int64
	for src.N > 0 {
		_ = w.control.SetWriteDeadline(time.Now().Add(pieceTime))
		piece := io.LimitedReader{R: src.R, N: min(src.N, pieceBytes)}
		n, err := rf.ReadFrom(&piece)
		total, w.sent, src.N = total+n, w.sent+n, src.N-n
		if err != nil || piece.N > 0 { // failed, or the source ended
			return total, err
		}
	}
	return total, nil
}
