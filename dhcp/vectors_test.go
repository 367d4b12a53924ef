package dhcp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/inventory"
)

// vector is one message of a firmware and the role it meets us in; the reply is in testdata/rules, byte for byte.
type vector struct {
	name string // begins with its rule; also the golden file's name
	role Role
	at   uint16 // our port; 0 = 67
	src  string // "" = 0.0.0.0:68
	try  int
	typ  MessageType
	mac  inventory.MAC // zero = clientMAC
	edit func(m *dhcpv4.DHCPv4)
	o    opts
}

// What Raspberry Pi boot loaders and U-Boot send, from their sources and documentation: rpi-eeprom (option 97 is "RPi4" or
// "RPi5", board revision, MAC, serial), U-Boot net/bootp.c.
var (
	pi4     = inventory.MAC{0xdc, 0xa6, 0x32, 0x12, 0x34, 0x56}
	pi5     = inventory.MAC{0x2c, 0xcf, 0x67, 0x12, 0x34, 0x56}
	piLists = opts{55: {1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135}, 94: {1, 2, 1}}
	uboot   = opts{55: {1, 3, 6, 12, 17, 26, 28, 40, 42, 43, 66, 67}, 57: {2, 64}, 60: []byte("U-Boot.armv8"), 93: arch(0x16), 94: {1, 0, 0}}
)

func piOpts(name string) opts {
	return with(with(pxe(0), piLists), opts{97: append([]byte{0}, []byte(name+"\x14\x31\xc0\x00\x56\x34\x12\x32\x78\x56\x34\x12")...)})
}

func vectors() []vector {
	ipxe := opts{77: []byte("iPXE"), 175: {0x15, 1, 1, 0x13, 1, 1}}
	small := opts{77: []byte("iPXE"), 175: {0x15, 1, 1, 0x21, 1, 1}}
	wanted, us := opts{50: addrBytes(clientIP)}, opts{54: addrBytes(appliance)}
	const server, proxy, at4011 = RoleServer, RoleProxy, PortPXE
	return []vector{
		{name: "R1 an offer has 53 and 54", role: server, typ: Discover, o: with(pxe(7), wanted)},
		{name: "R1 an ACK has 53 and 54", role: server, typ: RequestMsg, o: with(with(pxe(7), wanted), us)},
		{name: "R2 a proxy offer with discovery control", role: proxy, typ: Discover, try: 1, o: pxe(7)},
		{name: "R3 a proxy offer has no address", role: proxy, typ: Discover, o: pxe(0)},
		{name: "R4 the answer at port 4011", role: proxy, typ: RequestMsg, at: at4011, src: "10.77.0.120:4011", edit: ciaddr(clientIP), o: with(pxe(7), us)},
		{name: "R4 in server mode as well", role: server, typ: RequestMsg, at: at4011, src: "10.77.0.120:4011", edit: ciaddr(clientIP), o: with(pxe(7), us)},
		{name: "R6 next-server and 54 are one address", role: proxy, typ: Discover, try: 2, o: pxe(7)},
		{name: "R9 HTTP Boot in server mode", role: server, typ: Discover, o: with(httpClient(16), wanted)},
		{name: "R9 HTTP Boot beside a router", role: proxy, typ: Discover, o: httpClient(16)},
		{name: "R9 HTTP Boot on arm64", role: proxy, typ: Discover, o: httpClient(19)},
		{name: "R11 BIOS beside a router", role: proxy, typ: Discover, o: with(pxe(0), opts{55: {1, 3, 43, 60, 66, 67}})},
		{name: "R11 UEFI beside a router", role: proxy, typ: Discover, o: with(pxe(7), opts{55: {1, 3, 43, 60, 66, 67}})},
		{name: "R12 names end in a zero byte", role: server, typ: Discover, o: with(pxe(0), wanted)},
		{name: "R13 9 is x64", role: server, typ: Discover, o: with(pxe(9), wanted)},
		{name: "R13 2 is a laptop", role: server, typ: Discover, o: with(pxe(2), wanted)},
		{name: "R13 8 is a laptop", role: server, typ: Discover, o: with(pxe(8), wanted)},
		{name: "R14 the next form beside a router", role: proxy, typ: Discover, try: 2, o: pxe(0)},
		{name: "R14 the next form in server mode", role: server, typ: Discover, try: 1, o: with(pxe(7), wanted)},
		{name: "R15 no option 97", role: server, typ: Discover, o: with(wanted, opts{60: []byte("PXEClient"), 93: arch(0)})},
		{name: "R15 a GUID with any first byte", role: server, typ: Discover, o: with(with(pxe(0), wanted), opts{97: []byte("\x07aaaabbbbccccdddd")})},
		{name: "R16 a broadcast REQUEST to a router", role: proxy, typ: RequestMsg, o: with(with(pxe(7), wanted), opts{54: addrBytes(router)})},
		{name: "R17 iPXE beside a router", role: proxy, typ: Discover, o: with(pxe(7), ipxe)},
		{name: "R17 iPXE at port 4011", role: proxy, typ: RequestMsg, at: at4011, src: "10.77.0.120:68", edit: ciaddr(clientIP), o: with(with(pxe(7), ipxe), us)},
		{name: "R17 iPXE in server mode", role: server, typ: Discover, o: with(with(pxe(7), ipxe), wanted)},
		{name: "R18 a built-in iPXE without HTTP", role: server, typ: Discover, o: with(with(pxe(0), small), wanted)},
		{name: "R20 the second choice of boot file", role: server, typ: Discover, try: 4, o: with(pxe(7), wanted)},
		{name: "R23 Raspberry Pi 4", role: server, typ: Discover, mac: pi4, o: with(piOpts("RPi4"), wanted)},
		{name: "R23 Raspberry Pi 4 beside a router", role: proxy, typ: Discover, mac: pi4, o: piOpts("RPi4")},
		{name: "R23 Raspberry Pi 5", role: server, typ: Discover, mac: pi5, o: with(piOpts("RPi5"), wanted)},
		{name: "R23 Raspberry Pi 5 with UEFI firmware", role: server, typ: Discover, mac: pi5, o: with(pxe(11), wanted)},
		{name: "R24 a Pi that asks for no mask or router", role: server, typ: Discover, mac: pi4, o: with(with(piOpts("RPi4"), wanted), opts{55: {43, 60, 66, 67}})},
		{name: "U-Boot on arm64", role: server, typ: Discover, o: with(uboot, wanted)},
		{name: "U-Boot booting EFI", role: server, typ: Discover, o: with(with(uboot, wanted), opts{60: []byte("PXEClient:Arch:00011:UNDI:003000"), 93: arch(11)})},
	}
}

