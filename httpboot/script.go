package httpboot

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/inventory"
)

// Kind is which script a machine gets.
type Kind string

// The scripts.
const (
	KindStage0  Kind = "stage-0"    // load kernel and initrd, boot them
	KindDisk    Kind = "own disk"   // leave it to the machine's own disk
	KindHold    Kind = "hold"       // the loop guard's menu
	KindNoImage Kind = "no stage-0" // there is nothing to boot: say so
	KindTrouble Kind = "trouble"    // the appliance cannot answer now: say so and ask again
)

// Input is everything a script is made from.
type Input struct {
	Kind   Kind
	Label  string // what people call the host
	Why    string // one sentence, shown on the machine's screen
	Params Params
	// Boot is the boot listener as this machine reaches it.
	Boot netip.AddrPort

	// Of KindStage0:

	Arch, Version, Digest string // of the image
	Kernel                string
	Initrd                []string
	Cmdline               string // the manifest's
	Nonce                 string
	KernelArgs            []string // appliance's, role's, host's, in this order

	// DiskAgain says, of KindDisk, that the machine came back soon after the last such
	// script, so that the other way to the disk is tried.
	DiskAgain bool
	// Wanted says, of KindNoImage and KindHold, that the host has nothing better to boot: keep
	// asking. Another machine goes on to its own disk, so that nobody's PC is held hostage.
	Wanted bool
}

// maxCommandLine is what the kernel reads: COMMAND_LINE_SIZE is 2048 on x86 and arm64 (asm/setup.h).
const maxCommandLine = 2047

// ErrCommandLine says that the kernel command line got too long.
var ErrCommandLine = errors.New("the kernel command line is longer than the kernel reads (2047 characters)")

// Script writes the iPXE script. It is pure; every value passes the one escaper (text, word or
// query). The only error is ErrCommandLine, whose remedy is fewer kernel arguments.
func Script(in Input) (string, error) {
	s := &scriptWriter{in: in}
	s.line("#!ipxe")
	switch in.Kind {
	case KindStage0:
		if err := s.stage0(); err != nil {
			return "", err
		}
	case KindHold:
		s.hold()
	case KindNoImage:
		s.noImage()
	case KindTrouble:
		s.echo("Hatchery cannot answer now: " + in.Why)
		s.line("goto again")
	default:
		s.echo("Hatchery: " + in.Label + " boots its own disk: " + in.Why)
		s.line("goto disk")
	}
	s.again()
	s.disk()
	return s.b.String(), nil
}

type scriptWriter struct {
	b  strings.Builder
	in Input
}

func (s *scriptWriter) line(l string)                 { s.b.WriteString(l + "\n") }
func (s *scriptWriter) linef(format string, a ...any) { fmt.Fprintf(&s.b, format+"\n", a...) }
func (s *scriptWriter) echo(text string)              { s.line("echo " + escapeText(text)) }

// fileURL is where a file of the image is: the digest keeps a machine on the version it began with.
func (s *scriptWriter) fileURL(name string) string {
	return bootfile.Base(s.in.Boot) + "/stage0/" + s.in.Arch + "/" + escapeWord(name) + "?v=" + escapeWord(s.in.Digest)
}

func (s *scriptWriter) stage0() error {
	in := s.in
	cmdline, err := CommandLine(in)
	if err != nil {
		return err
	}
	s.echo("Hatchery: " + in.Label + " boots stage-0 " + in.Version + ": " + in.Why)
	s.echo("Nothing is written to its disks unless a role was assigned to it.")
	s.line("set tries:int32 0")
	s.line(":load")
	s.line("imgfree")
	s.linef("kernel --name kernel %s %s || goto failed", s.fileURL(in.Kernel), cmdline)
	for i, f := range in.Initrd {
		s.linef("initrd --name %s %s || goto failed", initrdName(i), s.fileURL(f))
	}
	s.line("boot || goto failed")
	s.line(":failed")
	// iPXE's own errors stay on the screen above. A switch that blocks its port for spanning
	// tree does so for 30 to 60 s (R21): keep trying for two minutes, then ask for a new
	// script, which also brings a machine back whose image was replaced meanwhile.
	s.echo("Loading stage-0 did not work; trying again. Is the cable in and is " + in.Boot.Addr().String() + " reachable?")
	s.line("inc tries")
	s.line("iseq ${tries} 12 && goto again ||")
	s.line("sleep 3 || goto again")
	s.line("isset ${ip} || dhcp ||")
	s.line("goto load")
	return nil
}

