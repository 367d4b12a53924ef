package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// appliance is the running `hatchery serve`.
type appliance struct {
	lan  *lab.LAN
	proc *lab.Process
	data string
	addr string
	log  string
	http *http.Client
}

// connect makes a client that trusts the appliance's certificate alone, and tries it.
func (a *appliance) connect(ctx context.Context) error {
	cert, err := os.ReadFile(filepath.Join(a.data, "tls", "cert.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	a.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: a.lan.Dialer(lab.Appliance), TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return a.get(ctx, "/hosts", nil)
}

func (a *appliance) token() (string, error) {
	b, err := os.ReadFile(filepath.Join(a.data, "admin-token"))
	return strings.TrimSpace(string(b)), err
}

func (a *appliance) get(ctx context.Context, path string, out any) error {
	token, err := a.token()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.addr+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, res.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// host is what the demo shows of a host.
type host struct {
	State       string
	Error       string
	CPU         struct{ Model string }
	MemoryBytes uint64 `json:"memory_bytes"`
	Disks       []struct {
		ID        string
		SizeBytes uint64 `json:"size_bytes"`
	}
}

func (h host) describe() string {
	var disks []string
	for _, d := range h.Disks {
		disks = append(disks, fmt.Sprintf("%s (%d GiB)", d.ID, d.SizeBytes>>30))
	}
	return fmt.Sprintf("%s, %d MiB of memory, disks %s", h.CPU.Model, h.MemoryBytes>>20, strings.Join(disks, ", "))
}

func (a *appliance) host(ctx context.Context, mac string) (host, error) {
	var h host
	return h, a.get(ctx, "/hosts/"+mac, &h)
}

// entry is one line of the boot diary.
type entry struct {
	Seq  uint64
	Time time.Time
	Kind string
	Text string
}

// diary is empty for a machine that was not heard yet.
func (a *appliance) diary(ctx context.Context, mac string) ([]entry, error) {
	var all struct{ Items []struct{ MAC string } }
	if err := a.get(ctx, "/hosts", &all); err != nil {
		return nil, err
	}
	for _, h := range all.Items {
		if h.MAC == mac {
			var list struct{ Items []entry }
			return list.Items, a.get(ctx, "/hosts/"+mac+"/events", &list)
		}
	}
	return nil, nil
}

// logTail is the end of the appliance's log.
func (a *appliance) logTail() string {
	b, err := os.ReadFile(a.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
