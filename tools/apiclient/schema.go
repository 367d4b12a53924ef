package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas checks what the appliance answers against the document that it serves.
type schemas struct {
	c     *ClientWithResponses
	paths map[string]map[string]any
	comp  *jsonschema.Compiler
}

// readSchemas reads the served document (OpenAPI 3.1: its schemas are JSON Schema 2020-12).
func readSchemas(ctx context.Context, c *ClientWithResponses) (*schemas, error) {
	s := &schemas{c: c, comp: jsonschema.NewCompiler(), paths: map[string]map[string]any{}}
	code, raw, err := s.get(ctx, "/openapi.json")
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("document: %d %w", code, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	for path, ops := range doc.(map[string]any)["paths"].(map[string]any) {
		s.paths[path] = ops.(map[string]any)
	}
	return s, s.comp.AddResource("mem:///doc.json", doc)
}

func (s *schemas) get(ctx context.Context, path string) (int, []byte, error) {
	inner := s.c.ClientInterface.(*Client)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(inner.Server, "/")+path, nil)
	if err != nil {
		return 0, nil, err
	}
	for _, edit := range inner.RequestEditors {
		if err := edit(ctx, req); err != nil {
			return 0, nil, err
		}
	}
	res, err := inner.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return res.StatusCode, raw, err
}

// all asks for everything that answers JSON to a GET and checks each answer; host and job fill {id} below /hosts and /jobs.
func (s *schemas) all(ctx context.Context, hosts []string, job string) error {
	var wrong error
	checked := 0
	for path, ops := range s.paths {
		if _, ok := ops["get"]; !ok {
			continue
		}
		fill := []string{path}
		switch {
		case strings.HasPrefix(path, "/hosts/{id}"):
			fill = nil
			for _, h := range hosts {
				fill = append(fill, strings.Replace(path, "{id}", url.PathEscape(h), 1))
			}
		case path == "/jobs/{id}":
			fill = []string{"/jobs/" + job}
		}
		for _, at := range fill {
			if strings.Contains(at, "{") {
				continue
			}
			n, err := s.one(ctx, path, at)
			checked += n
			wrong = errors.Join(wrong, err)
		}
	}
	if checked < 20 {
		return errors.Join(wrong, fmt.Errorf("only %d answers were checked", checked))
	}
	return wrong
}

// one checks one answer; 0 when it is none that the document describes as JSON.
func (s *schemas) one(ctx context.Context, path, at string) (int, error) {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	where := "mem:///doc.json#/paths/" + escape.Replace(path) + "/get/responses/"
	kind := "200/content/application~1json/schema"
	if _, ok := dig(s.paths[path], "get", "responses", "200", "content", "application/json"); !ok {
		return 0, nil // a stream or a file
	}
	code, raw, err := s.get(ctx, at)
	if err != nil {
		return 0, err
	}
	if code != http.StatusOK {
		kind = "default/content/application~1problem+json/schema"
	}
	schema, err := s.comp.Compile(where + kind)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		return 1, fmt.Errorf("GET %s answered %d, not as the document says: %w", at, code, err)
	}
	return 1, nil
}

// dig follows keys into nested objects.
func dig(v any, keys ...string) (any, bool) {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[k]; !ok {
			return nil, false
		}
	}
	return v, true
}
