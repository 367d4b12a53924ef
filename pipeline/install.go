package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Why nixos-anywhere was ended before it ended itself.
var (
	errLost      = errors.New("the machine does not answer any more")
	errRestarted = errors.New("the machine was restarted during the install")
	errIntruder  = errors.New("another machine answers at the address")
)

// doInstall lets nixos-anywhere write. The machine is looked at once more right before, since the build
// may have taken hours.
func (w *work) doInstall(ctx context.Context) error {
	if err := w.lookOnceMore(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir) // the planted secrets are in it
	p, err := w.prepareInstall()
	if err != nil {
		return &Failure{Step: StepInstall, Cause: "The appliance could not prepare the install; nothing was written.",
			Hint: "Look at the free space and the permissions of the data directory, then retry.", Err: err}
	}
	if err := w.recordWrite(); err != nil {
		return err
	}
	watch := &anywhere{w: w}
	p.line = watch.line
	err = watch.run(ctx, p)
	if err == nil {
		return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
			w.rec.Installed = true
			return nil
		})
	}
	if !watch.formatting.Load() || watch.refused {
		// The script was never started, or refused (exit 20 to 24) before it changed anything.
		if undo := w.undoWrite(); undo != nil && !errors.Is(undo, errStale) {
			return errors.Join(err, undo)
		}
	}
	return err
}

// prepareInstall makes the files of this run: the ssh wrapper, what is planted, a place for temporary files.
func (w *work) prepareInstall() (*program, error) {
	bin, tmp, err := w.prepareRun(w.host.HostKey, w.host.IP)
	if err != nil {
		return nil, err
	}
	extra := filepath.Join(w.dir, "extra")
	plant, err := w.planted()
	if err != nil {
		return nil, err
	}
	if err := writeExtra(extra, plant); err != nil {
		return nil, err
	}
	p := w.anywhereProgram(w.rec.Script, w.rec.Toplevel, "disko,install", bin, tmp)
	p.argv = append(p.argv, "--extra-files", extra)
	for _, remote := range w.rec.Layout.KeyFiles {
		local, err := w.r.diskKey(w.hostID, remote)
		if err != nil {
			return nil, err
		}
		p.argv = append(p.argv, "--disk-encryption-keys", remote, local)
	}
	return p, nil
}

