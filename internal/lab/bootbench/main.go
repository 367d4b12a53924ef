package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

var (
	build    = flag.String("build", "build", "folder with hatchery, ipxe and stage0")
	rounds   = flag.Int("rounds", 5, "how often each server boots the machine")
	firmware = flag.String("firmware", "bios,uefi", "firmware of the machines, with commas between them")
	ownDisk  = flag.Bool("own-disk", false, "measure instead how long our appliance keeps a machine, network first in its boot order, from its own disk")
	slow     = flag.Duration("slow", 0, "show the milestones and the server's log of boots whose script took longer")
	limit    = flag.Duration("limit", 3*time.Minute, "for one boot")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bootbench:", err)
		os.Exit(1)
	}
}

// times are the milestones of one boot, each since the first DISCOVER.
type times struct{ Script, CheckIn time.Duration }

func run(ctx context.Context) error {
	dir, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	for fw := range strings.SplitSeq(*firmware, ",") {
		if *ownDisk {
			if err := runOwnDisk(ctx, dir, lab.Firmware(fw)); err != nil {
				return err
			}
			continue
		}
		var ours, theirs []times
		fmt.Printf("%s, seconds after the first DISCOVER\n%-6s %-18s %8s %9s\n", fw, "round", "server", "script", "check-in")
		for n := range *rounds {
			order := []string{"hatchery", "dnsmasq + nginx"}
			if n%2 == 1 {
				slices.Reverse(order)
			}
			for _, server := range order {
				t, err := boot(ctx, dir, lab.Firmware(fw), server)
				if err != nil {
					return fmt.Errorf("round %d with %s: %w", n+1, server, err)
				}
				fmt.Printf("%-6d %-18s %8.2f %9.2f\n", n+1, server, t.Script.Seconds(), t.CheckIn.Seconds())
				if server == "hatchery" {
					ours = append(ours, t)
				} else {
					theirs = append(theirs, t)
				}
			}
		}
		summary("script", ours, theirs, func(t times) time.Duration { return t.Script })
		summary("check-in", ours, theirs, func(t times) time.Duration { return t.CheckIn })
	}
	return nil
}

// summary prints medians, and the ratio of each round: its median and range.
func summary(what string, ours, theirs []times, of func(times) time.Duration) {
	var a, b, ratios []float64
	for i := range ours {
		x, y := of(ours[i]).Seconds(), of(theirs[i]).Seconds()
		a, b, ratios = append(a, x), append(b, y), append(ratios, y/x)
	}
	fmt.Printf("%-9s hatchery %.2f s, dnsmasq + nginx %.2f s (medians of %d); ratio %.2f (%.2f to %.2f)\n",
		what, median(a), median(b), len(a), median(ratios), slices.Min(ratios), slices.Max(ratios))
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// boot starts one server and a blank machine on a LAN of its own and times it. An emulated machine whose kernel
// panics (a starved timer) is started again, twice at most.
func boot(ctx context.Context, dir string, fw lab.Firmware, server string) (t times, err error) {
	for range 3 {
		t, err = bootOnce(ctx, dir, fw, server)
		if !errors.Is(err, errPanic) {
			return t, err
		}
		fmt.Fprintln(os.Stderr, "bootbench:", err)
	}
	return t, err
}

var errPanic = errors.New("the emulated machine's kernel died")

func bootOnce(ctx context.Context, dir string, fw lab.Firmware, server string) (t times, err error) {
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	l, err := lab.New(lab.Config{Ports: 1})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	checkIn := newMark()
	if server == "hatchery" {
		err = startHatchery(ctx, l, dir, checkIn)
	} else {
		err = startReference(ctx, l, dir, checkIn)
	}
	if err != nil {
		return t, err
	}
	discover, err := watchDHCP(ctx, l)
	if err != nil {
		return t, err
	}
	m, err := l.NewMachine(lab.MachineConfig{Name: "m", Firmware: fw, Disks: []lab.Disk{{}}})
	if err != nil {
		return t, err
	}
	defer m.PowerOff()
	if err := m.PowerOn(); err != nil {
		return t, err
	}
	script, err := m.WaitFor(ctx, "the boot script", func(e lab.Event) bool {
		return e.Name == lab.EventLoaded && strings.Contains(e.Line, "/boot.ipxe")
	})
	if err != nil {
		return t, died(m, err)
	}
	for {
		select {
		case <-checkIn.seen:
			first := discover.at()
			t = times{Script: script.At.Sub(first), CheckIn: checkIn.at().Sub(first)}
			if *slow > 0 && t.Script > *slow {
				for _, e := range m.Events() {
					fmt.Fprintf(os.Stderr, "  %7.2f %-10s %s\n", e.At.Sub(first).Seconds(), e.Name, e.Line)
				}
				fmt.Fprintln(os.Stderr, checkIn)
			}
			return t, nil
		case <-ctx.Done():
			return t, died(m, fmt.Errorf("no check-in: %w", ctx.Err()))
		case <-time.After(time.Second / 5):
			if err := died(m, nil); err != nil {
				return t, err
			}
		}
	}
}

// watchDHCP marks the first request of a DHCP client.
func watchDHCP(ctx context.Context, l *lab.LAN) (*mark, error) {
	discover := newMark()
	discover.want = "BOOTP/DHCP, Request"
	dump, err := l.Start(lab.Switch, discover, "tcpdump", "-l", "-n", "-i", "br0", "-Z", "root", "udp dst port 67")
	if err != nil {
		return nil, err
	}
	select {
	case <-discover.line("listening on"):
		return discover, nil
	case <-dump.Done():
		return nil, errors.New("tcpdump ended: " + discover.String())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// runOwnDisk times DISCOVER to the disk's boot loader.
func runOwnDisk(ctx context.Context, dir string, fw lab.Firmware) error {
	var all []float64
	for range *rounds {
		d, err := ownDiskOnce(ctx, dir, fw)
		if err != nil {
			return err
		}
		all = append(all, d.Seconds())
	}
	fmt.Printf("%s: from the first DISCOVER to the boot loader on its own disk %.1f s (median of %d; %.1f to %.1f)\n", fw, median(all), len(all), slices.Min(all), slices.Max(all))
	return nil
}

func ownDiskOnce(ctx context.Context, dir string, fw lab.Firmware) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	l, err := lab.New(lab.Config{Ports: 1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := startHatchery(ctx, l, dir, newMark(), "--discovery", "off"); err != nil {
		return 0, err
	}
	discover, err := watchDHCP(ctx, l)
	if err != nil {
		return 0, err
	}
	image := filepath.Join(l.Dir(), "bootable.raw")
	if err := lab.MakeBootableDisk(image, filepath.Join(dir, "ipxe", "ipxe-amd64.efi")); err != nil {
		return 0, err
	}
	m, err := l.NewMachine(lab.MachineConfig{Name: "m", Firmware: fw, Disks: []lab.Disk{{Image: image}}})
	if err != nil {
		return 0, err
	}
	defer m.PowerOff()
	if err := m.PowerOn(); err != nil {
		return 0, err
	}
	e, err := m.Wait(ctx, lab.EventDiskBoot)
	return e.At.Sub(discover.at()), err
}

// died is errPanic when the machine's kernel did, else err.
func died(m *lab.Machine, err error) error {
	for _, e := range m.Events() {
		if e.Name == lab.EventPanic {
			return fmt.Errorf("%w: %s", errPanic, e.Line)
		}
	}
	return err
}
