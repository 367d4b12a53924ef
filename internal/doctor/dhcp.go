package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// again is after what time a request is repeated once, as firmware does.
const again = time.Second

// wire is the play's two ends: a socket that broadcasts on the interface, and one that sees the replies leave.
type wire struct {
	out *ipv4.PacketConn
	raw *packet.Conn
}

// filter lets UDP over IPv4 to port 68 through, first fragments alone.
var filter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0800, SkipFalse: 6},
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipFalse: 4},
	bpf.LoadMemShift{Off: 14},
	bpf.LoadIndirect{Off: 14 + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 68, SkipFalse: 1},
	bpf.RetConstant{Val: 4096},
	bpf.RetConstant{Val: 0},
}

func (p *play) open() error {
	prog, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	raw, err := packet.Listen(&net.Interface{Index: p.Index, Name: p.Iface}, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: prog})
	if err != nil {
		return fmt.Errorf("no packet socket on %s: %w", p.Iface, err)
	}
	c, err := net.ListenPacket("udp4", "0.0.0.0:0") // any port: the answer of port 4011 comes back to it
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	p.wire = &wire{out: ipv4.NewPacketConn(c), raw: raw}
	return nil
}

func (p *play) close() {
	if p.given.IsValid() {
		p.release()
	}
	_ = p.wire.raw.Close()
	_ = p.wire.out.Close()
}

// message is what UEFI firmware of an x64 machine sends (captures/uefi-pxe4-server).
func (p *play) message(t dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	guid := append([]byte{0}, []byte{0xd0, 0xc7, 0, 0, 0, 0, 0x40, 0, 0x80, 0}...)
	guid = append(guid, p.mac[:]...)
	all := append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(p.mac[:]), dhcpv4.WithMessageType(t),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionVendorSpecificInformation,
			dhcpv4.OptionClassIdentifier, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionClientMachineIdentifier),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, guid)),
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1472)),
	}, more...)
	return dhcpv4.New(all...)
}

// send broadcasts a message to one of the appliance's ports.
func (p *play) send(m *dhcpv4.DHCPv4, port int) error {
	_, err := p.wire.out.WriteTo(m.ToBytes(), &ipv4.ControlMessage{IfIndex: p.Index, Src: net.IP(p.Self.AsSlice())}, &net.UDPAddr{IP: net.IPv4bcast, Port: port})
	if err != nil {
		return fmt.Errorf("broadcast on %s: %w", p.Iface, err)
	}
	return nil
}

// ask sends a message, once more after a second, and returns the first reply of the appliance that wanted takes.
func (p *play) ask(ctx context.Context, m *dhcpv4.DHCPv4, port int, read func([]byte) (int, error), deadline func(time.Time) error, wanted func(*dhcpv4.DHCPv4) bool) (*dhcpv4.DHCPv4, error) {
	end, _ := ctx.Deadline()
	buf := make([]byte, 4096)
	for _, until := range []time.Time{time.Now().Add(again), end} {
		if err := p.send(m, port); err != nil {
			return nil, err
		}
		for {
			if err := deadline(until); err != nil {
				return nil, err
			}
			n, err := read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			r, err := dhcpv4.FromBytes(buf[:n])
			if err != nil || r.TransactionID != m.TransactionID || r.OpCode != dhcpv4.OpcodeBootReply {
				continue
			}
			if id, ok := netip.AddrFromSlice(r.ServerIdentifier()); ok && id.Unmap() == p.Self && wanted(r) {
				return r, nil
			}
		}
	}
	return nil, errSilent
}

var errSilent = errors.New("nobody answered: our own request was not heard, or its answer did not leave")

// readFrame reads the UDP payload of the next frame to port 68.
func (p *play) readFrame(buf []byte) (int, error) {
	frame := make([]byte, len(buf)+64)
	n, _, err := p.wire.raw.ReadFrom(frame)
	if err != nil {
		return 0, err
	}
	head := 14 + int(frame[14]&15)*4 + 8
	if n < head {
		return 0, nil // no whole datagram: nothing that can be parsed
	}
	return copy(buf, frame[head:n]), nil
}

