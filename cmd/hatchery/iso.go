package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// isoCommand is `hatchery iso …`: installers for machines that cannot netboot.
func isoCommand() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "iso", Short: "USB images of the installer, for machines that cannot netboot"}
	r.bind(cmd)
	cmd.AddCommand(r.createISO(), r.downloadISO(),
		&cobra.Command{Use: "list", Short: "List the images that were made", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			items, err := r.items(c.Context(), "/isos")
			if err != nil {
				return err
			}
			for _, it := range items {
				if static, is := it["static"].(map[string]any); is {
					it["address"] = static["address"]
				}
			}
			return r.table(c, items, "id", "arch", "expires", "expired", "address", "size", "sha256")
		}},
		&cobra.Command{Use: "revoke ID", Short: "Revoke an image: sticks made of it join no more", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, a []string) error {
			return r.call(c.Context(), http.MethodDelete, isoPath(a[0]), nil, nil)
		}})
	return listsAlone(cmd)
}

func isoPath(id string) string { return "/isos/" + url.PathEscape(id) }

// newISO is the body of POST /isos.
type newISO struct {
	Arch    string     `json:"arch"`
	Expires *time.Time `json:"expires,omitempty"`
	Static  *newStatic `json:"static,omitempty"`
}

type newStatic struct {
	Address string   `json:"address"`
	Gateway string   `json:"gateway,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	MAC     string   `json:"mac,omitempty"`
}

func (r *remote) createISO() *cobra.Command {
	var days int
	var ask newISO
	var static newStatic
	cmd := &cobra.Command{Use: "create", Short: "Make an image that knows this appliance; download it with `iso download`", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if c.Flags().Changed("days") {
			end := time.Now().Add(time.Duration(days) * 24 * time.Hour)
			ask.Expires = &end
		}
		if static.Address != "" {
			ask.Static = &static
		} else if static.Gateway != "" || len(static.DNS) > 0 || static.MAC != "" {
			return usageError{errors.New("--gateway, --dns and --mac go with a fixed address: give --address ADDRESS/LENGTH too")}
		}
		var got map[string]any
		if err := r.call(c.Context(), http.MethodPost, "/isos", ask, &got); err != nil {
			return err
		}
		return r.show(c.OutOrStdout(), got, "id", "arch", "expires", "size", "sha256", "url")
	}}
	f := cmd.Flags()
	f.StringVar(&ask.Arch, "arch", "x86_64", "x86_64 or aarch64")
	f.IntVar(&days, "days", 7, "days until it lets no machine in any more")
	f.StringVar(&static.Address, "address", "", "fixed address with network length, as 192.168.1.50/24 (default: by DHCP)")
	f.StringVar(&static.Gateway, "gateway", "", "gateway of the fixed address")
	f.StringSliceVar(&static.DNS, "dns", nil, "DNS servers of the fixed address")
	f.StringVar(&static.MAC, "mac", "", "interface that gets the fixed address (default: the first one with a cable in)")
	return cmd
}

func (r *remote) downloadISO() *cobra.Command {
	return &cobra.Command{Use: "download ID FILE", Short: "Download an image; goes on where an earlier try broke off, and checks its SHA-256", Args: cobra.ExactArgs(2), RunE: func(c *cobra.Command, a []string) error {
		var list struct {
			Items []struct{ ID, SHA256 string }
		}
		if err := r.call(c.Context(), http.MethodGet, "/isos", nil, &list); err != nil {
			return err
		}
		want := ""
		for _, it := range list.Items {
			if it.ID == a[0] {
				want = it.SHA256
			}
		}
		if want == "" {
			return problem{Status: http.StatusNotFound, Detail: "USB image " + cell(a[0]) + " is not known. See `hatchery iso list`."}
		}
		if err := r.fetchISO(c.Context(), a[0], a[1], want); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s is whole. Write it to a stick with `dd if=%s of=/dev/STICK bs=4M conv=fsync`; that erases the stick.\n", a[1], a[1])
		return err
	}}
}

// fetchISO downloads into FILE.part, from where an earlier try broke off, and renames it when its digest is right.
func (r *remote) fetchISO(ctx context.Context, id, file, want string) (err error) {
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOnce(f)) }()
	sum := sha256.New()
	have, err := io.Copy(sum, f)
	if err != nil {
		return fmt.Errorf("read %s: %w", part, err)
	}
	res, err := r.get(ctx, isoPath(id), have)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusOK && have > 0: // it is not one of ours after all
		return fmt.Errorf("%s is there, but the appliance does not go on from it: remove it", part)
	case res.StatusCode != http.StatusRequestedRangeNotSatisfiable: // that one has the whole length already
		if _, err := io.Copy(io.MultiWriter(f, sum), res.Body); err != nil {
			return fmt.Errorf("download broke off: %w; the same command goes on from there", err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return errors.Join(fmt.Errorf("%s has SHA-256 %s, not the published %s: it was removed, download it again", part, got, want), os.Remove(part))
	}
	if err := errors.Join(f.Sync(), closeOnce(f)); err != nil {
		return fmt.Errorf("write %s: %w", part, err)
	}
	return os.Rename(part, file)
}

// closeOnce closes a file that may be closed already.
func closeOnce(f *os.File) error {
	if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
