package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// Hive is what the runner needs of the repository of host facts; *hive.Hive is one. What its owner wires must
// have written appliance.json, or installed hosts do not let the appliance in. Safe for concurrent use.
type Hive interface {
	// Roles evaluates the roles at the newest commit.
	Roles(ctx context.Context) (inventory.Hive, error)
	// Head is the newest commit.
	Head(ctx context.Context) (string, error)
	// WriteHost commits what is known of one host.
	WriteHost(ctx context.Context, f hive.HostFacts) (commit string, err error)
	// Build builds a host's system and install script at a commit; log takes nix's output.
	Build(ctx context.Context, commit, name string, log io.Writer) (hive.Built, error)
	// BuildFormat builds the script that formats one persistent slot of a host.
	BuildFormat(ctx context.Context, commit, name, slot string, log io.Writer) (script string, err error)
	// ReadHost reads what the newest commit says of a host; false when it says nothing.
	ReadHost(ctx context.Context, name string) (hive.HostFile, bool, error)
	// History lists the newest commits, newest first.
	History(ctx context.Context) ([]hive.Commit, error)
}

var _ Hive = (*hive.Hive)(nil)

// Config is what a [Runner] needs. Store, Hive, Key, KeyPath and Dir are required.
type Config struct {
	Store inventory.Store
	Hive  Hive
	// Key is the appliance's SSH key, KeyPath the file it is in (nixos-anywhere reads it).
	Key     ssh.Signer
	KeyPath string
	// Dir is the data directory: ssh/hosts, secrets, logs/jobs and run live in it.
	Dir string
	// NixosAnywhere is its command line; nil = "nixos-anywhere" from PATH, or else `nix run` of a pinned release.
	NixosAnywhere []string
	// Nix is the command line of nix, for that and for copying a system to a running machine; nil = ["nix"].
	Nix []string
	// Wake sends a Wake-on-LAN packet to a machine that a job waits for; nil = never.
	Wake func(ctx context.Context, mac inventory.MAC) error
	// Reserved is the address that this appliance's own DHCP server keeps for a MAC; nil = it hands none out.
	Reserved func(mac inventory.MAC) (netip.Addr, bool)
	// SSH is the ssh program that the wrapper runs; "" = ssh from PATH.
	SSH string
	// SSHPort is where machines listen; 0 = 22. Only tests use another.
	SSHPort uint16
	// Jobs is how many machines are installed at once; 0 = 4.
	Jobs   int
	Limits Limits
	// RolesEvery is how often the hive is asked for a new commit; 0 = 15 s.
	RolesEvery time.Duration
	// Tick is how often waiting jobs are looked at when nothing changes; 0 = 5 s.
	Tick time.Duration

	Log *slog.Logger     // nil = discard
	Now func() time.Time // nil = time.Now
}

