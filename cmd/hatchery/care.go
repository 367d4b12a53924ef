package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/internal/doctor"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/web"
)

// Bounds of what the doctor finds too little, in bytes.
const (
	littleData  = 1 << 30  // in the data folder: logs, backups, a new stage-0 image
	littleStore = 10 << 30 // in /nix: a system's closure is 2 to 5 GB
)

// care implements web.Care for the appliance.
type care struct{ a *appliance }

// Doctor implements web.Care.
func (c care) Doctor(ctx context.Context) ([]web.Check, error) {
	checks := c.network()
	checks = append(checks, warned("boot files and images", "iPXE files and stage-0 images are there.", c.a.media.warnings())...)
	checks = append(checks, programs(ctx, c.a.cfg.Nix, c.a.cfg.NixosAnywhere)...)
	checks = append(checks, room("disk space", c.a.cfg.Data, littleData))
	if _, err := os.Stat("/nix/store"); err == nil {
		checks = append(checks, room("disk space of the Nix store", "/nix", littleStore))
	}
	checks = append(checks, clock(time.Now()))
	checks = append(checks, warned("privileges", c.a.rights.words(), c.a.rights.warnings())...)
	return append(checks, c.plays(ctx)...), nil
}

// network tells of the interfaces, the DHCP mode and the other servers.
func (c care) network() []web.Check {
	st := c.a.dhcp.Status()
	var out []web.Check
	for _, i := range st.Interfaces {
		ch := web.Check{Name: "interface " + i.Name, State: web.CheckOK, Text: fmt.Sprintf("%v. %s", i.Addrs, i.Why)}
		if i.Note != "" {
			ch.State, ch.Text, ch.Hint = web.CheckFail, i.Note, "Machines behind it are not heard until then."
		} else if !i.Raw {
			ch.State, ch.Text, ch.Hint = web.CheckFail, "There is no raw socket: replies are broadcast, and other DHCP servers are not looked for.", "Give the process CAP_NET_RAW."
		}
		out = append(out, ch)
	}
	if len(st.Interfaces) == 0 && st.Role != "off" {
		out = append(out, web.Check{Name: "interfaces", State: web.CheckFail, Text: "No interface is served.", Hint: "Name one with --interface; `ip link` lists them."})
	}
	text := "DHCP is " + st.Role + ": " + st.Why
	for _, o := range st.Servers {
		text += fmt.Sprintf(" Heard: %s on %s.", o, o.Iface)
	}
	var found []web.Warning
	for _, w := range networkWarnings(st) {
		if !strings.HasPrefix(w.Text, "Interface ") { // told above
			found = append(found, w)
		}
	}
	return append(out, warned("DHCP servers", text, found)...)
}

// warned is a check that is well with that text where nothing was found.
func warned(name, well string, found []web.Warning) []web.Check {
	if len(found) == 0 {
		return []web.Check{{Name: name, State: web.CheckOK, Text: well}}
	}
	out := make([]web.Check, len(found))
	for i, w := range found {
		out[i] = web.Check{Name: name, State: web.CheckFail, Text: w.Text, Hint: w.Hint}
	}
	return out
}

// programs looks for those that an install needs.
func programs(ctx context.Context, nix, nixosAnywhere string) []web.Check {
	return []web.Check{
		tool(ctx, "nix", nix, "nix", "Machines are inventoried, but no system can be built. Install nix (Debian: nix-bin), or name it with --nix.", "--version"),
		anywhere(nixosAnywhere),
		tool(ctx, "ssh", "", "ssh", "Installs go over SSH. Install openssh-client.", "-V"),
		tool(ctx, "git", "", "git", "The hive is a git repository. Install git.", "--version"),
	}
}