// TestRuleVectors holds the rules of docs/firmware.md: a message's bytes in, the reply's bytes out.
func TestRuleVectors(t *testing.T) {
	t.Parallel()
	for _, tt := range vectors() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := message(tt.typ, func(m *dhcpv4.DHCPv4) {
				if !tt.mac.IsZero() {
					m.ClientHWAddr = tt.mac[:]
				}
				if tt.edit != nil {
					tt.edit(m)
				}
			}, tt.o).ToBytes()
			r, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			v := labView(t, tt.role)
			v.Try = tt.try
			if tt.at != 0 {
				v.Port, v.Src = tt.at, netip.MustParseAddrPort(tt.src)
			}
			d := Decide(labConfig, v, r, epoch)
			var out strings.Builder
			fmt.Fprintf(&out, "%s at port %d in role %s, try %d: %s, %s\n", r.Type, v.Port, tt.role, tt.try, r.Kind, r.Arch)
			for line := range strings.SplitSeq(strings.TrimSuffix(hex.Dump(b), "\n"), "\n") {
				if !strings.Contains(line, noBytes) {
					fmt.Fprintf(&out, "    %s\n", line)
				}
			}
			describe(t, &out, r, d)
			golden(t, filepath.Join("testdata/rules", strings.ReplaceAll(tt.name, " ", "-")+".golden"), out.String())
		})
	}
}

// TestFirmwarePage: docs/firmware.md has a line for every rule, which names a test, or says why there is none.
// That the tests exist is internal/structure's business.
func TestFirmwarePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/firmware.md")
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{} // rules with a line
	name, rule := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`"), regexp.MustCompile(`\bR(\d+)\b`)
	for line := range strings.SplitSeq(string(page), "\n") {
		names := name.FindAllStringSubmatch(line, -1)
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		for _, m := range rule.FindAllStringSubmatch(cells[1], -1) {
			held[m[1]] = held[m[1]] || len(names) > 0 || strings.Contains(line, "not testable here")
		}
	}
	for n := 1; n <= 25; n++ {
		if !held[fmt.Sprint(n)] {
			t.Errorf("R%d has no line with a test, nor one that says \"not testable here\"", n)
		}
	}
	for _, v := range vectors() {
		if m := rule.FindStringSubmatch(v.name); m == nil && !strings.HasPrefix(v.name, "U-Boot") {
			t.Errorf("vector %q names no rule", v.name)
		}
	}
}

// noBytes is what is left out of dumps.
const noBytes = "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"

// golden compares a text with a file's; -update writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
