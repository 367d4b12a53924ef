package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/inventory"
)

// client speaks to the appliance.
type client struct {
	url  string
	http *http.Client
	key  ssh.Signer // nil for join, which is not signed
}

// refusal is an answer of the appliance that is not a yes.
type refusal struct {
	agentapi.Problem
	status int
}

// Error implements error with the appliance's own sentence.
func (r *refusal) Error() string {
	if r.Detail != "" {
		return r.Detail
	}
	return fmt.Sprintf("the appliance answered %d", r.status)
}

// newHTTPClient dials from the address that from returns, when it is one: the appliance
// holds the source against the interface that netbooted. pinned is for HTTPS, nil otherwise.
func newHTTPClient(from func() netip.Addr, pinned *tls.Config) *http.Client {
	t := &http.Transport{TLSClientConfig: pinned, DisableKeepAlives: true, Proxy: nil, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: 10 * time.Second}
			if a := from(); a.IsValid() {
				d.LocalAddr = &net.TCPAddr{IP: a.AsSlice()}
				if c, err := d.DialContext(ctx, network, addr); err == nil {
					return c, nil
				}
				d.LocalAddr = nil // that interface does not lead there: any that does
			}
			return d.DialContext(ctx, network, addr)
		}}
	return &http.Client{Transport: t, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// post sends a body and reads the reply into reply. A refusal is a *refusal.
func (c *client) post(ctx context.Context, path string, body, reply any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("body for %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("request to %s: %w", c.url, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.key != nil {
		sig, err := agentapi.Sign(c.key, path, raw)
		if err != nil {
			return err
		}
		req.Header.Set(agentapi.SignatureHeader, sig)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", c.url, errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(resp.Body, agentapi.MaxReply+1))
	if err != nil {
		return fmt.Errorf("the answer of %s did not arrive whole: %w", c.url, err)
	}
	if resp.StatusCode != http.StatusOK {
		r := &refusal{status: resp.StatusCode}
		if agentapi.DecodeReply(got, &r.Problem) != nil {
			r.Problem = agentapi.Problem{}
		}
		r.Detail = inventory.Clean(r.Detail, 500)
		return r
	}
	return agentapi.DecodeReply(got, reply)
}

// action is what a refusal asks for, "" when it is none or asks for nothing.
func action(err error) agentapi.Action {
	var r *refusal
	if errors.As(err, &r) {
		return r.Action
	}
	return ""
}
