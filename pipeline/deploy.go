package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// doReach connects to the installed system and looks at it; a machine that is off is woken once.
func (w *work) doReach(ctx context.Context) error {
	c, err := w.awaitSystem(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	out, err := c.run(ctx, reachScript)
	t := parseTrial(out)
	if err != nil || !t.whole {
		return &Failure{Step: StepReach, Cause: "The machine answered, but a look at it was cut short; nothing was changed.",
			Hint: "Look at its network cable and load, then deploy again.", Err: err}
	}
	w.say(StepReach, "it runs %s, systemd says %s, failed units: %s", t.system, cmp.Or(t.state, "nothing"), listOr(t.failed, "none"))
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Before, w.rec.Boots, w.rec.FailedBefore = t.system, t.boots, t.failed
		return nil
	})
}

// awaitSystem connects to the installed system, known by its planted key.
func (w *work) awaitSystem(ctx context.Context) (*conn, error) {
	woken := false
	var last error
	for {
		if err := w.reread(); err != nil {
			return nil, err
		}
		c, err := w.r.dialSystem(ctx, &w.host)
		if err == nil {
			return c, nil
		}
		if over(ctx) {
			return nil, w.systemFailure(cmp.Or(last, err))
		}
		if last = err; errors.Is(err, errSilent) && !woken && w.r.cfg.Wake != nil && !w.host.MAC.IsZero() {
			woken = true
			w.say(w.step.Name, "it does not answer: a Wake-on-LAN packet is sent")
			w.r.report("wake", w.r.cfg.Wake(ctx, w.host.MAC))
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return nil, w.systemFailure(last)
		}
	}
}

// systemFailure says why the installed system could not be reached.
func (w *work) systemFailure(last error) error {
	f := &Failure{Step: w.step.Name, Err: last, Cause: fmt.Sprintf("The installed system did not answer over SSH within %s; nothing was changed.", w.step.Limit),
		Hint: "Power the machine on, look at its network cable, then try again."}
	switch {
	case errors.Is(last, errWrongKey):
		f.Cause = "What answers at the host's address does not show the SSH host key that was planted; nothing was changed."
		f.Hint = "The machine may be in stage-0 (reboot it into its own disk), or another machine has its address."
	case errors.Is(last, errNoEntry):
		f.Cause = "The installed system does not let the appliance's SSH key in; nothing was changed."
		f.Hint = "Its role must authorise the appliance's key (appliance.json in the hive): switch it by hand once, or reinstall it."
	}
	return f
}

// doDeployFacts writes to the hive what changed of the host; the disks it was installed on stay as they are there.
func (w *work) doDeployFacts(ctx context.Context) error {
	f, known, err := w.r.cfg.Hive.ReadHost(ctx, w.host.Name)
	if err == nil && !known {
		return &Failure{Step: StepFacts, Cause: fmt.Sprintf("The hive has no hosts/%s/host.json; nothing was changed.", w.host.Name),
			Hint: "Was the host renamed since it was installed? Give it its name back, or reinstall it under the new one."}
	}
	if err == nil && f.Role != w.host.Role {
		return &Failure{Step: StepFacts, Cause: fmt.Sprintf("The hive has the host as %s, not as %s; nothing was changed.", f.Role, w.host.Role),
			Hint: "Give it its role back, or reinstall it with the new one."}
	}
	var part *hive.K3s
	if err == nil {
		part, err = w.deployPart(f.K3s)
	}
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	f.System, f.K3s, f.Address, f.MAC = w.role.System, part, w.r.address(&w.host), w.host.MAC
	commit, err := w.r.cfg.Hive.WriteHost(ctx, hive.HostFacts{Host: f})
	if err != nil {
		return w.hiveFailure(StepFacts, err)
	}
	w.say(StepFacts, "committed as %s", commit)
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Commit, w.rec.K3s = commit, part
		return nil
	})
}

// deployPart is the host's part in its cluster: the one it was installed with, as long as that still means something.
func (w *work) deployPart(old *hive.K3s) (part *hive.K3s, err error) {
	err = w.r.cfg.Store.View(func(tx *inventory.Tx) error {
		hv, err := tx.Hive()
		if err != nil {
			return err
		}
		fresh, blocked, err := w.r.joinCluster(tx, &w.host, w.role, hv.Roles, false)
		if err != nil || w.role.K3s == nil {
			return err
		}
		urls, err := w.r.serverURLs(tx, w.role.K3s.Cluster, hv.Roles)
		if err != nil {
			return err
		}
		if part = keepPart(old, w.role.K3s, urls); part != nil {
			return nil
		}
		if part = fresh; blocked != "" {
			return &Failure{Step: StepFacts, Cause: blocked, Hint: "Install that server first."}
		}
		return nil
	})
	return part, err
}

