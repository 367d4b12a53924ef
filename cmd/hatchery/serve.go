package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/capture"
	"github.com/staged-hive/hatchery/internal/doctor"
	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/internal/meter"
	"github.com/staged-hive/hatchery/internal/neighbor"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/pipeline"
	"github.com/staged-hive/hatchery/tftp"
	"github.com/staged-hive/hatchery/web"
)

// serveCommand is `hatchery serve`: the appliance itself.
func serveCommand() *cobra.Command {
	var file string
	flags := defaultSettings()
	cmd := &cobra.Command{Use: "serve", Short: "Run the appliance", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return serveAgain(c.Context(), c.OutOrStdout(), func() (config, error) { return serveConfig(c.Flags(), file) })
	}}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (TOML)")
	flags.bind(cmd.Flags())
	return cmd
}

// serveConfig is what the defaults, the page's choices, the file and the flags come to, each over the one before.
func serveConfig(given *pflag.FlagSet, file string) (config, error) {
	s, err := loadSettings(file)
	if err != nil {
		return config{}, err
	}
	if err := overlay(given, &s); err != nil {
		return config{}, err
	}
	fixed, err := fixedKeys(given, file)
	if err != nil {
		return config{}, err
	}
	if err := chosen(&s, fixed); err != nil {
		return config{}, err
	}
	cfg, err := s.check()
	cfg.fixed = fixed
	return cfg, err
}

// errRestart ends a run of the appliance that is to be followed by another.
var errRestart = errors.New("the appliance restarts")

// serveAgain serves until ctx ends or something fails; after a restart that was asked for on the page it reads the configuration anew.
func serveAgain(ctx context.Context, out io.Writer, load func() (config, error)) error {
	complaint := ""
	for {
		cfg, err := load()
		if err != nil {
			return err
		}
		cfg.complaint = complaint
		err = serve(ctx, cfg, out)
		switch {
		case ctx.Err() != nil && errors.Is(err, errRestart):
			return nil
		case errors.Is(err, errRestart):
			complaint = ""
		case err == nil || ctx.Err() != nil || !rejectChoices(cfg.Data):
			return err
		default: // nobody is locked out by what was chosen on a page that is gone now
			complaint = err.Error()
		}
	}
}

// overlay sets in s what was given as a flag: flags win over the file.
func overlay(given *pflag.FlagSet, s *settings) error {
	into := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.bind(into)
	var err error
	given.Visit(func(f *pflag.Flag) {
		target := into.Lookup(f.Name)
		if target == nil { // --config itself
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = errors.Join(err, target.Value.(pflag.SliceValue).Replace(list.GetSlice()))
			return
		}
		err = errors.Join(err, target.Value.Set(f.Value.String()))
	})
	return err
}

// appliance is everything `serve` runs, wired.
type appliance struct {
	cfg     config
	log     *slog.Logger
	rights  *privileges
	tail    *logTail
	db      *boltdb.DB
	took    prometheus.Collector // how long the store's commits took
	meter   *meter.Meter
	guise   *doctor.Guise
	packets *capture.Recorder
	images  *stage0.Store
	media   *media
	dhcp    *server.Server
	tftp    *tftp.Server
	boot    *httpboot.Server
	isos    *httpboot.ISOs
	web     *web.Server
	jobs    *pipeline.Runner
	people  *operators
	// restart takes what is to be done between the end of this run and the next one.
	restart chan func() error
}

// serve opens the data folder, wires everything, runs until ctx ends or something fails.
func serve(ctx context.Context, cfg config, out io.Writer) (err error) {
	spareMemory()
	tail := &logTail{}
	log := newLogger(cfg, tail)
	between := func() error { return nil }
	defer func() { // the database is closed by now
		if !errors.Is(err, errRestart) {
			return
		}
		if berr := between(); berr != nil {
			log.Error("what the restart was for could not be done; the appliance goes on as it was", "err", berr)
		}
	}()
	rights, err := newPrivileges(cfg, log)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data folder %s: %w", cfg.Data, err)
	}
	if err := finishRestore(cfg.Data, log); err != nil {
		return err
	}
	took, committed := commitMetrics()
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(cfg.Data, databaseName), Backups: filepath.Join(cfg.Data, "backups"), CheckBackup: checkBackup, Reserve: databaseReserve, Committed: committed, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	sweep(cfg.Data, log)
	if err := os.MkdirAll(cfg.Stage0, 0o755); err != nil {
		return fmt.Errorf("stage-0 folder: %w", err)
	}
	images, err := stage0.Open(stage0.Config{Dir: cfg.Stage0, Log: log})
	if err != nil {
		return err
	}
	defer images.Close()
	a := &appliance{cfg: cfg, log: log, rights: rights, tail: tail, db: db, took: took, meter: meter.New(db), guise: doctor.NewGuise(), packets: capture.New(log), images: images, media: &media{dir: cfg.IPXE, images: images, folder: cfg.Stage0}, restart: make(chan func() error, 1)}
	if err := a.wire(); err != nil {
		return err
	}
	return a.run(ctx, out, &between)
}

