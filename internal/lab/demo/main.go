package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// options are the demo's flags.
type options struct {
	build    string // folder with what make builds
	repo     string // the repository
	install  bool   // go on to the installed system
	listen   string
	firmware string
	machines int
	verbose  bool
	args     []string // further flags of hatchery serve
}

func main() {
	var o options
	flag.StringVar(&o.build, "build", "build", "folder with hatchery, ipxe/ and stage0/")
	flag.StringVar(&o.repo, "repo", ".", "folder of the repository")
	flag.BoolVar(&o.install, "install", true, "go on until the machine is installed, by a rule of the demo's hive")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8443", "address of this computer at which the page is reachable")
	flag.StringVar(&o.firmware, "firmware", "uefi", "the machines' firmware: uefi or bios")
	flag.IntVar(&o.machines, "machines", 1, "how many machines to power on, 1 to 4")
	flag.BoolVar(&o.verbose, "verbose", false, "show the machines' console milestones too")
	flag.Parse()
	o.args = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.firmware != "uefi" && o.firmware != "bios" || o.machines < 1 || o.machines > 4 {
		return errors.New("want -firmware uefi or bios, -machines 1 to 4")
	}
	ln, err := net.Listen("tcp", o.listen)
	if errors.Is(err, syscall.EADDRINUSE) && o.listen == "127.0.0.1:8443" {
		ln, err = net.Listen("tcp", "127.0.0.1:0") // an appliance may run on this computer
	}
	if err != nil {
		return fmt.Errorf("address for the page: %w", err)
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	l, err := lab.New(lab.Config{Log: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() {
		err = errors.Join(err, l.Close())
		fmt.Println("\nThe virtual LAN and everything in it is gone.")
	}()
	a, err := startAppliance(ctx, l, o)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	forwarding, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Forward(forwarding, ln, lab.Appliance, a.addr) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-done)
	}()
	token, err := a.token()
	if err != nil {
		return err
	}
	fmt.Printf("\n  The page:    https://%s/   (its certificate is its own: accept it)\n  Admin token: %s\n\n", ln.Addr(), token)
	journeys, err := powerOn(l, o)
	if err != nil {
		return err
	}
	return show(ctx, a, journeys)
}

// startAppliance starts hatchery as the LAN's DHCP server and waits until it serves.
func startAppliance(ctx context.Context, l *lab.LAN, o options) (*appliance, error) {
	data := filepath.Join(l.Dir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	// The appliance may write to its store of images.
	if out, err := exec.CommandContext(ctx, "cp", "-r", filepath.Join(o.build, "stage0"), filepath.Join(data, "stage0")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("stage-0 image (make lab-images): %w: %s", err, out)
	}
	program, err := filepath.Abs(filepath.Join(o.build, "hatchery"))
	if err != nil {
		return nil, err
	}
	ipxe, err := filepath.Abs(filepath.Join(o.build, "ipxe"))
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "--data", data, "--ipxe", ipxe, "--interface", "eth0", "--dhcp", "server", "--dhcp-force", // nobody else is on this LAN
		"--dhcp-range", fmt.Sprintf("%s-%s", l.Addr(100), l.Addr(150)), "--dhcp-router", l.RouterAddr().String()}
	if o.install {
		flags, err := prepareHive(o, data, l.Dir())
		if err != nil {
			return nil, err
		}
		args = append(args, flags...)
	}
	log, err := os.Create(filepath.Join(l.Dir(), "appliance.log"))
	if err != nil {
		return nil, err
	}
	fmt.Printf("Virtual LAN %s: starting the appliance, its log is %s\n", l.Name(), log.Name())
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a := &appliance{lan: l, data: data, addr: l.ApplianceAddr().String() + ":8443", log: log.Name()}
	if a.proc, err = l.StartReady(limit, lab.Appliance, log, program, append(args, o.args...)...); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, a.logTail()), log.Close())
	}
	go func() {
		<-a.proc.Done()
		_ = log.Close()
	}()
	return a, a.connect(ctx)
}

// journey is one machine's way, as far as it was shown.
type journey struct {
	m       *lab.Machine
	powered time.Time
	shown   uint64 // sequence number of the last diary entry that was printed
	ready   bool   // the sentence was printed
	state   string
}

func powerOn(l *lab.LAN, o options) ([]*journey, error) {
	var out []*journey
	for i := range o.machines {
		m, err := l.NewMachine(lab.MachineConfig{
			Name: fmt.Sprintf("demo%d", i+1), Firmware: lab.Firmware(o.firmware), Port: i, MemoryMiB: 1024,
			Disks: []lab.Disk{{Bus: "nvme", Serial: fmt.Sprintf("OS-%04d", i+1), Size: 8 << 30}, {Bus: "scsi", Serial: fmt.Sprintf("DATA-%04d", i+1), Size: 16 << 30}},
		})
		if err != nil {
			return nil, err
		}
		if err := m.PowerOn(); err != nil {
			return nil, err
		}
		fmt.Printf("Power on: %s, %s, two empty disks (its console: %s)\n", m.MAC(), o.firmware, filepath.Join(l.Dir(), m.Config().Name, "serial.log"))
		out = append(out, &journey{m: m, powered: time.Now()})
	}
	return out, nil
}

// show prints what happens until ctx ends or the appliance does.
func show(ctx context.Context, a *appliance, journeys []*journey) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, j := range journeys {
			if err := j.show(ctx, a); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-a.proc.Done():
			return fmt.Errorf("the appliance ended: %w\n%s", a.proc.Err(), a.logTail())
		case <-ctx.Done():
			return nil
		}
	}
}

// show prints the machine's new diary entries, and a sentence when it is ready and when it is installed.
func (j *journey) show(ctx context.Context, a *appliance) error {
	entries, err := a.diary(ctx, j.m.MAC())
	if err != nil || len(entries) == 0 {
		return err
	}
	h, err := a.host(ctx, j.m.MAC())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Seq <= j.shown {
			continue
		}
		j.shown = e.Seq
		at := e.Time.Sub(j.powered).Seconds()
		fmt.Printf("%8.1fs  %s  %-15s %s\n", at, j.m.Config().Name, e.Kind, e.Text)
		if e.Kind == "checkin" && !j.ready {
			j.ready = true
			fmt.Printf("\n  %s is ready after %.0f s: %s\n\n", j.m.MAC(), at, h.describe())
		}
	}
	if h.State == j.state {
		return nil
	}
	j.state = h.State
	switch h.State {
	case "installed":
		fmt.Printf("\n  %s is installed after %.0f s: its own system answers on its own disk, and nobody pressed a key.\n  Open the page and look at it. Ctrl-C ends the demo.\n\n", j.m.MAC(), time.Since(j.powered).Seconds())
	case "failed":
		fmt.Printf("\n  %s failed: %s\n  The page says what to do. Ctrl-C ends the demo.\n\n", j.m.MAC(), h.Error)
	case "ready":
		fmt.Printf("  Open the page and give it a role. Ctrl-C ends the demo.\n\n")
	}
	return nil
}
