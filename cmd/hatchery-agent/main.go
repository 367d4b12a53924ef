package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "hatchery-agent:", err)
		os.Exit(1)
	}
}

// run parses the flags and runs the agent until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("hatchery-agent", flag.ContinueOnError)
	fs.SetOutput(out)
	cmdline := fs.String("cmdline", "/proc/cmdline", "read the kernel command line from `FILE`")
	root := fs.String("root", "/", "read /sys, /proc, /dev and /etc below `DIR`, and write authorized_keys there")
	key := fs.String("host-key", "etc/ssh/ssh_host_ed25519_key", "the SSH host key's `FILE`, below --root")
	personal := fs.String("personal", "iso/hatchery/personal.json", "a USB image's personalisation `FILE`, below --root")
	once := fs.Bool("once", false, "check in once and exit")
	print := fs.Bool("facts", false, "print the machine's facts as JSON and exit")
	version := fs.Bool("version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see --help", fs.Arg(0))
	}
	m := newMachine(*root)
	switch {
	case *version:
		_, err := fmt.Fprintln(out, "hatchery-agent", agentVersion())
		return err
	case *print:
		return printFacts(ctx, out, m)
	}
	raw, err := os.ReadFile(*cmdline)
	if err != nil {
		return fmt.Errorf("kernel command line: %w", err)
	}
	b, err := parseCmdline(string(raw))
	a := newAgent(m, b, *key, out)
	if errors.Is(err, errNotBooted) {
		if a.personal, err = readPersonal(m, *personal); err == nil {
			a.client.http = newHTTPClient(a.bootAddr, pinnedTLS(a.personal.Fingerprint))
		}
	}
	if err != nil {
		return err
	}
	return a.run(ctx, *once)
}

// agentVersion is the version that the Go tool stamped into the binary.
func agentVersion() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "unknown"
}