func (p *play) readDatagram(buf []byte) (int, error) {
	n, _, _, err := p.wire.out.ReadFrom(buf)
	return n, err
}

const hintDHCP = "Does the firewall of this box let UDP 67 in on that interface? `hatchery network` shows under \"last decisions\" whether the request of the doctor's MAC was heard, and why it was not answered."

// discover is step 1: an OFFER with a boot file.
func (p *play) discover(ctx context.Context) (string, string, error) {
	m, err := p.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return "", "", err
	}
	r, err := p.ask(ctx, m, 67, p.readFrame, p.wire.raw.SetReadDeadline, func(r *dhcpv4.DHCPv4) bool { return r.MessageType() == dhcpv4.MessageTypeOffer })
	if err != nil {
		return "", hintDHCP, err
	}
	p.file = bootFile(r)
	ip, _ := netip.AddrFromSlice(r.YourIPAddr.To4())
	switch {
	case p.DHCP == "server" && ip.IsUnspecified():
		return "", "Is the range (--dhcp-range) used up, or on another subnet than the interface? `hatchery network` shows it.", refused("the OFFER has no address")
	case p.DHCP == "server" && p.file == "":
		return "", "`hatchery network` shows why under \"last decisions\".", refused("the OFFER of %s has no boot file", ip)
	case p.DHCP == "server":
		p.given = ip
		return fmt.Sprintf("OFFER of %s with boot file %s.", ip, p.file), "", nil
	}
	return "OFFER of a boot file beside the other DHCP server.", "", nil
}

// bootFile is the name in option 67 or in the header.
func bootFile(m *dhcpv4.DHCPv4) string {
	if name := m.BootFileNameOption(); name != "" {
		return name
	}
	return m.BootFileName
}

// request is step 2 in server mode: the ACK of the address that was offered.
func (p *play) request(ctx context.Context) (string, string, error) {
	offered := p.given
	m, err := p.message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(p.Self.AsSlice()))),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP(offered.AsSlice()))))
	if err != nil {
		return "", "", err
	}
	r, err := p.ask(ctx, m, 67, p.readFrame, p.wire.raw.SetReadDeadline, func(r *dhcpv4.DHCPv4) bool {
		return r.MessageType() == dhcpv4.MessageTypeAck || r.MessageType() == dhcpv4.MessageTypeNak
	})
	if err != nil {
		return "", "The lease could not be stored before the ACK: is the disk of the data folder full or failing? The appliance's log says more.", err
	}
	if r.MessageType() == dhcpv4.MessageTypeNak {
		p.given = netip.Addr{}
		return "", "`hatchery network` shows why under \"last decisions\".", refused("a NAK for the address %s that was just offered", offered)
	}
	return fmt.Sprintf("ACK of %s; it is given back at the end.", offered), "", nil
}

// bootServer is step 2 beside another DHCP server: the boot file from port 4011.
func (p *play) bootServer(ctx context.Context) (string, string, error) {
	m, err := p.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP(p.Self.AsSlice())))
	if err != nil {
		return "", "", err
	}
	r, err := p.ask(ctx, m, 4011, p.readDatagram, p.wire.out.SetReadDeadline, func(r *dhcpv4.DHCPv4) bool { return r.MessageType() == dhcpv4.MessageTypeAck })
	if err != nil {
		return "", "Does the firewall of this box let UDP 4011 in on that interface?", err
	}
	if p.file = bootFile(r); p.file == "" {
		return "", "`hatchery network` shows why under \"last decisions\".", refused("port 4011 named no boot file")
	}
	return "Told to load " + p.file + ".", "", nil
}

// release gives the address back; nobody answers that.
func (p *play) release() {
	m, err := p.message(dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(net.IP(p.given.AsSlice())), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(p.Self.AsSlice()))))
	if err == nil {
		_ = p.send(m, 67) // lost, the lease ends by itself
	}
}
