package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// tokenCommand prints what another machine needs to talk to this appliance: the admin token and the
// fingerprint that its certificate is pinned by. Redirect it into a file for --token-file.
func tokenCommand() *cobra.Command {
	data := defaultSettings().Data
	cmd := &cobra.Command{
		Use: "token", Short: "Print the admin token and the certificate's fingerprint, in the form of a --token-file",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			token, err := os.ReadFile(filepath.Join(data, "admin-token"))
			if err != nil {
				return fmt.Errorf("admin token: %w; it is made when `hatchery serve` starts for the first time, on the appliance itself", err)
			}
			out := strings.TrimSpace(string(token)) + "\n"
			if raw, err := os.ReadFile(filepath.Join(data, "tls", "cert.pem")); err == nil {
				if block, _ := pem.Decode(raw); block != nil {
					sum := sha256.Sum256(block.Bytes)
					out += "sha256:" + hex.EncodeToString(sum[:]) + "\n"
				}
			}
			_, err = fmt.Fprint(c.OutOrStdout(), out)
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", data, "the appliance's data folder")
	return cmd
}
