package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/staged-hive/hatchery/internal/confine"
	"github.com/staged-hive/hatchery/web"
)

// ownUser is the user that the packages make for the appliance.
const ownUser = "hatchery"

var (
	// forever are the capabilities that the appliance runs with.
	forever = []confine.Capability{confine.NetBindService, confine.NetRaw}
	// starting are needed until the ports are open: to name who has one already.
	starting = append([]confine.Capability{confine.DACReadSearch, confine.SysPtrace}, forever...)
	// building are what nix needs when it builds as root, without a daemon.
	building = append([]confine.Capability{confine.Chown, confine.DACOverride, confine.Fowner, confine.Kill, confine.Setgid, confine.Setuid, confine.SysChroot}, forever...)
)

// privileges is how the appliance is kept from what it does not need.
type privileges struct {
	data, stage0 string
	daemon       string // nix-daemon's socket
	log          *slog.Logger
	stays        string // why it stays root; "" = it is not root
	found        atomic.Pointer[selfTest]
}

// selfTest is what was tried once the limits were set.
type selfTest struct {
	folders bool  // whether the kernel holds the process to its folders
	wrong   error // what it did and must not be able to
	tries   int
	dirs    []string
}

// newPrivileges makes the process the appliance's own user when root started it: before anything is opened.
func newPrivileges(cfg config, log *slog.Logger) (*privileges, error) {
	p := &privileges{data: cfg.Data, stage0: cfg.Stage0, daemon: nixDaemon(), log: log}
	if os.Geteuid() != 0 {
		return p, nil
	}
	u, why, err := p.chooseUser(cfg.User)
	if err != nil {
		return nil, err
	}
	if u == nil {
		p.stays = why
		// What nix writes beside its store belongs to the appliance's folder, too.
		return p, errors.Join(os.Setenv("XDG_CACHE_HOME", filepath.Join(p.data, ".cache")),
			os.Setenv("XDG_DATA_HOME", filepath.Join(p.data, ".local", "share")), os.Setenv("XDG_STATE_HOME", filepath.Join(p.data, ".local", "state")))
	}
	if err := handOver(p.data, u.UID, u.GID, log); err != nil {
		return nil, err
	}
	if err := confine.Become(*u, starting...); err != nil {
		return nil, fmt.Errorf("give up root: %w; --user root stays root", err)
	}
	for _, f := range []string{cfg.webCert, cfg.webKey} {
		// As the user itself, without the capabilities that end soon: the files are read again when they are renewed.
		if err := syscall.Access(f, 4); f != "" && err != nil {
			return nil, fmt.Errorf("web_tls: user %d, whom this process becomes, cannot read %s: %w; let that user read it (chgrp, chmod g+r), or start with --user root", u.UID, f, err)
		}
	}
	return p, os.Setenv("HOME", p.data)
}

// nixDaemon is where a nix-daemon listens when there is one.
func nixDaemon() string {
	if s := os.Getenv("NIX_DAEMON_SOCKET_PATH"); s != "" {
		return s
	}
	return "/nix/var/nix/daemon-socket/socket"
}

// chooseUser says whom root's process becomes; nil and why when it stays root.
func (p *privileges) chooseUser(name string) (u *confine.User, why string, err error) {
	auto := name == "auto"
	switch {
	case name == "root":
		return nil, "--user root asks for it", nil
	case auto:
		name = ownUser
	}
	found, err := user.Lookup(name)
	switch {
	case err != nil && auto:
		return nil, "this machine has no user " + ownUser + " (systemd-sysusers or `useradd --system " + ownUser + "` makes it)", nil
	case err != nil:
		return nil, "", fmt.Errorf("user = %q: %w", name, err)
	}
	if _, err := os.Stat(p.daemon); auto && err != nil {
		return nil, "nix has no daemon here, so only root can build (Debian: apt install nix-setup-systemd; no socket " + p.daemon + ")", nil
	}
	u = &confine.User{}
	groups, err := found.GroupIds()
	for _, g := range groups {
		gid, gerr := strconv.Atoi(g)
		u.Groups, err = append(u.Groups, gid), errors.Join(err, gerr)
	}
	var uerr, gerr error
	u.UID, uerr = strconv.Atoi(found.Uid)
	u.GID, gerr = strconv.Atoi(found.Gid)
	if err := errors.Join(err, uerr, gerr); err != nil {
		return nil, "", fmt.Errorf("user %s: %w", name, err)
	}
	if u.UID == 0 {
		return nil, "user " + name + " is root", nil
	}
	return u, "", nil
}

// limit holds the process to what it needs from now on: the ports are open, what an earlier run left was ended.
// It tries what must be impossible then, and says in the log how it stands.
func (p *privileges) limit() error {
	dirs := []string{p.data, p.stage0, os.TempDir()}
	keep := forever
	if p.stays != "" {
		keep = building
	}
	if _, err := os.Stat(p.daemon); err != nil { // nix builds in programs of ours
		dirs = append(dirs, "/nix")
	}
	folders, err := confine.Limit{Keep: keep, Dirs: dirs}.Set()
	if err != nil {
		return fmt.Errorf("give up what is not needed: %w", err)
	}
	tries := confine.Probe(dirs, p.stays != "")
	wrong := confine.Wrong(tries)
	p.found.Store(&selfTest{folders, wrong, len(tries), dirs})
	p.log.Info("limited to what is needed", "user", os.Getuid(), "capabilities", confine.Capabilities(), "writes", strings.Join(dirs, " "), "landlock", folders)
	if p.stays != "" {
		p.log.Warn("runs as root", "why", p.stays)
	}
	if wrong != nil {
		p.log.Error("the self-test did what must be impossible", "landlock", folders, "err", wrong)
	}
	return nil
}

// words say for the doctor what the process is and may do.
func (p *privileges) words() string {
	t := p.found.Load()
	if t == nil {
		return "Not limited yet: the appliance still starts."
	}
	who := fmt.Sprintf("It runs as user %d", os.Getuid())
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil { // Current remembers whom it was started by
		who = "It runs as " + u.Username
	}
	if p.stays != "" {
		who += ", because " + p.stays + ","
	}
	return fmt.Sprintf("%s with %s, and writes to %s alone. The %d things that it must not be able to do were tried at the start: it cannot.",
		who, strings.ReplaceAll(confine.Capabilities(), ",", ", "), strings.Join(t.dirs, ", "), t.tries)
}

// warnings is what the self-test found, for page and doctor.
func (p *privileges) warnings() []web.Warning {
	t := p.found.Load()
	switch {
	case t == nil || t.wrong == nil:
		return nil
	case !t.folders:
		return []web.Warning{{Text: "This kernel does not hold Hatchery to its folders (it has no Landlock of 5.19 or later): " + strings.ReplaceAll(t.wrong.Error(), "\n", ", ") + ".",
			Hint: "Machines boot as ever. Run it by its systemd unit, which holds it to them in another way, or on a newer kernel."}}
	}
	return []web.Warning{{Text: "Hatchery's self-test did what must be impossible: " + strings.ReplaceAll(t.wrong.Error(), "\n", ", ") + ".",
		Hint: "This is a fault in Hatchery or a very unusual machine: report it with the log. Machines boot as ever."}}
}