// Runner carries jobs out. Safe for concurrent use.
type Runner struct {
	cfg   Config
	limit Limits
	ssh   *dialer
	masks *masks
	vault *vault
	ready chan struct{}
	wake  chan struct{} // holds one token while a look at the queue is due
	roles chan struct{} // holds one token while the roles are to be read again
	// thread starts and watches the programs of jobs; Run makes it.
	thread thread

	mu     sync.Mutex
	active map[inventory.HostID]*work
	logs   map[inventory.JobID]*joblog
	// journals are what of stage-0\'s journals is in the logs of each host's last job.
	journals map[inventory.HostID]*journal
	wg       sync.WaitGroup // works and errands
	errand   map[inventory.HostID]bool
	// aheadDone says for which plan a queued job was built ahead; one is built at a time.
	aheadDone map[inventory.JobID]string
	aheadBusy bool
	// left is how many programs an earlier run left of a job, by mark, until that is told in the job's log.
	left   map[string]int
	opened chan struct{} // closed and made anew when a job's log is opened

	hiveMu sync.Mutex // one reader of the roles at a time
	keyMu  sync.Mutex // guards vault
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Runner, error) {
	switch {
	case cfg.Store == nil || cfg.Hive == nil:
		return nil, errors.New("pipeline: no store or no hive")
	case cfg.Key == nil || cfg.KeyPath == "":
		return nil, errors.New("pipeline: no SSH key")
	case cfg.Dir == "":
		return nil, errors.New("pipeline: no data directory")
	}
	for _, p := range []*string{&cfg.Dir, &cfg.KeyPath} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("pipeline: %w", err)
		}
		*p = abs
	}
	if cfg.SSHPort == 0 {
		cfg.SSHPort = 22
	}
	if cfg.Jobs <= 0 {
		cfg.Jobs = 4
	}
	if cfg.RolesEvery <= 0 {
		cfg.RolesEvery = 15 * time.Second
	}
	if cfg.Tick <= 0 {
		cfg.Tick = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{cfg: cfg, limit: cfg.Limits.withDefaults(), masks: &masks{}, ready: make(chan struct{}),
		wake: make(chan struct{}, 1), roles: make(chan struct{}, 1),
		active: map[inventory.HostID]*work{}, logs: map[inventory.JobID]*joblog{}, journals: map[inventory.HostID]*journal{}, errand: map[inventory.HostID]bool{}, opened: make(chan struct{}),
		aheadDone: map[inventory.JobID]string{}, left: map[string]int{}}
	r.ssh = &dialer{signer: cfg.Key, port: cfg.SSHPort, timeout: r.limit.Dial}
	r.vault = &vault{dir: cfg.Dir, masks: r.masks}
	return r, nil
}

// Ready is closed once the runner watches the store and has looked at all open jobs.
func (r *Runner) Ready() <-chan struct{} { return r.ready }

// Run carries jobs out until ctx ends; then it ends every program it started, leaves the jobs as
// they are (the next start looks at them), and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	r.thread = startThread()
	defer close(r.thread.work) // after all works have ended
	if err := r.prepare(ctx); err != nil {
		return err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	changes := r.cfg.Store.Watch(watchCtx)
	defer func() {
		stopWatch()
		for range changes { // until the store has let go of us
		}
		r.stopAll()
	}()
	r.wg.Go(func() { r.followHive(ctx) })
	r.report("rules", r.allRules())
	r.look(ctx)
	close(r.ready)
	tick := time.NewTicker(r.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c, ok := <-changes:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("pipeline: the store ended its feed of changes")
			}
			r.onChange(c)
		case <-r.wake:
			r.look(ctx)
		case <-tick.C:
			r.look(ctx)
		}
	}
}

// prepare makes the folders, ends and drops what a killed run left, and learns every secret to mask.
func (r *Runner) prepare(ctx context.Context) error {
	if err := r.endLeft(ctx); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	run := filepath.Join(r.cfg.Dir, "run")
	if err := os.RemoveAll(filepath.Join(run, "jobs")); err != nil {
		return fmt.Errorf("pipeline: leftovers of earlier jobs: %w", err)
	}
	for _, d := range []string{filepath.Join(run, "jobs"), filepath.Join(r.cfg.Dir, "logs", "jobs"), filepath.Join(r.cfg.Dir, "ssh", "hosts")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("pipeline: %w", err)
		}
	}
	if err := r.trimLogs(); err != nil {
		return err
	}
	if raw, err := os.ReadFile(r.cfg.KeyPath); err == nil {
		r.masks.add(secret(raw))
	}
	return r.vault.known()
}

// endLeft ends every program of any job that an earlier run left, and counts them: now, because the process is soon
// held to its own (a Landlock domain sees no process of another one).
func (r *Runner) endLeft(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ended, err := endMarked(bounded, r.thread, func(mark string) bool { return strings.HasPrefix(mark, r.cfg.Dir+":") })
	for _, mark := range ended {
		r.left[mark]++
	}
	if ctx.Err() != nil { // the appliance ends
		return nil
	}
	return err
}

// leftOf is how many programs of a job were ended at the start; told once.
func (r *Runner) leftOf(mark string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.left[mark]
	delete(r.left, mark)
	return n
}

