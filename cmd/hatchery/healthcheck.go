package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthWithin bounds the question, so that an appliance that hangs is not taken for one that starts.
const healthWithin = 5 * time.Second

// healthcheckCommand is `hatchery healthcheck`, for a container's HEALTHCHECK and for monitoring.
func healthcheckCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "healthcheck", Short: "Tell whether the appliance works; exit code 1 when it does not, for containers and monitoring", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), healthWithin)
		defer cancel()
		said, err := r.health(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the appliance did not answer within %s", healthWithin)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), said)
		return err
	}}
	r.bind(cmd)
	return cmd
}

// health asks /healthz, which needs no token.
func (r *remote) health(ctx context.Context) (string, error) {
	raw, err := r.plain(ctx, "/healthz")
	return cell(strings.TrimSpace(string(raw))), err
}

// plain reads one of the pages that need no token. An error is what it says with another status than 200.
func (r *remote) plain(ctx context.Context, path string) ([]byte, error) {
	client, base, _, err := r.client()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(cell(strings.TrimSpace(string(raw))))
	}
	return raw, nil
}
