package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"

	"github.com/staged-hive/hatchery/inventory"
)

var (
	web1 = inventory.MAC{0x52, 0x54, 0, 0, 0, 1}
	web2 = inventory.MAC{0x52, 0x54, 0, 0, 0, 2}
	box  = inventory.MAC{0x52, 0x54, 0, 0, 0, 0xff}
)

// udp is a frame.
func udp(t testing.TB, srcMAC, dstMAC inventory.MAC, src, dst string, payload []byte) []byte {
	t.Helper()
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	u := &layers.UDP{SrcPort: layers.UDPPort(s.Port()), DstPort: layers.UDPPort(d.Port())}
	if err := u.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: srcMAC[:], DstMAC: dstMAC[:], EthernetType: layers.EthernetTypeIPv4}, ip, u, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// dhcpMessage is the fixed part of one, with an address for the client ("" = none).
func dhcpMessage(client inventory.MAC, yiaddr string) []byte {
	m := make([]byte, 300)
	m[0], m[1], m[2] = 1, 1, 6
	if yiaddr != "" {
		copy(m[16:], netip.MustParseAddr(yiaddr).AsSlice())
	}
	copy(m[28:], client[:])
	return m
}

func tftpPacket(op uint16, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, op), rest...)
}

func TestAFileHasOneMachinesPackets(t *testing.T) {
	t.Parallel()
	r := New(nil)
	at := time.Unix(1_800_000_000, 123456789)
	all := inventory.MAC{255, 255, 255, 255, 255, 255}
	add := func(to *Ring, b []byte) {
		d, ok := parse(b)
		if !ok {
			t.Fatal("a frame of the test is none")
		}
		at = at.Add(time.Millisecond)
		to.Add(at, b, d.length)
	}
	add(r.dhcp, udp(t, web1, all, "0.0.0.0:68", "255.255.255.255:67", dhcpMessage(web1, "")))
	add(r.dhcp, udp(t, web2, all, "0.0.0.0:68", "255.255.255.255:67", dhcpMessage(web2, "")))
	add(r.dhcp, udp(t, box, web1, "10.0.0.2:67", "10.0.0.101:68", dhcpMessage(web1, "10.0.0.101")))
	add(r.tftp, udp(t, web1, box, "10.0.0.101:2070", "10.0.0.2:69", tftpPacket(1, []byte("snponly.efi\x00octet\x00")...)))
	add(r.tftp, udp(t, box, web1, "10.0.0.2:40000", "10.0.0.101:2070", tftpPacket(3, make([]byte, 1400)...)))
	add(r.tftp, udp(t, web2, box, "10.0.0.102:2070", "10.0.0.2:69", tftpPacket(1, []byte("undionly.kpxe\x00octet\x00")...)))
	add(r.tftp, udp(t, box, box, "10.0.0.2:40001", "10.0.0.101:2071", tftpPacket(4, 0, 1))) // behind a router: another's MAC, its address
	var file bytes.Buffer
	if err := r.WritePcap(&file, []inventory.MAC{web1}, nil); err != nil {
		t.Fatal(err)
	}
	type seen struct {
		At       time.Time
		Src, Dst string
		Kept     int
		Whole    int
	}
	var got []seen
	pcap, err := pcapgo.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, info, err := pcap.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(b, pcap.LinkType(), gopacket.Default)
		u, ok := p.TransportLayer().(*layers.UDP)
		if !ok {
			t.Fatalf("no UDP: %v", p)
		}
		ip := p.NetworkLayer().(*layers.IPv4)
		got = append(got, seen{info.Timestamp.UTC(), net.JoinHostPort(ip.SrcIP.String(), strconv.Itoa(int(u.SrcPort))), ip.DstIP.String(), info.CaptureLength, info.Length})
	}
	began := time.Unix(1_800_000_000, 123456789).UTC()
	ms := func(n int) time.Time { return began.Add(time.Duration(n) * time.Millisecond) }
	want := []seen{
		{ms(1), "0.0.0.0:68", "255.255.255.255", 342, 342},
		{ms(3), "10.0.0.2:67", "10.0.0.101", 342, 342},
		{ms(4), "10.0.0.101:2070", "10.0.0.2", 62, 62},
		{ms(5), "10.0.0.2:40000", "10.0.0.101", tftpSnap, 1444},
		{ms(7), "10.0.0.2:40001", "10.0.0.101", 60, 60},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
}

