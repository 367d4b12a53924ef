package main

import (
	"fmt"
	"os"
	"path/filepath"
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
		&cobra.Command{Use: "use ARCH DIGEST", Short: "Use an image that was added before", Args: cobra.ExactArgs(2), RunE: with(func(_ *cobra.Command, s *stage0.Store, a []string) error { return s.Use(a[0], a[1]) })},
		&cobra.Command{Use: "remove ARCH DIGEST", Short: "Delete an image that is not in use", Args: cobra.ExactArgs(2), RunE: with(func(_ *cobra.Command, s *stage0.Store, a []string) error { return s.Remove(a[0], a[1]) })})
	return cmd
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