// keepPart is the part a running host keeps: a node that is joined to a living server, or began the cluster, is not
// told to join anew. nil when it needs a new part.
func keepPart(old *hive.K3s, k *inventory.K3s, urls []string) *hive.K3s {
	if old == nil || old.Role != k.Role || old.Cluster != k.Cluster || !old.Init && !slices.Contains(urls, old.ServerURL) {
		return nil
	}
	return old
}

// doDeployBuild builds the system at the commit.
func (w *work) doDeployBuild(ctx context.Context) error {
	sink := w.logWriter(StepBuild)
	b, err := w.r.cfg.Hive.Build(ctx, w.rec.Commit, w.host.Name, sink)
	sink.flush()
	if err != nil {
		return w.hiveFailure(StepBuild, err)
	}
	w.say(StepBuild, "built %s", b.Toplevel)
	return w.update(func(*inventory.Tx, *inventory.Host, *inventory.Job) error {
		w.rec.Toplevel = b.Toplevel
		return nil
	})
}

// unchanged reports whether the machine runs and boots what was built: there is nothing to copy or to switch.
func (w *work) unchanged() bool {
	return !w.rec.Writing && w.rec.Toplevel != "" && w.rec.Before == w.rec.Toplevel && w.rec.Boots == w.rec.Toplevel
}

