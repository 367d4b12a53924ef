package dhcp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/lease"
)

var update = flag.Bool("update", false, "write the golden replies anew")

// packet is one client packet of a capture.
type packet struct {
	at       string
	src, dst netip.AddrPort
	payload  []byte
}

func readCapture(t testing.TB, file string) []packet {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []packet
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if f := strings.Fields(line); len(f) == 3 {
			out = append(out, packet{at: f[0], src: netip.MustParseAddrPort(f[1]), dst: netip.MustParseAddrPort(f[2])})
			continue
		}
		raw, err := hex.DecodeString(line)
		if err != nil || len(out) == 0 {
			t.Fatalf("%s: line %q: %v", file, line, err)
		}
		out[len(out)-1].payload = append(out[len(out)-1].payload, raw...)
	}
	return out
}

var (
	epoch     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	appliance = netip.MustParseAddr("10.77.0.2")
	labNet    = netip.MustParsePrefix("10.77.0.0/24")
	relayNet  = netip.MustParsePrefix("10.78.0.0/24")
	labConfig = Config{HTTPPort: 8080, LeaseTime: time.Hour, DNS: []netip.Addr{netip.MustParseAddr("10.77.0.1")}, Domain: "lab.example"}
)

func newPool(t testing.TB, subnet netip.Prefix) *lease.Pool {
	t.Helper()
	b := subnet.Masked().Addr().As4()
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{b[0], b[1], b[2], last}) }
	p, err := lease.NewPool(lease.Config{Prefix: subnet, Range: lease.Range{First: at(100), Last: at(250)}, Exclude: []netip.Addr{at(1), at(2)}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func labView(t testing.TB, role Role) View {
	t.Helper()
	v := View{Role: role, Iface: "eth0", Self: appliance, Selves: []netip.Addr{appliance}, Port: PortServer, Alone: role == RoleServer}
	if role == RoleServer {
		v.Segment = &Segment{Pool: newPool(t, labNet), Router: netip.MustParseAddr("10.77.0.1")}
	}
	return v
}

// carry does with a decision's marks what the shell does.
func carry(v *View, r Request, d Decision, now time.Time) {
	if v.Segment == nil {
		return
	}
	if d.Hold.IsValid() {
		v.Segment.Pool.Hold(d.Hold, d.Client, now)
	}
	if d.Drop.IsValid() {
		v.Segment.Pool.Unhold(d.Drop, d.Client)
	}
	if d.Lease != nil {
		v.Segment.Pool.Put(*d.Lease)
	}
	if d.Split {
		v.Segment.Pool.Split(lease.HW(r.MAC), r.ClientID)
	}
}

// TestCaptures plays what real firmware sent, packet by packet, and compares every reply byte by
// byte with the golden one.
func TestCaptures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/captures/*.txt")
	if err != nil || len(files) < 28 {
		t.Fatalf("%d captures, %v: want all of the lab's", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, filepath.Join("testdata/captures", name+".golden"), play(t, name, readCapture(t, f)))
		})
	}
}

func play(t *testing.T, name string, packets []packet) string {
	role, relayed := RoleServer, strings.Contains(name, "relay")
	if strings.Contains(name, "proxy") {
		role = RoleProxy
	}
	v := labView(t, role)
	if relayed {
		v.Segment = &Segment{Pool: newPool(t, relayNet), Router: netip.MustParseAddr("10.78.0.1")}
	}
	var out strings.Builder
	var room Room // one for all: nothing of an earlier decision shows in a later one
	cfg := labConfig
	for _, p := range packets {
		b := bytes.Clone(p.payload)
		if relayed && p.src.Addr().IsUnspecified() { // what a relay does with a broadcast (RFC 1542 §4.1)
			b[3] = 1
			copy(b[24:], []byte{10, 78, 0, 1})
			p.src = netip.MustParseAddrPort("10.78.0.1:67")
		}
		v.Port, v.Src = p.dst.Port(), p.src
		r, err := Parse(b)
		if err != nil {
			t.Fatalf("packet at %s: %v", p.at, err)
		}
		d := room.Decide(&cfg, &v, &r, epoch)
		carry(&v, r, d, epoch)
		fmt.Fprintf(&out, "%s %s from %s: %s, %s, uuid %s\n", p.at, r.Type, p.src, r.Kind, r.Arch, r.UUID())
		describe(t, &out, r, d)
	}
	return out.String()
}

func describe(t *testing.T, out *strings.Builder, r Request, d Decision) {
	fmt.Fprintf(out, "  reason: %s\n", d.Reason)
	for _, e := range d.Events {
		fmt.Fprintf(out, "  diary: %s: %s: %s %s\n", e.Kind, e.By, e.Who, e.Text)
	}
	if d.Lease != nil {
		fmt.Fprintf(out, "  lease: %s for %s until %s\n", d.Lease.IP, d.Lease.HW, d.Lease.Expires.Format(time.TimeOnly))
	}
	if d.Reply == nil {
		fmt.Fprintf(out, "  silence\n")
		return
	}
	b, err := d.Reply.Encode(r.Limit)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.FromBytes(b) // somebody else's decoder reads what our encoder writes
	if err != nil {
		t.Fatalf("reply does not decode: %v", err)
	}
	fmt.Fprintf(out, "  to %s", d.SendTo.To)
	if !d.SendTo.MAC.IsZero() {
		fmt.Fprintf(out, " at %s", d.SendTo.MAC)
	}
	fmt.Fprintf(out, " from port %d: %s yiaddr=%s siaddr=%s file=%q sname=%q\n", d.SendTo.From, m.MessageType(), m.YourIPAddr, m.ServerIPAddr, m.BootFileName, m.ServerHostName)
	for _, o := range d.Reply.Options {
		fmt.Fprintf(out, "    %d: %q\n", o.Code, o.Value)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(hex.Dump(b), "\n"), "\n") {
		if !strings.Contains(line, noBytes) {
			fmt.Fprintf(out, "    %s\n", line)
		}
	}
	if d.Reply.Type != Nak && m.ServerIdentifier() == nil {
		t.Error("reply without option 54")
	}
}