func TestARingKeepsTheLastFramesInBoundedMemory(t *testing.T) {
	const snap, most = 100, 2 * chunkSize
	inOne := chunkSize / (headSize + snap) // frames of full length in a chunk
	r := NewRing(most, snap)
	numbers := func() (got []int) {
		for _, f := range r.frames(func([]byte) bool { return true }) {
			got = append(got, int(binary.LittleEndian.Uint32(f.b)))
			if want := time.Unix(int64(got[len(got)-1]), 5); !f.at.Equal(want) || len(f.b) != snap || f.orig != 1500 {
				t.Fatalf("frame of %v, %d bytes of %d; want %v, %d of 1500", f.at, len(f.b), f.orig, want, snap)
			}
		}
		return got
	}
	added := 0
	add := func(n int) {
		for range n {
			b := make([]byte, 1500)
			binary.LittleEndian.PutUint32(b, uint32(added))
			r.Add(time.Unix(int64(added), 5), b, len(b))
			added++
		}
	}
	seq := func(from, to int) (list []int) {
		for i := from; i < to; i++ {
			list = append(list, i)
		}
		return list
	}
	if got := numbers(); got != nil || len(r.chunks) != 0 {
		t.Errorf("a new ring has the frames %v and %d chunks", got, len(r.chunks))
	}
	for _, c := range []struct {
		name       string
		more, from int // frames that are added, the oldest kept
	}{
		{"it grows", 3, 0}, {"a full chunk", inOne - 3, 0}, {"a second chunk", 1, 0}, {"all full", inOne - 1, 0},
		{"the oldest chunk goes", 1, inOne}, {"much later", 7*inOne + 5, 8 * inOne},
	} {
		add(c.more)
		if diff := cmp.Diff(seq(c.from, added), numbers()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	b := make([]byte, 1500)
	if n := testing.AllocsPerRun(1000, func() { r.Add(time.Unix(1, 0), b, len(b)) }); n != 0 {
		t.Errorf("a frame costs a full ring %v allocations", n)
	}
	if got := dhcpBytes + tftpBytes; got > 1<<20 {
		t.Errorf("the recorder takes %d bytes", got)
	}
}

// TestAHundredBootsAreKept: eight DHCP messages of a boot, and the TFTP of one with blocks of 512 bytes.
func TestAHundredBootsAreKept(t *testing.T) {
	t.Parallel()
	r := New(nil)
	for range 2000 {
		r.dhcp.Add(time.Unix(1, 0), make([]byte, 540), 540)
	}
	for range 20000 {
		r.tftp.Add(time.Unix(1, 0), make([]byte, 64), 64)
	}
	all := func([]byte) bool { return true }
	if n := len(r.dhcp.frames(all)); n < 800 {
		t.Errorf("%d DHCP messages are kept", n)
	}
	if n := len(r.tftp.frames(all)); n < 5*1000 {
		t.Errorf("%d TFTP packets are kept", n)
	}
}

func TestTheFiltersLetThroughWhatBelongsToABootAlone(t *testing.T) {
	t.Parallel()
	vm := func(filter []bpf.Instruction) *bpf.VM {
		v, err := bpf.NewVM(filter)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	dhcp, tftp := vm(dhcpFilter), vm(tftpFilter)
	frag := udp(t, web1, box, "10.0.0.9:68", "10.0.0.2:67", dhcpMessage(web1, ""))
	frag[21] = 9 // a later fragment
	arp := make([]byte, 60)
	arp[12], arp[13] = 8, 6
	for _, c := range []struct {
		name       string
		frame      []byte
		dhcp, tftp int
	}{
		{"a DISCOVER", udp(t, web1, box, "0.0.0.0:68", "255.255.255.255:67", dhcpMessage(web1, "")), dhcpSnap, 0},
		{"an answer to a client", udp(t, box, web1, "10.0.0.2:67", "10.0.0.9:68", dhcpMessage(web1, "")), dhcpSnap, 0},
		{"a request at port 4011", udp(t, web1, box, "10.0.0.9:1024", "10.0.0.2:4011", dhcpMessage(web1, "")), dhcpSnap, 0},
		{"an answer from port 4011", udp(t, box, web1, "10.0.0.2:4011", "10.0.0.9:1025", dhcpMessage(web1, "")), dhcpSnap, 0},
		{"a TFTP request", udp(t, web1, box, "10.0.0.9:2070", "10.0.0.2:69", tftpPacket(1, 'x')), 0, tftpSnap},
		{"a TFTP block", udp(t, box, web1, "10.0.0.2:40000", "10.0.0.9:2070", tftpPacket(3, 0, 1)), 0, 64},
		{"an option acknowledgement", udp(t, box, web1, "10.0.0.2:40000", "10.0.0.9:2070", tftpPacket(6, 0, 1)), 0, 64},
		{"something else between high ports", udp(t, box, web1, "10.0.0.2:40000", "10.0.0.9:2070", tftpPacket(7, 0, 1)), 0, 0},
		{"DNS with a small id", udp(t, box, web1, "10.0.0.1:53", "10.0.0.9:2070", tftpPacket(3, 0, 1)), 0, 0},
		{"a later fragment", frag, 0, 0},
		{"ARP", arp, 0, 0},
		{"nearly nothing", []byte{1, 2, 3}, 0, 0},
	} {
		d, derr := dhcp.Run(c.frame)
		f, ferr := tftp.Run(c.frame)
		if min(d, len(c.frame)) != min(c.dhcp, len(c.frame)) || min(f, len(c.frame)) != min(c.tftp, len(c.frame)) || derr != nil || ferr != nil {
			t.Errorf("%s: got %d and %d bytes (%v, %v), want %d and %d", c.name, d, f, derr, ferr, c.dhcp, c.tftp)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(udp(f, web1, box, "0.0.0.0:68", "255.255.255.255:67", dhcpMessage(web1, "10.0.0.9")))
	f.Add(udp(f, web1, box, "10.0.0.9:2070", "10.0.0.2:69", tftpPacket(1, 'x')))
	f.Fuzz(func(_ *testing.T, b []byte) {
		h := host{macs: []inventory.MAC{web1}}
		h.dhcp(b)
		h.tftp(b)
	})
}