// doCopy copies the system into the machine's store, and plants what is not there yet.
func (w *work) doCopy(ctx context.Context) error {
	if w.unchanged() {
		w.say(StepCopy, "the machine runs this very system: nothing to copy")
		return nil
	}
	c, err := w.awaitSystem(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	defer os.RemoveAll(w.dir)
	p, err := w.copyProgram(c.ip)
	if err != nil {
		return &Failure{Step: StepCopy, Cause: "The appliance could not prepare the copy; nothing was changed.",
			Hint: "Look at the free space and the permissions of the data directory, then deploy again.", Err: err}
	}
	last := ""
	p.line = func(text string, stderr bool) {
		w.log.add(StepCopy, text)
		if stderr {
			last = text
		}
	}
	code, err := p.run(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return &Failure{Step: StepCopy, Cause: "nix could not be started on the appliance; nothing was changed.", Hint: "Install nix there, then deploy again.", Err: err}
	case code != 0:
		return &Failure{Step: StepCopy, Cause: fmt.Sprintf("The system could not be copied to the machine (nix ended with %d): %s", code, sentence(cmp.Or(last, "it said nothing"))),
			Hint: "The machine runs on as it did. Look at its free space below /nix and at its network, then deploy again."}
	}
	return w.plantMissing(ctx, c)
}

// copyProgram is `nix copy` with an ssh of ours that pins the planted key. Signatures are not asked for: the machine
// trusts whoever may log in as root.
func (w *work) copyProgram(ip netip.Addr) (*program, error) {
	bin, tmp, err := w.prepareRun(w.host.InstalledKey, ip)
	if err != nil {
		return nil, err
	}
	host := ip.String()
	if ip.Is6() {
		host = "[" + host + "]"
	}
	argv := append(w.r.nix(), "--extra-experimental-features", "nix-command flakes", "copy", "--no-check-sigs", "--to", "ssh://root@"+host, w.rec.Toplevel)
	return &program{argv: argv, dir: w.dir, grace: w.r.limit.Grace, on: w.r.thread, env: envWith("PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+tmp, "LC_ALL=C",
		"NIX_SSHOPTS="+w.r.sshOptions(), jobVar+"="+w.mark())}, nil
}

// prepareRun makes the folder of one run of a program that speaks SSH: the wrapper first in PATH, and a place for
// temporary files.
func (w *work) prepareRun(hostKey string, ip netip.Addr) (bin, tmp string, err error) {
	if err := os.RemoveAll(w.dir); err != nil {
		return "", "", err
	}
	tmp = filepath.Join(w.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return "", "", err
	}
	sshProgram := w.r.cfg.SSH
	if sshProgram == "" {
		if sshProgram, err = exec.LookPath("ssh"); err != nil {
			return "", "", fmt.Errorf("no ssh program: install openssh-client: %w", err)
		}
	}
	bin, err = writeWrapper(w.dir, sshProgram, w.r.cfg.KeyPath, hostKey, ip)
	return bin, tmp, err
}

// plantMissing puts the tokens of the host's cluster on it where it has none: its role joined a cluster since the
// install. Tokens that are there are never replaced.
func (w *work) plantMissing(ctx context.Context, c *conn) error {
	w.r.keyMu.Lock()
	server, agent, err := w.r.vault.tokensFor(w.rec.K3s)
	w.r.keyMu.Unlock()
	if err == nil && server+agent != "" {
		_, err = c.run(ctx, plantScript(map[string]secret{"k3s-token": server, "k3s-agent-token": agent}))
	}
	if err != nil {
		return &Failure{Step: StepCopy, Cause: "The cluster's token could not be put on the machine; it runs on as it did.",
			Hint: "Look at its free space, then deploy again.", Err: err}
	}
	return nil
}

// plantScript writes secrets that the machine does not have. It travels on standard input; the secrets are hex.
func plantScript(files map[string]secret) string {
	var b strings.Builder
	b.WriteString("# hatchery: plant\nset -e\numask 077\nmkdir -p -m 755 /var/lib/hatchery\ncd /var/lib/hatchery\n")
	for _, name := range sortedNames(files) {
		if s := string(files[name]); s != "" {
			fmt.Fprintf(&b, "[ -s %[1]s ] || { cat >%[1]s.new <<'END'\n%[2]s\nEND\nmv %[1]s.new %[1]s; }\n", name, s)
		}
	}
	return b.String()
}

// doSwitch starts the trial and waits until the activation has ended.
func (w *work) doSwitch(ctx context.Context) error {
	if w.unchanged() {
		w.say(StepSwitch, "nothing to switch")
		return nil
	}
	if !w.rec.Writing { // else the appliance was restarted in the middle: the trial runs
		if err := w.startTrial(ctx); err != nil {
			return err
		}
	}
	var lines []string
	for {
		t, err := w.askTrial(ctx, len(lines)+1)
		if err == nil {
			for _, l := range t.log {
				w.say(StepSwitch, "%s", l)
			}
			lines = append(lines, t.log...)
			switch code := exitCode(t.exit); {
			case code > 0:
				return &Failure{Step: StepSwitch, Cause: fmt.Sprintf("The activation of the new system ended with %d: %s", code, sentence(lastLog(lines))),
					Hint: "Read the job's log, correct the role, then deploy again."}
			case !t.pending && !t.confirmed, t.wentBack():
				return w.trialLost(&t)
			case code == 0:
				return nil
			}
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return &Failure{Step: StepSwitch, Cause: fmt.Sprintf("The activation of the new system did not end within %s.", w.step.Limit),
				Hint: "Read the job's log, correct the role, then deploy again.", Err: err}
		}
	}
}

// startTrial records that the machine is about to switch, and gives the order.
func (w *work) startTrial(ctx context.Context) error {
	c, err := w.awaitSystem(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := w.update(func(_ *inventory.Tx, _ *inventory.Host, j *inventory.Job) error {
		w.rec.Writing = true
		return nil
	}); err != nil {
		return err
	}
	_, err = c.run(ctx, switchScript(w.rec.Toplevel, w.r.limit.Trial))
	var exit *ssh.ExitError
	if errors.As(err, &exit) { // refused: no trial began
		w.rec.Writing = false
		f := &Failure{Step: StepSwitch, Cause: "The machine did not begin to switch; it runs on as it did.", Hint: "Read the job's log, then deploy again.", Err: err}
		if exit.ExitStatus() == exitBusy {
			f.Cause, f.Hint = "Another deploy is on trial on the machine.", "Wait until it has ended, then deploy again."
		}
		return f
	}
	return nil // a connection that is lost now proves nothing: the trial is asked for
}

// askTrial asks the machine by a new connection how its trial goes; that also tells it that the appliance is there.
func (w *work) askTrial(ctx context.Context, from int) (trial, error) {
	if err := w.reread(); err != nil {
		return trial{}, err
	}
	c, err := w.r.dialSystem(ctx, &w.host)
	if err != nil {
		return trial{}, err
	}
	defer c.close()
	out, err := c.run(ctx, trialScript(from))
	t := parseTrial(out)
	if err == nil && !t.whole {
		err = errSilent
	}
	return t, err
}

// trialLost is the failure of a trial that is not there any more: the machine restarted, or went back by itself.
func (w *work) trialLost(t *trial) *Failure {
	f := &Failure{Step: w.step.Name, Cause: "The machine heard nothing of the appliance for too long and went back by itself.",
		Hint: "Look at the network between the two: does the new system change the machine's address or firewall? Then deploy again."}
	if !t.wentBack() {
		f.Cause = "The machine was restarted in the middle of the trial."
		f.Hint = "Look at its power, and at the job's log, then deploy again."
	}
	return f
}

// doHealth waits until the machine is well in its new system.
func (w *work) doHealth(ctx context.Context) error {
	var last error
	bad := 0
	for {
		t, err := w.askTrial(ctx, 1<<30)
		fresh := t.newlyFailed(w.rec.FailedBefore)
		switch {
		case err != nil:
			last = err
		case t.system != w.rec.Toplevel && !w.unchanged():
			return w.trialLost(&t)
		case t.system != w.rec.Toplevel:
			return &Failure{Step: StepHealth, Cause: "The machine runs another system than a moment ago.", Hint: "Somebody else switched it: deploy again."}
		case t.wentBack():
			return w.trialLost(&t)
		case t.settled() && len(fresh) == 0:
			w.say(StepHealth, "it answers anew, runs the built system, and no unit failed that ran before (systemd says %s)", cmp.Or(t.state, "nothing"))
			return nil
		case t.settled():
			if bad++; bad >= 3 { // a unit may fail once while another that it needs restarts
				return &Failure{Step: StepHealth, Cause: fmt.Sprintf("In the new system %s failed that ran before.", strings.Join(fresh, ", ")),
					Hint: "Look at the unit's journal on the machine and correct the role, then deploy again."}
			}
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return &Failure{Step: StepHealth, Cause: fmt.Sprintf("The machine was not seen to be well within %s after it switched.", w.step.Limit),
				Hint: "Does the new system change its address, its firewall or the appliance's key? Correct the role, then deploy again.", Err: last}
		}
	}
}

// doConfirm makes the system what boots.
func (w *work) doConfirm(ctx context.Context) error {
	if w.unchanged() {
		return nil
	}
	c, err := w.awaitSystem(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.run(ctx, confirmScript(w.rec.Toplevel))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		w.rec.Writing = false
		return nil
	case !errors.As(err, &exit):
		return &Failure{Step: StepConfirm, Cause: "The connection was lost while the new system was made the one that boots.",
			Hint: "Deploy again: it looks at what the machine runs and boots.", Err: err}
	case exit.ExitStatus() == exitBoot:
		w.rec.Writing = false // it went back, and its trial is over
		return &Failure{Step: StepConfirm, Cause: "The new system runs but could not be made the one that boots; the machine went back to its earlier system.",
			Hint: "Look at the free space of its boot partition, then deploy again.", Err: err}
	}
	return w.trialLost(&trial{undoing: exit.ExitStatus() == exitLate})
}

// goBack makes a machine whose trial failed run its earlier system again, as well as it can be done, and says in the
// failure what it runs now.
func (w *work) goBack(ctx context.Context, why error) error {
	if w.job.Kind != inventory.JobDeploy || !w.rec.Writing || ended(ctx, why) == errShutdown || ended(ctx, why) == errStale {
		return why
	}
	if ctx.Err() != nil && ended(ctx, why) == nil { // the appliance stops
		return why
	}
	l := w.r.limit
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), l.Trial+l.Switch/2+2*l.Dial)
	defer stop()
	now := w.undoTrial(ctx)
	w.say(w.step.Name, "%s", now)
	var f *Failure
	if errors.As(why, &f) {
		more := *f
		more.Cause += " " + now
		return &more
	}
	return why
}

