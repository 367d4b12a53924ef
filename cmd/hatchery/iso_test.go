package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// isoServer answers on a data folder's socket like an appliance that made one image; asked gets every Range.
func isoServer(t *testing.T, content []byte, published string) (data string, asked *[]string) {
	t.Helper()
	data, err := os.MkdirTemp("/tmp", "hc") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(data, "hatchery.sock"))
	if err != nil {
		t.Fatal(err)
	}
	asked = &[]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/isos", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"items":[{"id":"abc","sha256":%q}]}`, published)
	})
	mux.HandleFunc("GET /api/v1/isos/abc", func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-ended
	})
	return data, asked
}

func TestISODownload(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	sum := sha256.Sum256(content)
	right := hex.EncodeToString(sum[:])
	for _, c := range []struct {
		name      string
		there     []byte // of an earlier try
		published string
		code      int
		says      string
		asked     string
		whole     bool
	}{
		{"a new one", nil, right, 0, "is whole", "", true},
		{"goes on where it broke off", content[:70_001], right, 0, "is whole", "bytes=70001-", true},
		{"everything was there but the new name", content, right, 0, "is whole", "bytes=160000-", true},
		{"an earlier try of another image", []byte("something else"), right, 1, "not the published", "bytes=14-", false},
		{"bytes that are not the published ones", nil, strings.Repeat("0", 64), 1, "not the published", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data, asked := isoServer(t, content, c.published)
			file := filepath.Join(data, "stick.iso")
			if c.there != nil {
				put(t, data, map[string]string{"stick.iso.part": string(c.there)})
			}
			var out, errs bytes.Buffer
			code := run(context.Background(), []string{"iso", "download", "abc", file, "--data", data}, &out, &errs)
			if all := out.String() + errs.String(); code != c.code || !strings.Contains(all, c.says) || strings.Join(*asked, " ") != c.asked {
				t.Errorf("exit code %d, asked for %q, said: %s", code, *asked, all)
			}
			got, err := os.ReadFile(file)
			if c.whole != (err == nil && bytes.Equal(got, content)) {
				t.Errorf("the file: %d bytes, %v", len(got), err)
			}
			if _, err := os.Stat(file + ".part"); !os.IsNotExist(err) {
				t.Errorf("the part is left: %v", err)
			}
		})
	}
	data, _ := isoServer(t, content, right)
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"iso", "download", "nope", "x", "--data", data}, &out, &errs); code != exitNotFound {
		t.Errorf("an unknown id: exit code %d, %s", code, errs.String())
	}
}