// anywhereProgram is nixos-anywhere with the script and system, for some of its phases, with our ssh first in PATH.
func (w *work) anywhereProgram(script, system, phases, bin, tmp string) *program {
	argv := append(w.r.anywhere(), "--store-paths", script, system, "-i", w.r.cfg.KeyPath,
		"--target-host", target(w.host), "--phases", phases, "--no-substitute-on-destination", "--build-on", "local")
	if w.r.cfg.SSHPort != 22 {
		argv = append(argv, "--ssh-port", strconv.Itoa(int(w.r.cfg.SSHPort)))
	}
	return &program{argv: argv, dir: w.dir, grace: w.r.limit.Grace, on: w.r.thread,
		env: envWith("PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+tmp, "LC_ALL=C", jobVar+"="+w.mark())}
}

// target is the machine as nixos-anywhere and ssh name it.
func target(h inventory.Host) string {
	return "root@" + h.IP.String() // ssh takes a bare IPv6 address here
}

// planted gathers what the installed system needs to be itself.
func (w *work) planted() (planted, error) {
	w.r.keyMu.Lock()
	defer w.r.keyMu.Unlock()
	var p planted
	key, public, err := w.r.vault.hostKey(w.hostID, w.host.InstalledKey)
	if err != nil {
		return p, err
	}
	if public != w.host.InstalledKey {
		return p, fmt.Errorf("the SSH host key of %s on disk is not the recorded one", w.host.Label())
	}
	p.hostKey = key
	if p.serverToken, p.agentToken, err = w.r.vault.tokensFor(w.rec.K3s); err != nil {
		return p, err
	}
	p.hostJSON, err = json.MarshalIndent(w.r.hostFile(&w.host, w.role, w.rec.K3s, w.rec.Plan), "", "  ")
	return p, err
}

// anywhere watches one run of nixos-anywhere.
type anywhere struct {
	w          *work
	formatting atomic.Bool  // the install script was started
	silent     atomic.Int32 // connection failures since the last mark
	stop       context.CancelCauseFunc
	mu         sync.Mutex         // guards w while the run lasts
	ctx        context.Context    // of the run
	copying    context.CancelFunc // ends the copy's display; nil before it
	shows      sync.WaitGroup
	phase      string   // our title of the phase it is in
	lines      []string // the last ones of that phase
	refused    bool     // the script refused with nothing written
}

// run runs it to its end, with a guard beside it that ends it when the machine is lost.
func (a *anywhere) run(ctx context.Context, p *program) error {
	ctx, a.stop = context.WithCancelCause(ctx)
	defer a.stop(nil)
	a.ctx = ctx
	guarded := make(chan struct{})
	host := a.w.host // the run works with this address and key, whatever a new check-in says
	go func() {
		defer close(guarded)
		a.guard(ctx, host)
	}()
	code, err := p.run(ctx)
	why := context.Cause(ctx)
	a.stop(nil)
	<-guarded
	a.shows.Wait()
	// Nothing of it may be left before anything else is done.
	tidy, done := context.WithTimeout(context.WithoutCancel(ctx), sweepLimit)
	defer done()
	if n, kerr := endLeftovers(tidy, a.w.r.thread, a.w.mark()); n > 0 || kerr != nil {
		a.w.say(a.w.step.Name, "%d programs that it left were ended", n)
	}
	switch {
	case why != nil:
		return a.stopped(why)
	case err != nil:
		return &Failure{Step: StepInstall, Cause: "nixos-anywhere could not be started on the appliance; nothing was written.",
			Hint: "Install nixos-anywhere there or say where it is with --nixos-anywhere, then retry.", Err: err}
	case code != 0:
		a.refused = refusedIn(a.phase, code)
		return installFailure(code, a.phase, a.lines)
	}
	return nil
}

// stopped is the error of a run that was ended from outside.
func (a *anywhere) stopped(why error) error {
	f := &Failure{Step: StepInstall, Err: why,
		Hint: "Look at the machine's power and network cable. Once stage-0 has checked in again, retry; persistent disks are kept."}
	wrote := "the disks of the plan may be half written"
	if !a.formatting.Load() {
		wrote = "nothing was written"
	}
	switch {
	case errors.Is(why, errLost):
		f.Cause = fmt.Sprintf("The machine did not answer for %s during the install; %s.", a.w.r.limit.Lost, wrote)
	case errors.Is(why, errRestarted):
		f.Cause = "interrupted: the machine was restarted during the install; " + wrote + "."
	case errors.Is(why, errIntruder), errors.Is(why, errWrongKey):
		f.Cause = "Another machine answers at the address, with another SSH host key; " + wrote + "."
		f.Hint = "Find the machine that took the address, then retry."
	case errors.Is(why, errNoEntry):
		f.Cause = "Stage-0 does not let the appliance's SSH key in; " + wrote + "."
		f.Hint = "Restart the machine so that its agent fetches the key again, then retry."
	default:
		return why
	}
	return f
}

// line takes one line of nixos-anywhere's output.
func (a *anywhere) line(text string, stderr bool) {
	a.w.log.add(a.w.step.Name, text)
	if m, ok := mark(text); ok && !stderr {
		a.silent.Store(0)
		a.onMark(m)
		return
	}
	switch sshTrouble(text) {
	case wrong:
		a.stop(errIntruder)
	case refused:
		a.stop(errNoEntry)
	case silent:
		if a.silent.Add(1) >= maxSilent { // it would try for ever
			a.stop(errLost)
		}
	case fine:
	}
	if a.lines = append(a.lines, text); len(a.lines) > keptLines {
		a.lines = a.lines[1:]
	}
}

// maxSilent is how many connections may fail in a row, without progress between, before the target
// counts as lost; nixos-anywhere waits 3 s between two.
const maxSilent = 20

// keptLines is how many lines of a phase are looked at when it fails.
const keptLines = 30

func (a *anywhere) onMark(m string) {
	p := phaseOf(m)
	if p.Title == "" || p.Done {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase, a.lines = p.Title, nil
	if a.copying != nil {
		a.copying()
	}
	if p.Title == phaseFormat {
		a.formatting.Store(true)
	}
	if p.Formatted && len(a.w.rec.Plan.WipePersistent) > 0 && len(a.w.rec.Wiped) == 0 {
		a.w.rec.Wiped = append(a.w.rec.Wiped, a.w.rec.Plan.WipePersistent...) // stored with the progress
	}
	a.w.progress(p.Title)
	if total := a.w.rec.Bytes; p.Title == phaseCopy && total > 0 {
		var ctx context.Context
		ctx, a.copying = context.WithCancel(a.ctx)
		a.shows.Go(func() { a.showCopy(ctx, total) })
	}
}

// guard asks the machine for its boot id again and again while nixos-anywhere runs: a machine that was
// restarted or cut off ends the run, which by itself would never notice.
func (a *anywhere) guard(ctx context.Context, host inventory.Host) {
	l := a.w.r.limit
	var c *conn
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	heard := time.Now()
	for pause(ctx, 2*l.Poll) == nil {
		err := a.ask(ctx, &c, host)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			heard = time.Now()
		case errors.Is(err, errRestarted), errors.Is(err, errIntruder):
			a.stop(err)
			return
		case time.Since(heard) > l.Lost:
			a.stop(errLost)
			return
		}
	}
}

// ask makes sure that the machine is still in the boot the run began in.
func (a *anywhere) ask(ctx context.Context, c **conn, host inventory.Host) error {
	ctx, stop := context.WithTimeout(ctx, a.w.r.limit.Dial)
	defer stop()
	if *c == nil {
		fresh, err := a.w.r.ssh.dial(ctx, host.IP, host.HostKey)
		if err != nil {
			return err // another key may be a machine that restarted: its check-in tells, or the run is lost
		}
		*c = fresh
	}
	boot, err := (*c).run(ctx, bootScript)
	if err != nil {
		(*c).close()
		*c = nil
		return err
	}
	if strings.TrimSpace(boot) != host.BootID {
		return errRestarted
	}
	return nil
}
