package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/staged-hive/hatchery/internal/stage0"
)

// stage0Command is `hatchery stage0 …`: the images on this appliance. A running appliance notices what changes.
func stage0Command() *cobra.Command {
	var data, dir string
	cmd := &cobra.Command{Use: "stage0", Short: "The installer images that machines netboot"}
	cmd.PersistentFlags().StringVar(&data, "data", defaultSettings().Data, "the appliance's data folder")
	cmd.PersistentFlags().StringVar(&dir, "stage0", "", "folder with the images (default DATA/stage0)")
	with := func(fn func(*cobra.Command, *stage0.Store, []string) error) func(*cobra.Command, []string) error {
		return func(c *cobra.Command, args []string) error {
			at := dir
			if at == "" {
				at = filepath.Join(data, "stage0")
			}
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
			s, err := stage0.Open(stage0.Config{Dir: at})
			if err != nil {
				return err
			}
			defer s.Close()
			return fn(c, s, args)
		}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List images; the current one is marked", Args: cobra.NoArgs, RunE: with(listImages)},
		&cobra.Command{Use: "add DIR", Short: "Copy the images of a stage-0 folder in, check them and use them from now on", Args: cobra.ExactArgs(1), RunE: with(addImages)},
		buildImages(with),
		&cobra.Command{Use: "use ARCH DIGEST", Short: "Use an image that was added before", Args: cobra.ExactArgs(2), RunE: with(func(_ *cobra.Command, s *stage0.Store, a []string) error { return s.Use(a[0], a[1]) })},
		&cobra.Command{Use: "remove ARCH DIGEST", Short: "Delete an image that is not in use", Args: cobra.ExactArgs(2), RunE: with(func(_ *cobra.Command, s *stage0.Store, a []string) error { return s.Remove(a[0], a[1]) })})
	return listsAlone(cmd)
}

func listImages(c *cobra.Command, s *stage0.Store, _ []string) error {
	for _, st := range s.Status() {
		if st.Problem != "" {
			fmt.Fprintln(c.ErrOrStderr(), st.Problem)
		}
	}
	versions, err := s.List()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ARCH\tVERSION\tDIGEST\tADDED\tCURRENT")
	for _, v := range versions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Arch, v.Version, v.Digest, v.Added.Format(time.DateTime), cell(v.Current))
	}
	return w.Flush()
}

func addImages(c *cobra.Command, s *stage0.Store, a []string) error {
	added, err := s.Add(a[0])
	if err != nil {
		return err
	}
	for _, v := range added {
		fmt.Fprintf(c.OutOrStdout(), "%s %s (%s) is used from now on\n", v.Arch, v.Version, v.Digest)
	}
	return nil
}

// buildImages is `hatchery stage0 build`: nix builds the images of a flake, and they are put in.
func buildImages(with func(func(*cobra.Command, *stage0.Store, []string) error) func(*cobra.Command, []string) error) *cobra.Command {
	var arch, nix string
	var nixArgs []string
	cmd := &cobra.Command{Use: "build [FLAKE]", Short: "Build the installer with nix, put it in and use it from now on", Args: cobra.MaximumNArgs(1),
		Long: "Build the netboot image and the USB image of a flake's package stage0 with nix, check them, put them in and use them from now on.\n" +
			"FLAKE is Hatchery's own by default; give your fork, or a flake whose package stage0 comes from hatchery.lib.stage0 with modules of yours.",
		RunE: with(func(c *cobra.Command, s *stage0.Store, a []string) error {
			flake := defaultFlake
			if len(a) > 0 {
				flake = a[0]
			}
			if !slices.Contains(stage0.Arches(), arch) {
				return usageError{fmt.Errorf("--arch %q: want one of %s", arch, strings.Join(stage0.Arches(), ", "))}
			}
			out, err := nixBuild(c, strings.Fields(nix), append([]string{flake + "#packages." + arch + "-linux.stage0"}, nixArgs...))
			if err != nil {
				return err
			}
			return addImages(c, s, []string{out})
		})}
	cmd.Flags().StringVar(&arch, "arch", "x86_64", "architecture of the machines: x86_64 or aarch64")
	cmd.Flags().StringVar(&nix, "nix", defaultSettings().Nix, "nix command")
	cmd.Flags().StringSliceVar(&nixArgs, "nix-arg", nil, "further argument for nix build; repeatable")
	return cmd
}

// defaultFlake is where stage-0 is built from.
const defaultFlake = "github:staged-hive/hatchery"

// nixBuild builds one installable, its progress on the terminal, and returns where it is.
func nixBuild(c *cobra.Command, nix, args []string) (string, error) {
	if len(nix) == 0 {
		nix = []string{"nix"}
	}
	argv := slices.Concat(nix[1:], []string{"--extra-experimental-features", "nix-command flakes", "build", "--no-link", "--json", "--print-build-logs"}, args)
	cmd := exec.CommandContext(c.Context(), nix[0], argv...)
	cmd.Stderr = c.ErrOrStderr()
	raw, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("nix could not build %s (its own words are above): %w", args[0], err)
	}
	var built []struct {
		Outputs map[string]string `json:"outputs"`
	}
	if err := json.Unmarshal(raw, &built); err != nil || len(built) != 1 || built[0].Outputs["out"] == "" {
		return "", fmt.Errorf("nix build of %s printed no output path: %s", args[0], cell(string(raw)))
	}
	return built[0].Outputs["out"], nil
}
