// Command apiclient drives a running appliance with the client that oapi-codegen makes of the OpenAPI document
// it serves. The generated half of this package is not kept: web's test makes it of the document of the day and
// lays it over client.gen.go.
//
// Environment: APPLIANCE (URL), TOKEN (of scope admin), CERT (file with the certificate to trust).
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "apiclient:", err)
		os.Exit(1)
	}
	fmt.Println("all done")
}

// dial is a client that presents token.
func dial(token string) (*ClientWithResponses, error) {
	pem, err := os.ReadFile(os.Getenv("CERT"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in CERT")
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	return NewClientWithResponses(os.Getenv("APPLIANCE")+"/api/v1", WithHTTPClient(hc), WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}))
}

func run(ctx context.Context) error {
	admin, err := dial(os.Getenv("TOKEN"))
	if err != nil {
		return err
	}
	end := time.Now().Add(time.Hour)
	made, err := admin.CreateTokenWithResponse(ctx, NewTokenInBody{Name: "generated", Scope: NewTokenInBodyScope("operate"), Expires: &end})
	if err != nil || made.JSON201 == nil {
		return fmt.Errorf("token: %w %s", err, made.Body)
	}
	c, err := dial(made.JSON201.Token)
	if err != nil {
		return err
	}
	lines, stop, err := listen(ctx, c)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	defer stop()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"announce and list by cursor", func() error { return announceAndList(ctx, c) }},
		{"get and put with If-Match", func() error { return putIfMatch(ctx, c) }},
		{"events", func() error { return heard(ctx, lines, `"name":"generated2"`) }},
		{"diary", func() error { return diary(ctx, c) }},
		{"answers are as the document says", func() error { return asDocumented(ctx, admin) }},
		{"problems", func() error { return problems(ctx, c) }},
		{"revoke the token", func() error { return revoke(ctx, admin, c, made.JSON201.Id) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func macOf(n int) *string {
	m := fmt.Sprintf("52:54:00:77:00:%02x", n)
	return &m
}

// announceAndList announces seven hosts and finds each once, by three a page.
func announceAndList(ctx context.Context, c *ClientWithResponses) error {
	want := map[string]bool{}
	for n := range 7 {
		res, err := c.AnnounceHostWithResponse(ctx, AnnounceInBody{Mac: macOf(n)})
		if err != nil || res.JSON201 == nil {
			return fmt.Errorf("announce: %w %s", err, res.Body)
		}
		want[res.JSON201.Id] = true
	}
	limit, cursor, pages := int64(3), "", 0
	for ; ; pages++ {
		res, err := c.ListHostsWithResponse(ctx, &ListHostsParams{Limit: &limit, Cursor: &cursor})
		if err != nil || res.JSON200 == nil {
			return fmt.Errorf("list: %w %s", err, res.Body)
		}
		for _, h := range res.JSON200.Items {
			delete(want, h.Id)
		}
		if cursor = res.JSON200.Next; cursor == "" {
			break
		}
	}
	if len(want) > 0 || pages < 2 {
		return fmt.Errorf("%d hosts not found on %d pages", len(want), pages+1)
	}
	return nil
}

func putIfMatch(ctx context.Context, c *ClientWithResponses) error {
	got, err := c.GetHostWithResponse(ctx, *macOf(2))
	if err != nil || got.JSON200 == nil || string(got.JSON200.State) != "expected" {
		return fmt.Errorf("get: %w %s", err, got.Body)
	}
	tag, name := got.HTTPResponse.Header.Get("ETag"), "generated2"
	put, err := c.PutHostWithResponse(ctx, *macOf(2), &PutHostParams{IfMatch: &tag}, PutHostInBody{Name: &name})
	if err != nil || put.JSON200 == nil || put.JSON200.Name != name {
		return fmt.Errorf("put: %w %s", err, put.Body)
	}
	name = "generated3"
	put, err = c.PutHostWithResponse(ctx, *macOf(2), &PutHostParams{IfMatch: &tag}, PutHostInBody{Name: &name})
	if err != nil {
		return err
	}
	return problem(put.ApplicationproblemJSONDefault, http.StatusPreconditionFailed)
}

// problem checks that an answer was a problem with that status that says something.
func problem(p *ErrorModel, status int64) error {
	if p == nil || p.Status == nil || *p.Status != status || p.Detail == nil || *p.Detail == "" {
		return fmt.Errorf("got %+v, want a problem with %d", p, status)
	}
	return nil
}

func problems(ctx context.Context, c *ClientWithResponses) error {
	none, err := c.GetHostWithResponse(ctx, "nobody")
	if err != nil {
		return err
	}
	bad := "Not A Name"
	invalid, err := c.PutHostWithResponse(ctx, *macOf(1), nil, PutHostInBody{Name: &bad})
	if err != nil {
		return err
	}
	twice, err := c.AnnounceHostWithResponse(ctx, AnnounceInBody{Mac: macOf(1)})
	if err != nil {
		return err
	}
	forbidden, err := c.ListTokensWithResponse(ctx)
	if err != nil {
		return err
	}
	return errors.Join(problem(none.ApplicationproblemJSONDefault, http.StatusNotFound), problem(invalid.ApplicationproblemJSONDefault, http.StatusUnprocessableEntity),
		problem(twice.ApplicationproblemJSONDefault, http.StatusConflict), problem(forbidden.ApplicationproblemJSONDefault, http.StatusForbidden))
}

// asDocumented checks the answers of every GET on all hosts, of whatever state the test made.
func asDocumented(ctx context.Context, c *ClientWithResponses) error {
	s, err := readSchemas(ctx, c)
	if err != nil {
		return err
	}
	var refs []string
	hosts, err := c.ListHostsWithResponse(ctx, nil)
	if err != nil || hosts.JSON200 == nil {
		return fmt.Errorf("hosts: %w", err)
	}
	for _, h := range hosts.JSON200.Items {
		refs = append(refs, h.Id)
	}
	jobs, err := c.ListJobsWithResponse(ctx, nil)
	if err != nil || jobs.JSON200 == nil || len(jobs.JSON200.Items) == 0 {
		return fmt.Errorf("jobs: %w, want one", err)
	}
	return s.all(ctx, refs, jobs.JSON200.Items[0].Id)
}

func diary(ctx context.Context, c *ClientWithResponses) error {
	res, err := c.HostEventsWithResponse(ctx, *macOf(2), nil)
	if err != nil || res.JSON200 == nil || len(res.JSON200.Items) != 2 || !strings.Contains(res.JSON200.Items[1].Text, "generated2") {
		return fmt.Errorf("%w %s", err, res.Body)
	}
	return nil
}

// listen opens the event stream; its lines come until stop.
func listen(ctx context.Context, c *ClientWithResponses) (lines <-chan string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	res, err := c.Events(ctx, nil)
	if err != nil || res.StatusCode != http.StatusOK {
		cancel()
		return nil, nil, fmt.Errorf("%w, %v", err, res)
	}
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			out <- sc.Text()
		}
	}()
	return out, func() { cancel(); res.Body.Close() }, nil
}

func heard(ctx context.Context, lines <-chan string, want string) error {
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				return errors.New("the stream ended")
			}
			if strings.Contains(l, want) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func revoke(ctx context.Context, admin, c *ClientWithResponses, id string) error {
	all, err := admin.ListTokensWithResponse(ctx)
	if err != nil || all.JSON200 == nil || len(all.JSON200.Items) != 1 || all.JSON200.Items[0].Name != "generated" {
		return fmt.Errorf("list: %w %s", err, all.Body)
	}
	gone, err := admin.RevokeTokenWithResponse(ctx, id)
	if err != nil || gone.StatusCode() != http.StatusNoContent {
		return fmt.Errorf("%w %s", err, gone.Body)
	}
	after, err := c.ListHostsWithResponse(ctx, nil)
	if err != nil {
		return err
	}
	return problem(after.ApplicationproblemJSONDefault, http.StatusUnauthorized)
}
