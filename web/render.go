package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

//go:embed templates static
var files embed.FS

// asset is one static file with the hash that its address carries.
type asset struct {
	body []byte
	zip  []byte // the same, compressed
	kind string
	hash string
}

type assets map[string]asset

// kinds are the content types of our static files: package mime reads the machine's tables, which take half a megabyte and may differ.
var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func loadAssets() (assets, error) {
	out := assets{}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return nil, fmt.Errorf("static files: %w", err)
	}
	for _, e := range entries {
		b, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("static files: %w", err)
		}
		z, err := zip(b, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		out[e.Name()] = asset{body: b, zip: z, kind: kinds[path.Ext(e.Name())], hash: hex.EncodeToString(sum[:6])}
	}
	return out, nil
}

// url is the address of a static file; it changes with its content.
func (a assets) url(name string) (string, error) {
	f, ok := a[name]
	if !ok {
		return "", fmt.Errorf("static file %s is not there", name)
	}
	return "/static/" + name + "?v=" + f.hash, nil
}

func (s *Server) static(c echo.Context) error {
	f, ok := s.assets[c.Param("name")]
	if !ok {
		return echo.ErrNotFound
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if c.QueryParam("v") != f.hash {
		h.Set("Cache-Control", "no-cache")
	}
	h.Set("Content-Type", f.kind)
	h.Set("ETag", `"`+f.hash+`"`)
	h.Add("Vary", "Accept-Encoding")
	body := f.body
	if takesGzip(c.Request()) {
		h.Set("Content-Encoding", "gzip")
		body = f.zip
	}
	http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(body))
	return nil
}

// pages are the templates. What all pages share is parsed at the start, each page's own when it is first shown: most appliances
// run for weeks with nobody looking, and what is kept of all pages takes a megabyte.
type pages struct {
	shared *template.Template

	mu   sync.Mutex
	page map[string]*template.Template
}

func parsePages(a assets) (*pages, error) {
	fm := template.FuncMap{"asset": a.url, "memory": memoryText, "asked": asked, "disk": diskText, "ago": agoText, "span": durationText,
		"plural": plural, "clock": func(t time.Time) string { return t.Format("15:04:05") },
		"iso": isoText, "day": dayText,
		"date": func(t time.Time) string { return t.Format("2 Jan 2006") },
		"when": func(t, now time.Time) when { return when{t, now} },
		"join": strings.Join, "prose": prose, "kind": kindText, "askField": askField, "bindingField": bindingField, "askFormat": newFormatAsk,
		"askSerials": func(p *machinePage, act string) serialsAsk { return serialsAsk{p, act} },
		"opener":     func(path, id, text string) dialogOpener { return dialogOpener{path, id, text} },
		"size":       func(n int64) string { return diskText(uint64(max(n, 0))) }}
	shared, err := template.New("").Funcs(fm).ParseFS(files, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	return &pages{shared: shared, page: map[string]*template.Template{}}, nil
}

// of is the template of a page; "" = what all share.
func (p *pages) of(page string) (*template.Template, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.page[page]; t != nil {
		return t, nil
	}
	t, err := p.shared.Clone()
	if err == nil && page != "" {
		t, err = t.ParseFS(files, "templates/"+page+".html")
	}
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", page, err)
	}
	p.page[page] = t
	return t, nil
}

// execute renders a template of a page.
func (p *pages) execute(page, name string, data any) ([]byte, error) {
	t, err := p.of(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

func isoText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func dayText(t time.Time) string { return t.Format("Mon 2 Jan 2006, 15:04:05 MST") }

// when is a moment, shown as how long ago it was.
type when struct{ T, Now time.Time }

// base is what every page has.
type base struct {
	Title, Nav string
	Version    string
	Theme      string // "", "light", "dark"
	Now        time.Time
	Back       string // the page itself, for forms that come back to it
	Live       string // address of the page's stream, "" = none
	Flash      string // a sentence about what was just done
	Open       bool   // nobody is signed in: no menu
	Strip      *strip // jobs under way, nil = not shown
}

func (s *Server) base(c echo.Context, title, nav string) base {
	b := base{Title: title, Nav: nav, Version: s.cfg.Version, Now: s.cfg.Now(), Back: c.Request().URL.RequestURI(), Open: nav == ""}
	if k, err := c.Cookie("theme"); err == nil && (k.Value == "light" || k.Value == "dark") {
		b.Theme = k.Value
	}
	return b
}

func (s *Server) render(c echo.Context, code int, page string, data any) error {
	b, err := s.pages.execute(page, "layout", data)
	if err != nil {
		return fmt.Errorf("page %s: %w", page, err)
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return sendHTML(c, code, b)
}

// fragment renders one part of a page.
func (s *Server) fragment(page, name string, data any) ([]byte, error) {
	b, err := s.pages.execute(page, name, data)
	if err != nil {
		return nil, fmt.Errorf("fragment %s of page %s: %w", name, page, err)
	}
	return bytes.TrimSpace(b), nil
}
