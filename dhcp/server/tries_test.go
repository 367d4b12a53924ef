package server

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/inventory"
)

// firmware is a simulated PXE ROM that accepts one form of boot offer only.
type firmware struct {
	name string
	arch byte
	// takes says whether it takes an offer; binl that it asks port 4011 for the file then.
	takes func(m *dhcpv4.DHCPv4) (ok, binl bool)
	// runs says whether the boot file starts on this machine.
	runs func(file string) bool
}

func hasClass(m *dhcpv4.DHCPv4) bool { return string(m.Options[60]) == "PXEClient" }

func control(m *dhcpv4.DHCPv4) bool { return string(m.Options[43]) == "\x06\x01\x08\xff" }

func anyFile(string) bool { return true }

var firmwares = []firmware{
	{"BIOS that wants discovery control", 0, func(m *dhcpv4.DHCPv4) (bool, bool) { return hasClass(m) && control(m) && m.BootFileName != "", false }, anyFile},
	{"BIOS that wants no option 43", 0, func(m *dhcpv4.DHCPv4) (bool, bool) {
		return hasClass(m) && m.Options[43] == nil && m.BootFileName != "", false
	}, anyFile},
	{"BIOS that wants port 4011", 0, func(m *dhcpv4.DHCPv4) (bool, bool) { return hasClass(m) && m.BootFileName == "", true }, anyFile},
	{"UEFI that wants discovery control", 7, func(m *dhcpv4.DHCPv4) (bool, bool) { return hasClass(m) && control(m) && m.BootFileName != "", false }, anyFile},
	{"UEFI that ignores offers with option 43 (R14)", 7, func(m *dhcpv4.DHCPv4) (bool, bool) {
		return hasClass(m) && m.Options[43] == nil, m.BootFileName == ""
	}, anyFile},
	{"UEFI that wants the file in the offer and no option 43", 7, func(m *dhcpv4.DHCPv4) (bool, bool) {
		return m.Options[43] == nil && m.BootFileName != "", false
	}, anyFile},
	{"UEFI that snponly.efi hangs on (R20)", 7, func(m *dhcpv4.DHCPv4) (bool, bool) { return hasClass(m) && m.Options[43] == nil, m.BootFileName == "" },
		func(file string) bool { return file == "ipxe.efi" }},
	{"arm64 UEFI that wants discovery control", 11, func(m *dhcpv4.DHCPv4) (bool, bool) { return hasClass(m) && control(m), false }, anyFile},
}

// boot powers the firmware on: it sends DISCOVERs as edk2 does, at 0, 4, 12 and 28 s, and reports after
// how many it got iPXE to run; 0 = never.
func (f firmware) boot(b *bench, role dhcp.Role) int {
	for n, wait := range []time.Duration{0, 4, 8, 16} {
		b.clock.Add(wait * time.Second)
		b.say(msg(b.t, dhcpv4.MessageTypeDiscover, labMAC, pxe(f.arch)))
		m := b.hear().m
		ok, binl := f.takes(m)
		if !ok {
			continue
		}
		server := ours
		if role == dhcp.RoleProxy {
			server = raw(54, 10, 0, 0, 1)
		}
		b.say(msg(b.t, dhcpv4.MessageTypeRequest, labMAC, pxe(f.arch), server, wants(netip.MustParseAddr("10.0.0.150"))))
		if role == dhcp.RoleServer {
			m = b.hear().m
		}
		if binl {
			handle(b.s, arrival{link: b.l, port: 4011, src: netip.MustParseAddrPort("10.0.0.150:4011"), toUs: true}, msg(b.t, dhcpv4.MessageTypeRequest, labMAC, pxe(f.arch), ours))
			m = b.hear().m
		}
		b.s.tries.fetched(labMAC, false)
		if !f.runs(m.BootFileName) {
			return 0 // it hangs; somebody presses reset
		}
		b.say(msg(b.t, dhcpv4.MessageTypeDiscover, labMAC, pxe(f.arch), ipxe))
		b.hear()
		return n + 1
	}
	return 0
}

func TestEveryFirmwareIsPleasedInTheEnd(t *testing.T) {
	t.Parallel()
	for _, role := range []dhcp.Role{dhcp.RoleServer, dhcp.RoleProxy} {
		for _, f := range firmwares {
			t.Run(string(role)+", "+f.name, func(t *testing.T) {
				t.Parallel()
				f.mustBoot(t, role)
			})
		}
	}
}

