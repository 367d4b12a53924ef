package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/tlspin"
	"github.com/staged-hive/hatchery/inventory"
)

// A boot from a USB image has no nonce on its command line: it carries the words of the
// appliance it was downloaded from, and asks that appliance for a nonce.

const (
	ownDiskPause = time.Minute // between questions whether an installed host is wanted after all
	joinPause    = 5 * time.Second
	findTime     = 2 * time.Second // of asking the LAN by mDNS
	maxLost      = 6               // reports in a row without an answer until all URLs are tried again
)

// errRejoin says that this boot's nonce is of no use any more.
var errRejoin = errors.New("join again")

// readPersonal reads the personalisation of the USB image; errNotBooted when there is none.
func readPersonal(m machine, file string) (*agentapi.Personal, error) {
	raw, err := fs.ReadFile(m.fsys, strings.TrimPrefix(filepath.Clean(file), "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotBooted
	}
	if err != nil {
		return nil, fmt.Errorf("personalisation of the USB image: %w", err)
	}
	p, err := agentapi.ParsePersonal(raw)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// pinnedTLS accepts the pinned certificate alone, whatever name or date is on it: the image was
// downloaded from the page that showed it. The pin was checked when the personalisation was read.
func pinnedTLS(pin string) *tls.Config {
	p, _ := tlspin.Parse(pin) // the zero pin accepts nothing
	conf := p.Config()
	check := conf.VerifyConnection
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := check(cs); err != nil {
			return fmt.Errorf("whoever answers there is not the appliance this USB image is from: %w", err)
		}
		return nil
	}
	return conf
}

// untilJoined asks the image's appliance for a nonce of this boot, at every URL in turn and then where mDNS
// says that it is now, until it gives one. For an installed host it only offers its disk, and asks again now and then.
func (a *agent) untilJoined(ctx context.Context) error {
	if err := addKeys(filepath.Join(a.m.root, "root/.ssh/authorized_keys"), a.personal.AuthorizedKeys); err != nil {
		return err
	}
	for {
		if a.personal.Static != nil {
			if err := a.setAddress(ctx); err != nil {
				a.say("cannot set the address of the USB image: %s", oneLine(err))
			}
		}
		reply, problems := a.joinAny(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := joinPause
		switch {
		case len(problems) > 0:
			a.say("this machine (%s) cannot join: %s. It tries again.", a.address(), strings.Join(problems, "; "))
		case reply.OwnDisk:
			a.say("%s", inventory.Clean(reply.Words, 500))
			pause = ownDiskPause
		default:
			return nil
		}
		if err := sleep(ctx, jitter(pause)); err != nil {
			return err
		}
	}
}

// joinAny tries every place once; the problems are empty when one of them answered with yes. Who refuses
// with the pinned certificate is the appliance itself: its words alone count then.
func (a *agent) joinAny(ctx context.Context) (reply agentapi.JoinReply, problems []string) {
	try := func(u string) bool {
		var err error
		if reply, err = a.join(ctx, u); err == nil {
			a.client.url, a.boot.URL, a.boot.Nonce, problems = u, u, reply.Nonce, nil
			return true
		}
		var no *refusal
		if errors.As(err, &no) {
			problems = []string{oneLine(err)}
			return true
		}
		problems = append(problems, oneLine(err))
		return ctx.Err() != nil
	}
	if slices.ContainsFunc(a.personal.URLs, try) {
		return reply, problems
	}
	search, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	found, err := a.find(search, a.personal.Fingerprint)
	if err != nil {
		problems = append(problems, oneLine(err))
	}
	for _, at := range found {
		if u := "https://" + at.String(); !slices.Contains(a.personal.URLs, u) && try(u) {
			break
		}
	}
	return reply, problems
}

func (a *agent) join(ctx context.Context, url string) (agentapi.JoinReply, error) {
	f := inventory.Facts{}
	a.m.system(&f)
	j := agentapi.Join{Token: a.personal.Token, UUID: f.UUID, Serial: f.Serial, Arch: kernelArch(runtime.GOARCH), Firmware: a.m.firmware()}
	var idle []inventory.MAC
	for _, n := range a.m.nics() { // those with an address first: one of them is the one in use
		if len(n.Addrs) > 0 {
			j.MACs = append(j.MACs, n.MAC)
		} else {
			idle = append(idle, n.MAC)
		}
	}
	if j.MACs = append(j.MACs, idle...); len(j.MACs) > 0 {
		a.boot.BootIF = j.MACs[0]
	}
	var reply agentapi.JoinReply
	c := a.client
	c.url = url
	err := c.post(ctx, agentapi.PathJoin, j, &reply)
	if err == nil && !reply.OwnDisk {
		err = agentapi.CheckNonce(reply.Nonce)
	}
	return reply, err
}

// setAddress gives the interface the image's fixed address, with the system's own ip program, unless it has it.
func (a *agent) setAddress(ctx context.Context) error {
	nic, ok := staticNIC(a.m.nics(), a.personal.Static.MAC)
	if a.m.exec == nil || slices.Contains(nic.Addrs, a.personal.Static.Address.String()) {
		return nil
	}
	if !ok {
		return errors.New("no such network interface")
	}
	for _, args := range staticCommands(nic.Name, a.personal.Static) {
		if out, err := a.m.exec(ctx, "ip", args...); err != nil {
			return fmt.Errorf("ip %s: %w %s", strings.Join(args, " "), err, out)
		}
	}
	return writeResolvers(filepath.Join(a.m.root, "etc/resolv.conf"), a.personal.Static.DNS)
}

// staticNIC is the interface with that MAC; for the zero MAC the first one with a cable in, or the first when none has.
func staticNIC(nics []inventory.NIC, mac inventory.MAC) (inventory.NIC, bool) {
	i := slices.IndexFunc(nics, func(n inventory.NIC) bool { return n.MAC == mac || mac.IsZero() && n.Up })
	if i < 0 && mac.IsZero() && len(nics) > 0 {
		i = 0
	}
	if i < 0 {
		return inventory.NIC{}, false
	}
	return nics[i], true
}

// staticCommands are the ip commands of a fixed address; replace makes a repeat harmless.
func staticCommands(ifname string, s *agentapi.Static) [][]string {
	out := [][]string{{"link", "set", "dev", ifname, "up"}, {"address", "replace", s.Address.String(), "dev", ifname}}
	if s.Gateway.IsValid() {
		out = append(out, []string{"route", "replace", "default", "via", s.Gateway.String(), "dev", ifname})
	}
	return out
}

func writeResolvers(file string, servers []netip.Addr) error {
	if len(servers) == 0 {
		return nil
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("resolvers: %w", err)
	}
	return nil
}
