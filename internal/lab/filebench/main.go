package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/staged-hive/hatchery/internal/lab"
)

var (
	build   = flag.String("build", "build", "folder with hatchery and ipxe")
	what    = flag.String("what", "tftp,http", "what to measure, with a comma between them")
	rounds  = flag.Int("rounds", 5, "turns of each server")
	streams = flag.Int("streams", 64, "downloads at once by HTTP")
	size    = flag.Int64("size", 400e6, "bytes of the image by HTTP")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "filebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context, string) error
	}{{"tftp", benchTFTP}, {"http", benchHTTP}} {
		if slices.Contains(split(*what), part.name) {
			if err := part.run(ctx, dir); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// bench is a LAN with a server on the appliance's side; clients ask from the router's side.
type bench struct {
	*lab.LAN
	dir string // build
}

func newBench(dir string) (*bench, error) {
	l, err := lab.New(lab.Config{Ports: 1})
	if err != nil {
		return nil, err
	}
	return &bench{l, dir}, nil
}

// hatchery starts the appliance with DHCP off; images lie in data/stage0.
func (b *bench) hatchery(ctx context.Context, data string) (*lab.Process, error) {
	log, err := os.Create(filepath.Join(b.Dir(), "hatchery.log"))
	if err != nil {
		return nil, err
	}
	p, err := b.StartReady(ctx, lab.Appliance, log, filepath.Join(b.dir, "hatchery"), "serve", "--data", data, "--interface", "eth0", "--ipxe", filepath.Join(b.dir, "ipxe"), "--dhcp", "off")
	if err != nil {
		raw, _ := os.ReadFile(log.Name()) // what came so far is worth showing
		return nil, fmt.Errorf("%w: %s", err, raw)
	}
	return p, nil
}

// sh runs a command on a side.
func (b *bench) sh(ctx context.Context, side lab.Side, args ...string) error {
	if out, err := b.Command(ctx, side, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// have tells whether a program is installed; a server that is not is left out, with a word.
func have(program string) bool {
	_, err := exec.LookPath(program)
	if err != nil {
		fmt.Printf("(%s is not installed)\n", program)
	}
	return err == nil
}
