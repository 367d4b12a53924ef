package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/dnssd"
	"github.com/staged-hive/hatchery/inventory"
)

// Waits between tries.
const (
	firstRetry = time.Second
	maxRetry   = 15 * time.Second
	keyPoll    = 250 * time.Millisecond
)

// agent is one run on one boot.
type agent struct {
	m       machine
	boot    bootWords
	keyFile string // below m.root
	out     io.Writer
	client  client
	bootID  string
	// personal is what a USB image carries; nil when netbooted.
	personal *agentapi.Personal
	// find asks the LAN where the appliance with that pin is, until the context ends.
	find func(ctx context.Context, pin string) ([]netip.AddrPort, error)

	said  string   // the last sentence on the console
	shown string   // page and state of the last QR code there
	log   []string // lines for the next report
	seq   uint64
	disks []string // the kernel's names at the last check-in
	lost  time.Time
}

func newAgent(m machine, b bootWords, keyFile string, out io.Writer) *agent {
	a := &agent{m: m, boot: b, keyFile: keyFile, out: out, find: dnssd.Find}
	a.client = client{url: b.URL, http: newHTTPClient(a.bootAddr, nil)}
	return a
}

// run joins where a USB image was started, checks in and reports until ctx ends; with once it returns after the first check-in.
func (a *agent) run(ctx context.Context, once bool) error {
	a.bootID = a.m.text("proc/sys/kernel/random/boot_id")
	if err := agentapi.CheckBootID(a.bootID); err != nil {
		return err
	}
	key, err := a.waitKey(ctx)
	if err != nil {
		return err
	}
	a.client.key = key
	// Counting on from the clock keeps the numbers rising over a restart of the agent itself.
	a.seq = uint64(time.Now().UnixMilli())
	for {
		if a.personal != nil {
			if err := a.untilJoined(ctx); err != nil {
				return err
			}
		}
		st, err := a.untilCheckedIn(ctx)
		if errors.Is(err, errRejoin) {
			continue
		}
		if err != nil || once {
			return err
		}
		if err := a.untilUnknown(ctx, st); err != nil {
			return err
		}
	}
}

// waitKey waits until sshd's setup has made the machine's host key.
func (a *agent) waitKey(ctx context.Context) (ssh.Signer, error) {
	for {
		raw, err := fs.ReadFile(a.m.fsys, strings.TrimPrefix(filepath.Clean(a.keyFile), "/"))
		if err == nil {
			key, err := ssh.ParsePrivateKey(raw)
			if err == nil {
				return key, nil
			}
			a.say("cannot use the SSH host key %s: %v", a.keyFile, err)
		} else {
			a.say("waits for the SSH host key %s", a.keyFile)
		}
		if err := sleep(ctx, keyPoll); err != nil {
			return nil, err
		}
	}
}

// untilCheckedIn tries to check in until it is answered with yes.
func (a *agent) untilCheckedIn(ctx context.Context) (agentapi.Status, error) {
	began, last := time.Now(), ""
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		st, err := a.checkIn(ctx)
		if err == nil {
			if last != "" {
				a.log = append(a.log, fmt.Sprintf("It took %s to check in; the last try before said: %s.", time.Since(began).Round(time.Second), last))
			}
			return st, nil
		}
		last = oneLine(err)
		if ctx.Err() != nil {
			return st, ctx.Err()
		}
		a.say("this machine (%s) is not checked in with %s: %s. It tries again.", a.address(), a.boot.URL, last)
		if action(err) == agentapi.ActionNothing {
			wait = maxRetry
		}
		if err := sleep(ctx, jitter(wait)); err != nil {
			return st, err
		}
		if a.personal != nil { // a new nonce, perhaps at another of its addresses
			return st, errRejoin
		}
	}
}