// tool looks whether a program runs: the first word of the command line, or by default the one with that name.
func tool(ctx context.Context, name, command, byDefault, hint, versionFlag string) web.Check {
	words := strings.Fields(command)
	if len(words) == 0 {
		words = []string{byDefault}
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, words[0], append(words[1:], versionFlag)...).CombinedOutput()
	if err != nil {
		return web.Check{Name: name, State: web.CheckFail, Text: fmt.Sprintf("%s does not run: %v.", words[0], err), Hint: hint}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return web.Check{Name: name, State: web.CheckOK, Text: cell(first)}
}

// anywhere looks for nixos-anywhere, which without one of its own is run by nix.
func anywhere(command string) web.Check {
	ch := web.Check{Name: "nixos-anywhere", State: web.CheckOK}
	words := strings.Fields(command)
	if len(words) == 0 {
		words = []string{"nixos-anywhere"}
	}
	path, err := exec.LookPath(words[0])
	switch {
	case err == nil:
		ch.Text = path
	case command == "":
		ch.State, ch.Text = web.CheckSkipped, "It is not in PATH: the first install fetches the pinned version with `nix run`, which needs the internet once."
	default:
		ch.State, ch.Text, ch.Hint = web.CheckFail, fmt.Sprintf("%s is not there: %v.", words[0], err), "Correct --nixos-anywhere, or leave it out."
	}
	return ch
}

// room looks how much space a folder's disk has.
func room(name, dir string, little int64) web.Check {
	free := diskFree(dir)
	ch := web.Check{Name: name, State: web.CheckOK, Text: fmt.Sprintf("%s has %.1f GB free.", dir, float64(free)/1e9)}
	if free < little {
		ch.State, ch.Hint = web.CheckFail, fmt.Sprintf("Free some space there: less than %.0f GB are little. Old images (`hatchery stage0 remove`), `nix-collect-garbage`.", float64(little)/1e9)
	}
	return ch
}

// clock looks whether the box knows what time it is: certificates, backups and lease times are told by it.
func clock(now time.Time) web.Check {
	ch := web.Check{Name: "clock", State: web.CheckOK, Text: now.Format(time.RFC1123) + "."}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case now.Year() < 2025:
		ch.State, ch.Hint = web.CheckFail, "The year is wrong: certificates and downloads fail. Set the clock, and switch time synchronisation on (systemd-timesyncd or chrony)."
	case err != nil:
		ch.Text += " Whether it is synchronised cannot be found out here."
	case state == unix.TIME_ERROR:
		ch.Text += " Nothing synchronises it: switch systemd-timesyncd or chrony on, unless the host of this virtual machine does."
	default:
		ch.Text += " It is synchronised."
	}
	return ch
}

// plays plays a machine's firmware on every interface.
func (c care) plays(ctx context.Context) []web.Check {
	st := c.a.dhcp.Status()
	var out []web.Check
	for _, i := range st.Interfaces {
		ifc, err := net.InterfaceByName(i.Name)
		if err != nil || len(i.Addrs) == 0 {
			continue
		}
		role := st.Role
		if role != "server" && role != "proxy" {
			role = ""
		}
		self := serverAddr(i.Addrs, c.a.cfg.dhcpRange.First)
		out = append(out, c.play(ctx, doctor.Stage{Iface: i.Name, Index: ifc.Index, Self: self, DHCP: role, Boot: c.a.cfg.bootAddr.Port()})...)
	}
	if len(st.Interfaces) == 0 {
		out = append(out, web.Check{Name: "self-test", State: web.CheckSkipped, Text: "There is no interface to play a machine's firmware on (--dhcp off, or none is served)."})
	}
	return out
}

// serverAddr is the interface's address that DHCP answers from: the one on the range's subnet, else the first.
func serverAddr(addrs []netip.Prefix, first netip.Addr) netip.Addr {
	for _, p := range addrs {
		if p.Contains(first) {
			return p.Addr()
		}
	}
	return addrs[0].Addr()
}

func (c care) play(ctx context.Context, s doctor.Stage) []web.Check {
	steps, err := c.a.guise.Play(ctx, s)
	if err != nil {
		return []web.Check{{Name: "self-test on " + s.Iface, State: web.CheckSkipped, Text: sentence(err.Error())}}
	}
	out := make([]web.Check, 0, len(steps))
	for _, st := range steps {
		ch := web.Check{Name: "self-test on " + s.Iface + ": " + st.Name, State: web.CheckOK, Text: st.Text, Took: max(1, st.Took.Milliseconds())}
		if st.Err != nil {
			ch.State, ch.Text, ch.Hint = web.CheckFail, sentence(st.Err.Error()), st.Hint
		}
		out = append(out, ch)
	}
	return out
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	s = cell(strings.TrimSpace(s))
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// Packets implements web.Care.
func (c care) Packets(w io.Writer, macs []inventory.MAC, ips []netip.Addr) error {
	return c.a.packets.WritePcap(w, macs, ips)
}

// Support implements web.Care.
func (c care) Support(ctx context.Context, w io.Writer) error { return c.support(ctx, w) }