// CommandLine is the kernel's command line of stage-0: the image's words, ours, then the
// arguments of appliance, role and host, so that a later one can override. ErrCommandLine.
func CommandLine(in Input) (string, error) {
	var w []string
	for i := range in.Initrd { // the EFI stub finds its initrd by these names; others skip them
		w = append(w, "initrd="+initrdName(i))
	}
	w = append(w, strings.Fields(in.Cmdline)...)
	w = append(w, "hatchery.url="+bootfile.Base(in.Boot), "hatchery.nonce="+in.Nonce, "BOOTIF=01-"+in.Params.MAC.Hyphens())
	if in.Version != "" && !strings.Contains(in.Version, " ") {
		w = append(w, "hatchery.stage0="+in.Version)
	}
	for _, a := range in.KernelArgs {
		w = append(w, strings.Fields(a)...)
	}
	kept := w[:0]
	for _, word := range w {
		if e := escapeWord(word); e != "" {
			kept = append(kept, e)
		}
	}
	line := strings.Join(kept, " ")
	if len(line) > maxCommandLine {
		return "", fmt.Errorf("%d characters: %w", len(line), ErrCommandLine)
	}
	return line, nil
}

func initrdName(i int) string { return fmt.Sprintf("initrd%d", i) }

func (s *scriptWriter) hold() {
	s.echo("Hatchery holds " + s.in.Label + ": it " + s.in.Why + ".")
	s.line(":menu")
	s.linef("menu Hatchery holds %s || goto again", escapeText(s.in.Label))
	s.linef("item --gap It %s.", escapeText(s.in.Why))
	s.line("item --gap Look at its page and at this screen during the next try for what stops it.")
	s.line("item retry   Try again")
	s.line("item disk    Boot its own disk")
	s.line("item shell   iPXE shell (exit comes back)")
	s.line("item again   Ask the appliance again")
	choice := "disk"
	if s.in.Wanted {
		choice = "again"
	}
	s.linef("choose --default %s --timeout 60000 what && goto ${what} || goto again", choice)
	s.line(":retry")
	s.linef("chain --replace %s&retry=1 || goto menu", s.scriptURL())
	s.line(":shell")
	s.line("shell")
	s.line("goto menu")
}

func (s *scriptWriter) noImage() {
	s.echo("Hatchery has nothing to boot " + s.in.Label + " with.")
	s.echo("Why: " + s.in.Why + ".")
	if s.in.Wanted {
		s.echo("This machine asks again until there is one.")
		s.line("goto again")
		return
	}
	s.echo("This machine boots its own disk in 8 seconds.")
	s.line("sleep 8 ||")
	s.line("goto disk")
}

func (s *scriptWriter) scriptURL() string {
	return bootfile.Base(s.in.Boot) + "/boot.ipxe?" + s.in.Params.query()
}

// again asks the appliance for a new script until it answers. Ctrl-C leads to a shell
// whose end comes back here: there is never a dead prompt.
func (s *scriptWriter) again() {
	s.line(":again")
	s.line("sleep 10 || shell ||")
	s.echo("Asking Hatchery at " + s.in.Boot.String() + " what to boot.")
	s.line("isset ${ip} || dhcp ||")
	s.linef("chain --replace %s ||", s.scriptURL())
	s.line("goto again")
}

// disk hands over to the machine's own disk. `exit 1` goes on with the firmware's boot
// order (R21: never a bare exit). On BIOS the first disk can also be started from here, for
// firmware that comes back to the network instead of going on.
func (s *scriptWriter) disk() {
	s.line(":disk")
	if s.in.Params.Platform == "pcbios" && s.in.DiskAgain {
		s.line("sanboot --no-describe --drive 0x80 ||")
	}
	s.line("exit 1")
}

// kindOf is the script of a target of the inventory.
func kindOf(t inventory.Target) Kind {
	switch t {
	case inventory.TargetStage0:
		return KindStage0
	case inventory.TargetHold:
		return KindHold
	}
	return KindDisk // TargetSilent too: DHCP stays silent, but a script URL may be known from elsewhere
}