// wire makes every part; nothing runs yet.
func (a *appliance) wire() error {
	key, err := loadApplianceKey(a.cfg.Data)
	if err != nil {
		return err
	}
	a.people = &operators{store: a.db, fixed: a.cfg.sshKeys}
	keys := func() []string { return append([]string{key.authorizedKey()}, a.people.authorized()...) }
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	files := os.DirFS(a.cfg.IPXE)
	port := int(a.cfg.bootAddr.Port())
	book := leaseBook{a.db, a.cfg.reserved}
	if a.dhcp, err = server.New(server.Config{Interfaces: a.cfg.Interfaces, Mode: server.Mode(a.cfg.DHCP), Force: a.cfg.DHCPForce,
		Range: a.cfg.dhcpRange, Router: a.cfg.router, DNS: a.cfg.dns, NTP: a.cfg.ntp, Domain: a.cfg.DHCPDomain, Routes: a.cfg.routes, Relayed: a.cfg.relayed,
		LeaseTime: a.cfg.leaseTime, HTTPPort: port, Shims: a.media.shims(), RouterAdv: a.cfg.RouterAdv == "auto", Doctor: a.guise.Is, Store: a.db, Leases: book, Log: a.log}); err != nil {
		return err
	}
	if a.tftp, err = tftp.New(tftp.Config{Addr: ":69", Files: files, Store: a.db, Neighbor: neighbor.MAC, HTTPPort: port, Log: a.log}); err != nil {
		return err
	}
	if a.isos, err = httpboot.NewISOs(httpboot.ISOConfig{Store: a.db, Stage0: a.images, URLs: a.isoURLs,
		Fingerprint: func() string { return a.web.Pin() }, AuthorizedKeys: keys}); err != nil {
		return err
	}
	if a.boot, err = httpboot.New(httpboot.Config{Addr: a.cfg.bootAddr.String(), Store: a.db, Stage0: a.images, Files: files, JoinToken: a.isos.CheckToken,
		AuthorizedKeys: keys, Discovery: a.cfg.discovery, Neighbor: neighbor.MAC, LeaseIP: a.dhcp.LeaseOf, Doctor: a.guise.Is,
		PageURL: a.pageURL, KernelArgs: a.cfg.KernelArgs, Log: a.log}); err != nil {
		return err
	}
	registry.MustRegister(bootMetrics(a.tftp.Stats, a.boot.Stats)...)
	registry.MustRegister(a.took, a.meter, &siteMetrics{dhcp: a.dhcp.Status, rules: a.dhcp.Rules, store: a.db, size: a.db.Size,
		disk: func() int64 { return diskFree(a.cfg.Data) }})
	late := &lateHive{cfg: hive.Config{Dir: filepath.Join(a.cfg.Data, "hive"), Source: a.cfg.Hive, Nix: strings.Fields(a.cfg.Nix), NixArgs: a.cfg.NixArgs, Log: a.log},
		self: func() hive.ApplianceFile {
			return hive.ApplianceFile{SSHKeys: keys(), URLs: []string{a.web.URL()}, Caches: a.caches()}
		}}
	a.people.changed = late.rewrite
	if a.jobs, err = pipeline.New(pipeline.Config{Store: a.db, Hive: late, Key: key.signer, KeyPath: key.path, Dir: a.cfg.Data,
		NixosAnywhere: strings.Fields(a.cfg.NixosAnywhere), Nix: strings.Fields(a.cfg.Nix), Wake: web.BroadcastWake,
		Reserved: reserved(book, a.dhcp), Log: a.log}); err != nil {
		return err
	}
	net := &network{dhcp: a.dhcp}
	a.web, err = web.New(web.Config{Addr: a.cfg.WebAddr, Dir: a.cfg.Data, TLS: a.cfg.WebTLS, Names: a.cfg.WebNames, Version: versionText(), Store: a.db,
		Network: net, Leases: leases{book, a.dhcp}, Media: a.media, Images: a.media, ISOs: isos{a.isos}, SelfCheck: func() []web.Warning { return slices.Concat(a.warnings(), net.warnings(), a.rights.warnings()) }, Logs: jobLogs{a.jobs}, Boots: a.boot, Operator: operator{a.jobs},
		Hive: roles{a.jobs, late}, Setup: setup{a}, Operators: a.people, Backup: a.backup, Restore: a.takeBackup, Care: care{a}, Health: a.health, AgentHandler: a.boot.AgentHandler(), Metrics: registry, Log: a.log})
	return err
}

// run runs all parts in one group: the first error ends all of them.
func (a *appliance) run(ctx context.Context, out io.Writer, between *func() error) error {
	g, ctx := errgroup.WithContext(ctx)
	var ready []<-chan struct{}
	for _, p := range []struct {
		run   func(context.Context) error
		ready <-chan struct{}
	}{{a.dhcp.Run, a.dhcp.Ready()}, {a.tftp.Run, a.tftp.Ready()}, {a.boot.Run, a.boot.Ready()}, {a.web.Run, a.web.Ready()}, {a.jobs.Run, a.jobs.Ready()}} {
		g.Go(func() error { return p.run(ctx) })
		ready = append(ready, p.ready)
	}
	g.Go(func() error { return a.backups(ctx) })
	g.Go(func() error { return a.announce(ctx) })
	g.Go(func() error {
		select {
		case *between = <-a.restart:
			a.log.Info("the appliance restarts, as was asked for on the page")
			return errRestart
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return a.meter.Run(ctx) })
	g.Go(func() error { return a.packets.Run(ctx) })
	g.Go(func() error { return giveBack(ctx) })
	g.Go(func() error {
		for _, r := range ready {
			select {
			case <-r:
			case <-ctx.Done():
				return nil
			}
		}
		if err := a.rights.limit(); err != nil {
			return err
		}
		a.greet(out)
		if err := proveChoices(a.cfg.Data); err != nil {
			a.log.Warn("that the choices of the page work could not be kept", "err", err)
		}
		return a.tellSystemd(ctx)
	})
	return explain(g.Wait())
}