// TestEveryFormIsReached has, for each form of boot offer there is, a firmware that takes that one only, with that boot
// file only.
func TestEveryFormIsReached(t *testing.T) {
	t.Parallel()
	for _, role := range []dhcp.Role{dhcp.RoleServer, dhcp.RoleProxy} {
		for _, arch := range []bootfile.Arch{bootfile.ArchBIOS, bootfile.ArchX64, bootfile.ArchARM64} {
			for _, form := range dhcp.Forms(role, arch) {
				file, _ := bootfile.File(arch, form.Fallback)
				f := firmware{name: fmt.Sprintf("%s, %s, only %s", role, arch, form), arch: byte(arch), runs: func(got string) bool { return got == file }}
				f.takes = func(m *dhcpv4.DHCPv4) (bool, bool) {
					return hasClass(m) == form.Class && control(m) == form.Discovery && (m.Options[43] != nil) == form.Discovery && (m.BootFileName != "") == form.File, !form.File
				}
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					f.mustBoot(t, role)
				})
			}
		}
	}
}

// mustBoot demands that the firmware gets iPXE to run within three power-ons, at once after the appliance's restart, and
// that the diary tells of it.
func (f firmware) mustBoot(t *testing.T, role dhcp.Role) {
	t.Helper()
	b := newBench(t, role, nil)
	powerOns, got := 0, 0
	for got == 0 {
		if powerOns++; powerOns > 3 {
			t.Fatalf("never boots; decisions: %+v", b.s.Status().Decisions)
		}
		b.clock.Add(time.Minute)
		got = f.boot(b, role)
	}
	b.write()
	t.Logf("boots at power-on %d after %d DISCOVERs", powerOns, got)

	again := newBench(t, role, func(c *Config) { c.Store = b.store })
	if n := f.boot(again, role); n != 1 {
		t.Errorf("after a restart of the appliance it takes %d DISCOVERs, want 1: what worked is remembered", n)
	}
	if got == 1 && powerOns == 1 {
		return
	}
	lines := b.diary(b.hosts()[0].ID)
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "did not take what it was offered before") }) ||
		!slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "dhcp.form") }) {
		t.Errorf("the diary does not say so: %q", lines)
	}
}

func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, dhcp.RoleServer, nil)
	for i := range 3 * maxTries {
		b.clock.Add(time.Second)
		b.say(msg(t, dhcpv4.MessageTypeDiscover, inventory.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, pxe(0)))
		b.hear()
	}
	if n := len(b.s.tries.list); n > maxTries {
		t.Errorf("%d machines are remembered", n)
	}
}

// TestDiaryTellsThatABootFileRan: autoexec.ipxe takes iPXE to its script without asking DHCP again, so only
// the diary of tftp and httpboot tells that the boot file works.
func TestDiaryTellsThatABootFileRan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		e    inventory.Entry
		want string // the boot file at the next power-on
	}{
		{"the script was fetched", inventory.Entry{Kind: "http.script", By: "ipxe"}, "snponly.efi"},
		{"autoexec.ipxe was fetched", inventory.Entry{Kind: "tftp.file", By: "ipxe"}, "snponly.efi"},
		{"only the boot file was fetched", inventory.Entry{Kind: "tftp.file", By: "firmware"}, "ipxe.efi"},
		{"nothing was fetched", inventory.Entry{Kind: "state"}, "snponly.efi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, dhcp.RoleServer, nil)
			b.dora(labMAC, pxe(7))
			b.write()
			changes := make(chan inventory.Change, 1)
			changes <- inventory.Change{Kind: inventory.DiaryGrew, Host: b.hosts()[0].ID, Entry: &tt.e}
			close(changes)
			if err := b.s.learn(changes); err != nil {
				t.Fatal(err)
			}
			b.clock.Add(time.Minute)
			b.say(msg(t, dhcpv4.MessageTypeDiscover, labMAC, pxe(7)))
			if m := b.hear().m; m.BootFileName != tt.want {
				t.Errorf("offers %q, want %q", m.BootFileName, tt.want)
			}
		})
	}
}
