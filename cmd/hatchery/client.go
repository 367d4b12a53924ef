package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/staged-hive/hatchery/internal/tlspin"
)

// errNoAppliance says that nothing listens on the data folder's socket.
var errNoAppliance = errors.New("no appliance answers")

// remote says how the other commands reach the appliance.
type remote struct {
	data      string // its data folder, when it is this machine
	server    string // its URL, when it is another
	tokenFile string // token, and on a second line the certificate's pin
	json      bool
}

func (r *remote) bind(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&r.data, "data", defaultSettings().Data, "the appliance's data folder, on the appliance itself")
	f.StringVar(&r.server, "server", "", "the appliance's URL, from another machine")
	f.StringVar(&r.tokenFile, "token-file", "", "file with an API token and, on a second line, the certificate's pin (see `hatchery token`)")
	f.BoolVar(&r.json, "json", false, "print the API's JSON")
}

// problem is an RFC 9457 problem document.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

func (p problem) Error() string {
	words := p.Detail
	if words == "" {
		words = p.Title
	}
	for _, e := range p.Errors {
		if !strings.Contains(words, e.Message) {
			words += ": " + e.Message
		}
	}
	return words
}

// exitCode is what the program ends with for that answer: a refusal and a failure are told apart.
func (p problem) exitCode() int {
	switch {
	case p.Status == http.StatusNotFound:
		return exitNotFound
	case p.Status >= 400 && p.Status < 500, p.Status == http.StatusNotImplemented:
		return exitRefused
	}
	return exitError
}

// client is an HTTP client for the appliance and the prefix of its URLs.
func (r *remote) client() (*http.Client, string, string, error) {
	if r.server == "" {
		sock := filepath.Join(r.data, "hatchery.sock")
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", sock)
			if err != nil {
				return nil, fmt.Errorf("%w at %s: start it with `hatchery serve`, or name another with --server URL --token-file F: %w", errNoAppliance, sock, err)
			}
			return conn, nil
		}}
		return &http.Client{Transport: tr}, "http://localhost", "", nil
	}
	if r.tokenFile == "" {
		return nil, "", "", usageError{errors.New("--server needs --token-file: make one on the appliance with `hatchery token`")}
	}
	raw, err := os.ReadFile(r.tokenFile)
	if err != nil {
		return nil, "", "", fmt.Errorf("token file: %w", err)
	}
	lines := strings.Fields(string(raw))
	if len(lines) == 0 {
		return nil, "", "", fmt.Errorf("token file %s is empty", r.tokenFile)
	}
	server := strings.TrimRight(r.server, "/")
	conf := &tls.Config{MinVersion: tls.VersionTLS12} // no pin: a certificate that this machine trusts by itself
	if len(lines) > 1 {
		pin, err := tlspin.Parse(lines[1])
		if err != nil {
			return nil, "", "", fmt.Errorf("token file %s: %w", r.tokenFile, err)
		}
		if !strings.HasPrefix(server, "https://") {
			return nil, "", "", usageError{fmt.Errorf("--server %s: the token file pins a certificate, so want https://ADDRESS:8443", r.server)}
		}
		conf = pin.Config()
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment}}, server, lines[0], nil
}

// pinHelp says what to do when the appliance shows another certificate than the pinned one.
const pinHelp = "if its certificate was replaced by one with another key, make a new token file on the appliance itself (`hatchery token`); otherwise somebody else answers there"

// do sends one request; body nil = none. A status of 400 and more is an error in the appliance's words.
func (r *remote) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	return r.send(ctx, method, path, body, 0)
}

// get reads from an offset on; the status tells whether it could: 206, or 416 when nothing is left.
func (r *remote) get(ctx context.Context, path string, offset int64) (*http.Response, error) {
	return r.send(ctx, http.MethodGet, path, nil, offset)
}

func (r *remote) send(ctx context.Context, method, path string, body any, offset int64) (*http.Response, error) {
	client, base, token, err := r.client()
	if err != nil {
		return nil, err
	}
	send, raw := body.(io.Reader) // else JSON
	if body != nil && !raw {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+"/api/v1"+path, send)
	if err != nil {
		return nil, err
	}
	if raw {
		req.Header.Set("Content-Type", "application/octet-stream")
	} else if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := client.Do(req)
	if errors.Is(err, tlspin.ErrOther) {
		err = fmt.Errorf("%w: %s", err, pinHelp)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 400 || res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return res, nil
	}
	defer res.Body.Close()
	var p problem
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&p); err != nil || p.Title == "" && p.Detail == "" {
		p.Detail = fmt.Sprintf("%s %s: the appliance answered %s", method, path, res.Status)
	}
	p.Status = res.StatusCode
	return nil, p
}

// call sends one request and decodes its JSON answer into out (nil = ignore it).
func (r *remote) call(ctx context.Context, method, path string, body, out any) error {
	res, err := r.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil || res.StatusCode == http.StatusNoContent {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// items reads every page of a list.
func (r *remote) items(ctx context.Context, path string) ([]map[string]any, error) {
	return r.newest(ctx, path, 0)
}

// newest reads a list until it has limit items, 0 = all. The order is the list's.
func (r *remote) newest(ctx context.Context, path string, limit int) ([]map[string]any, error) {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	var all []map[string]any
	for next := ""; ; {
		var page struct {
			Items []map[string]any `json:"items"`
			Next  string           `json:"next"`
		}
		at := path
		if next != "" {
			at += sep + "cursor=" + url.QueryEscape(next)
		}
		if err := r.call(ctx, http.MethodGet, at, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if limit > 0 && len(all) >= limit {
			return all[:limit], nil
		}
		if page.Next == "" {
			return all, nil
		}
		next = page.Next
	}
}

// show prints an answer: as JSON when asked to, else one `key: value` line each.
func (r *remote) show(w io.Writer, v map[string]any, keys ...string) error {
	if r.json {
		return printJSON(w, v)
	}
	for _, k := range keys {
		if s := tell(v[k]); s != "" {
			if _, err := fmt.Fprintf(w, "%-14s %s\n", strings.ReplaceAll(k, "_", " ")+":", s); err != nil {
				return err
			}
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// cell is a value in a table: words without control characters.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return strings.Map(func(c rune) rune {
			if !unicode.IsPrint(c) { // of C1 controls terminals take orders too
				return ' '
			}
			return c
		}, v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case float64:
		return fmt.Sprintf("%.0f", v)
	case []any:
		words := make([]string, len(v))
		for i, e := range v {
			words[i] = cell(e)
		}
		return strings.Join(words, ", ")
	}
	raw, _ := json.Marshal(v)
	return cell(string(raw))
}

// tell is a cell for people: a moment is shown by this machine's clock, to the second.
func tell(v any) string {
	s := cell(v)
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.Local().Format(time.DateTime)
	}
	return s
}

// follow copies a stream of server-sent events or lines to w until it ends.
func follow(w io.Writer, body io.Reader) error {
	sc := bufio.NewScanner(body)
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if data, is := strings.CutPrefix(line, "data: "); is {
			line = data
		} else if line == "" || strings.HasPrefix(line, ":") || strings.HasPrefix(line, "id:") || strings.HasPrefix(line, "event:") {
			continue
		}
		if _, err := fmt.Fprintln(w, cell(line)); err != nil {
			return err
		}
	}
	return sc.Err()
}
