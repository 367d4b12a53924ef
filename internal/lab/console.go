package lab

import (
	"bytes"
	"regexp"
	"strings"
	"time"
)

// Event is a milestone that a machine's serial console showed.
type Event struct {
	// Name is one of the Event… names.
	Name string
	// Line is the console line it was read from.
	Line string
	// At is when, Since how long after power-on.
	At    time.Time
	Since time.Duration
}

// The events of a boot, in the order in which they come.
const (
	EventFirmware  = "firmware"   // SeaBIOS or edk2 speaks
	EventNetboot   = "netboot"    // edk2 starts PXE or HTTP Boot
	EventBootFile  = "boot file"  // edk2 has the network boot program
	EventIPXE      = "ipxe"       // an iPXE says its version; once for each one that starts
	EventLoaded    = "loaded"     // iPXE has fetched a file
	EventIPXEError = "ipxe error" // iPXE names one of its errors
	EventPXEError  = "pxe error"  // edk2 names a PXE or HTTP error
	EventKernel    = "kernel"     // the Linux kernel speaks
	EventInit      = "init"       // stage-0's first process
	EventNetwork   = "network"    // stage-0 has an address
	EventSSHD      = "sshd"       // stage-0 takes SSH connections
	EventUserland  = "userland"   // stage-0 is up, its agent started
	EventDiskBoot  = "disk boot"  // the machine's own disk boots (MakeBootableDisk)
	EventNoBoot    = "no boot"    // the firmware found nothing to boot
	EventPanic     = "panic"      // the kernel died
	EventExit      = "exit"       // QEMU ended
)

var patterns = []struct {
	name string
	many bool // every match is an event, not the first alone
	re   *regexp.Regexp
}{
	{EventFirmware, false, regexp.MustCompile(`SeaBIOS \(version|UEFI firmware|BdsDxe: (loading|starting|failed)`)},
	{EventNetboot, true, regexp.MustCompile(`>>Start (PXE|HTTP Boot) over IPv[46]`)},
	{EventBootFile, true, regexp.MustCompile(`NBP file downloaded|URI: http`)},
	{EventPXEError, true, regexp.MustCompile(`PXE-E\d+|HTTP-E\w+|Server response timeout`)},
	{EventIPXE, true, regexp.MustCompile(`iPXE \d\S* ?\S* -- Open Source`)},
	{EventLoaded, true, regexp.MustCompile(`(https?|tftp)://\S+?\.\.\. *ok`)},
	{EventIPXEError, true, regexp.MustCompile(`\(https?://ipxe\.org/[0-9a-f]+\)`)},
	{EventKernel, false, regexp.MustCompile(`Linux version|EFI stub: `)},
	{EventInit, false, regexp.MustCompile(`STAGE0-INIT`)},
	{EventNetwork, false, regexp.MustCompile(`STAGE0-NET `)},
	{EventSSHD, false, regexp.MustCompile(`STAGE0-SSHD`)},
	{EventUserland, false, regexp.MustCompile(`STAGE0-READY`)},
	{EventDiskBoot, false, regexp.MustCompile(`LAB-DISK-BOOT (bios|uefi)`)},
	{EventNoBoot, false, regexp.MustCompile(`No bootable device|No bootable option|UEFI Interactive Shell|Shell>`)},
	{EventPanic, false, regexp.MustCompile(`Kernel panic`)},
}

// noise is what terminals obey and people do not read.
var noise = regexp.MustCompile(`\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|\r`)

// console turns the bytes of one boot's serial port into events. It is pure but
// for being fed; not safe for concurrent use.
type console struct {
	seen map[string]bool
	rest []byte // the line that has not ended yet
	done []bool // patterns that matched in rest already
}

func newConsole() *console {
	return &console{seen: map[string]bool{}, done: make([]bool, len(patterns))}
}

// feed returns the events that the next bytes bring, without times.
func (c *console) feed(p []byte) []Event {
	var out []Event
	c.rest = append(c.rest, p...)
	for {
		line, rest, ended := bytes.Cut(c.rest, []byte("\n"))
		out = append(out, c.scan(line)...)
		if !ended {
			break
		}
		c.rest = rest
		clear(c.done)
	}
	const longest = 4096 // a line that never ends is cut
	if len(c.rest) > longest {
		c.rest = c.rest[:0]
		clear(c.done)
	}
	return out
}

func (c *console) scan(line []byte) []Event {
	var out []Event
	text := noise.ReplaceAll(line, nil)
	for i, p := range patterns {
		if c.done[i] || (!p.many && c.seen[p.name]) || !p.re.Match(text) {
			continue
		}
		c.done[i], c.seen[p.name] = true, true
		out = append(out, Event{Name: p.name, Line: strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")})
	}
	return out
}