// stopAll ends all works and waits for them.
func (r *Runner) stopAll() {
	r.mu.Lock()
	for _, w := range r.active {
		w.cancel(errShutdown)
	}
	r.mu.Unlock()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, l := range r.logs {
		l.close()
		delete(r.logs, id)
	}
}

// onChange reacts to one committed change.
func (r *Runner) onChange(c inventory.Change) {
	if c.Lost > 0 {
		r.report("rules", r.allRules())
	}
	switch c.Kind {
	case inventory.HostChanged:
		r.report("rules", r.ruleFor(c.Host))
		r.nudge(r.wake)
	case inventory.JobChanged:
		r.report("job log", r.closeEnded(c.Job))
		r.nudge(r.wake)
	case inventory.HostForgotten, inventory.DiaryGrew:
	}
	if c.Lost > 0 {
		r.nudge(r.wake)
	}
}

func (r *Runner) nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// report logs an error of the runner's own work; the next look tries again.
func (r *Runner) report(what string, err error) {
	if err != nil {
		r.cfg.Log.Error("pipeline", "step", what, "err", err)
	}
}

// ruleFor lets the rules act on one host.
func (r *Runner) ruleFor(id inventory.HostID) error {
	due := false
	var roles map[string]inventory.Role
	err := r.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.Host(id)
		if err != nil {
			return ignoreNotFound(err)
		}
		if due = h.NoRule() == ""; !due {
			return nil
		}
		hv, err := tx.Hive()
		roles = hv.Roles
		due = len(inventory.Matching(&h, roles)) > 0
		return err
	})
	if err != nil || !due {
		return err
	}
	return ignoreNotFound(r.cfg.Store.Update(func(tx *inventory.Tx) error { return applyRules(tx, id, roles, r.cfg.Now()) }))
}

// allRules lets the rules act on every host that needs a role: it costs what these are, not what the site has.
func (r *Runner) allRules() error {
	for after := ""; ; {
		var due []inventory.HostID
		err := r.cfg.Store.View(func(tx *inventory.Tx) error {
			hosts, next, err := tx.Ranked(inventory.RankQuery{State: inventory.StateReady, After: after, Limit: 500})
			after = next
			for i := range hosts {
				if hosts[i].NoRule() == "" {
					due = append(due, hosts[i].ID)
				}
			}
			return err
		})
		for _, id := range due {
			err = errors.Join(err, r.ruleFor(id))
		}
		if err != nil || after == "" {
			return err
		}
	}
}

// anywhere is the command line of nixos-anywhere: the configured one, the one in PATH, or a pinned release.
func (r *Runner) anywhere() []string {
	if len(r.cfg.NixosAnywhere) > 0 {
		return slices.Clone(r.cfg.NixosAnywhere)
	}
	if p, err := exec.LookPath("nixos-anywhere"); err == nil {
		return []string{p}
	}
	return append(r.nix(), "--extra-experimental-features", "nix-command flakes", "run", pinnedAnywhere, "--")
}

// nix is the command line of nix.
func (r *Runner) nix() []string {
	if len(r.cfg.Nix) == 0 {
		return []string{"nix"}
	}
	return slices.Clone(r.cfg.Nix)
}

// sshOptions are what nix is to give ssh besides what our wrapper does.
func (r *Runner) sshOptions() string {
	if r.cfg.SSHPort == 22 {
		return ""
	}
	return fmt.Sprintf("-p %d", r.cfg.SSHPort)
}

// pinnedAnywhere is the flake that is run when no nixos-anywhere is there: the release that nix-facts describes.
const pinnedAnywhere = "github:nix-community/nixos-anywhere/1.13.0"

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

func isNotFound(err error) bool { return errors.Is(err, inventory.ErrNotFound) }

// envWith is the environment of a job's programs: ours without what could redirect ssh or git, plus more.
func envWith(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		k, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(k, "SSH_") || strings.HasPrefix(k, "GIT_") || k == "NIX_SSHOPTS" || k == jobVar ||
			slices.ContainsFunc(more, func(m string) bool { return strings.HasPrefix(m, k+"=") })
	})
	return append(env, more...)
}