func (a *agent) checkIn(ctx context.Context) (agentapi.Status, error) {
	a.disks = a.m.diskNames()
	facts, err := a.m.facts(ctx, a.boot)
	if err != nil {
		return agentapi.Status{}, err
	}
	body := agentapi.CheckIn{Nonce: a.boot.Nonce, BootID: a.bootID, Facts: facts, Agent: agentVersion(),
		HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(a.client.key.PublicKey())))}
	var reply agentapi.CheckInReply
	if err := a.client.post(ctx, agentapi.PathCheckIn, body, &reply); err != nil {
		return reply.Status, err
	}
	if err := addKeys(filepath.Join(a.m.root, "root/.ssh/authorized_keys"), reply.AuthorizedKeys); err != nil {
		return reply.Status, err
	}
	a.show(reply.Status)
	return reply.Status, nil
}

// untilUnknown reports until the appliance does not know this boot any more or the disks
// changed: then it is time to check in again.
func (a *agent) untilUnknown(ctx context.Context, st agentapi.Status) error {
	for failed := 0; st.Action != agentapi.ActionCheckIn; {
		if err := sleep(ctx, jitter(st.Interval())); err != nil {
			return err
		}
		if st.Action == agentapi.ActionNothing {
			continue
		}
		if !slices.Equal(a.disks, a.m.diskNames()) {
			return nil
		}
		next, err := a.report(ctx)
		switch {
		case err == nil:
			st, failed = next, 0
			a.show(st)
		case action(err) == agentapi.ActionCheckIn:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			if a.lost.IsZero() {
				a.lost = time.Now()
			}
			a.say("lost contact with %s: %s. It tries again.", a.boot.URL, oneLine(err))
			st.ReportSeconds = 3
			if failed++; failed >= maxLost && a.personal != nil {
				return nil // the appliance may have moved to another of its addresses
			}
		}
	}
	return nil
}

func (a *agent) report(ctx context.Context) (agentapi.Status, error) {
	a.seq++
	p := agentapi.Progress{Nonce: a.boot.Nonce, BootID: a.bootID, Seq: a.seq, Log: a.log}
	if !a.lost.IsZero() {
		p.Log = append(p.Log[:len(p.Log):len(p.Log)], fmt.Sprintf("Had no contact with the appliance for %s.", time.Since(a.lost).Round(time.Second)))
	}
	var reply agentapi.ProgressReply
	if err := a.client.post(ctx, agentapi.PathProgress, p, &reply); err != nil {
		return reply.Status, err
	}
	a.log, a.lost = nil, time.Time{}
	return reply.Status, nil
}

// show writes the host's state on the console, when it changed.
func (a *agent) show(st agentapi.Status) {
	if key := st.Page + string(st.State); key != a.shown {
		a.shown = key
		_, _ = io.WriteString(a.out, pageQR(st.Page))
	}
	a.say("this machine is %s, address %s, appliance %s. %s", inventory.Clean(st.Name, 80), a.address(), a.boot.URL, inventory.Clean(st.Words, 500))
}

// say writes a sentence on the console, unless it is the last one again.
func (a *agent) say(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if s == a.said {
		return
	}
	a.said = s
	_, _ = fmt.Fprintf(a.out, "hatchery-agent: %s\n", s)
}

// bootAddr is an IPv4 address of the interface that netbooted, invalid when it has none.
func (a *agent) bootAddr() netip.Addr {
	for _, n := range a.m.nics() {
		if n.MAC != a.boot.BootIF {
			continue
		}
		for _, s := range n.Addrs {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
				return p.Addr()
			}
		}
	}
	return netip.Addr{}
}

// address is how people reach this machine, for the console.
func (a *agent) address() string {
	if ip := a.bootAddr(); ip.IsValid() {
		return ip.String()
	}
	for _, n := range a.m.nics() {
		for _, s := range n.Addrs {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().IsGlobalUnicast() {
				return p.Addr().String()
			}
		}
	}
	return "no address yet"
}

func oneLine(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "it did not answer in time"
	}
	return strings.TrimRight(inventory.Clean(err.Error(), 300), ".")
}

// jitter spreads the wait by a quarter, so that a room full of machines does not report at once.
func jitter(d time.Duration) time.Duration {
	return d*7/8 + rand.N(d/4+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