// undoTrial tells the machine to go back and waits until it has; it says in a sentence what became of it.
func (w *work) undoTrial(ctx context.Context) string {
	for {
		if c, err := w.r.dialSystem(ctx, &w.host); err == nil {
			out, err := c.run(ctx, undoScript+trialScript(1<<30))
			c.close()
			t := parseTrial(out)
			switch {
			case err != nil || !t.whole:
			case t.confirmed && t.system == w.rec.Toplevel:
				return "It was made the system that boots already: look at what the machine runs, and deploy again."
			case t.undone != "" && t.undone != "0":
				return fmt.Sprintf("The machine went back to %s, whose activation ended with %s.", t.system, t.undone)
			case t.system != w.rec.Toplevel && (t.undone == "0" || !t.pending && !t.undoing):
				return "The machine runs its earlier system again."
			}
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			return fmt.Sprintf("The machine does not answer; it goes back to its earlier system by itself when it has heard nothing for %s, and boots it after a power cut.", w.r.limit.Trial)
		}
	}
}

// deployed ends a deploy well.
func (w *work) deployed() error {
	same := w.unchanged()
	return w.update(func(tx *inventory.Tx, h *inventory.Host, j *inventory.Job) error {
		now := w.r.cfg.Now()
		next, err := inventory.Next(*h, inventory.UpkeepDone{})
		if err != nil {
			return err
		}
		next.InstalledSystem, next.InstalledRole, next.InstalledCommit, next.Behind = w.rec.Toplevel, j.Role, w.rec.Commit, 0
		*h = next
		j.State, j.EndedAt = inventory.JobDone, now
		text := fmt.Sprintf("Deployed: %s runs %s and boots it from now on.", h.Label(), w.rec.Toplevel)
		if same {
			text = fmt.Sprintf("Deployed: %s ran the hive's newest system already.", h.Label())
		}
		w.say(w.step.Name, "%s", text)
		return tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "state", By: "pipeline", Duration: now.Sub(j.StartedAt).Truncate(time.Second), Text: text})
	})
}
