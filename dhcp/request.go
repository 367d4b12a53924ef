package dhcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/inventory"
)

// Ports of DHCP: the server's, the client's, and the one of PXE boot servers (PXE 2.1 §2.2).
const (
	PortServer = 67
	PortClient = 68
	PortPXE    = 4011
)

// MaxMessage is the longest message that is read; longer ones are cut by the socket.
const MaxMessage = 1500

// ErrNotDHCP says that a packet is not a DHCP request from an Ethernet client.
var ErrNotDHCP = errors.New("not a DHCP request")

// MessageType is the value of option 53.
type MessageType byte

// The message types of RFC 2131.
const (
	Discover     MessageType = 1
	Offer        MessageType = 2
	RequestMsg   MessageType = 3
	Decline      MessageType = 4
	Ack          MessageType = 5
	Nak          MessageType = 6
	ReleaseMsg   MessageType = 7
	Inform       MessageType = 8
	maxClientMsg             = Inform
)

// String is the name RFC 2131 gives the type.
func (t MessageType) String() string {
	names := []string{"", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}
	if int(t) < len(names) && t > 0 {
		return names[t]
	}
	return fmt.Sprintf("type %d", byte(t))
}

// Kind is who is asking.
type Kind string

// The kinds of client.
const (
	KindPlain     Kind = "plain"        // an operating system, a printer: no netboot
	KindPXE       Kind = "pxe"          // firmware that wants a boot file by TFTP
	KindHTTP      Kind = "http"         // firmware that wants a boot file by HTTP
	KindIPXE      Kind = "ipxe"         // iPXE that can load by HTTP
	KindSmallIPXE Kind = "ipxe-no-http" // a built-in iPXE without HTTP (VirtualBox): gets our own build (R18)
	KindPi        Kind = "raspberry-pi" // the Pi's own boot loader, which says it is a BIOS PC (R23)
	KindUBoot     Kind = "u-boot"       // reads the file field only
	kindUnknown   Kind = ""             // nothing was decided yet
)

// Boots reports whether the kind wants a boot file.
func (k Kind) Boots() bool { return k != KindPlain && k != kindUnknown }

// Stage is the boot stage of the kind, as the leaf table names it; "" for a plain client.
func (k Kind) Stage() bootfile.Stage {
	switch k {
	case KindIPXE:
		return bootfile.StageIPXE
	case KindHTTP:
		return bootfile.StageHTTP
	case KindPlain, kindUnknown:
		return ""
	}
	return bootfile.StageFirmware
}

// Request is a client's message, decoded and bounded. All its text is cleaned.
type Request struct {
	Type      MessageType
	XID       [4]byte
	Secs      uint16
	Broadcast bool
	Hops      byte
	CIAddr    netip.Addr // the client's own address, zero when it has none yet
	Relay     netip.Addr // giaddr, zero when the client is on our segment
	MAC       inventory.MAC

	Wanted   netip.Addr    // option 50
	ServerID netip.Addr    // option 54
	ClientID []byte        // option 61, at most 64 bytes
	Hostname string        // option 12
	Asked    []byte        // option 55
	Limit    int           // option 57, 0 when not sent
	Vendor   string        // option 60
	Arch     bootfile.Arch // option 93, first of the list
	HasArch  bool
	GUID     []byte     // option 97 as sent when it is 17 bytes long, else nil
	Agent    []byte     // option 82 as sent, nil when none
	Subnet   netip.Addr // option 118 or 82.5: the subnet to choose from
	BootItem []byte     // option 43.71 as sent: boot server discovery
	ipxe     bool       // user class iPXE or option 175
	features []byte     // option 175 as sent

	Kind Kind
}

// Parse decodes and classifies a message; nothing of the result points into b. ErrNotDHCP and the codec's errors say why not.
func Parse(b []byte) (Request, error) { return ParseInPlace(slices.Clone(b)) }

// ParseInPlace is Parse for who keeps b unchanged as long as the result: messages as nearly all clients send them
// are read where they are, the others by the codec, with the same result.
func ParseInPlace(b []byte) (Request, error) {
	if len(b) < 240 {
		return Request{}, fmt.Errorf("%d bytes, a DHCP message has at least 240: %w", len(b), ErrNotDHCP)
	}
	if len(b) > MaxMessage {
		return Request{}, fmt.Errorf("%d bytes, at most %d are read: %w", len(b), MaxMessage, ErrNotDHCP)
	}
	o := options{b: b}
	if h, ok := scan(&o); ok {
		return classify(h, &o)
	}
	// Some ROMs leave the end option out; one more does no harm.
	m, err := dhcpv4.FromBytes(append(slices.Clip(b), 255))
	if err != nil {
		return Request{}, fmt.Errorf("decode: %w", err)
	}
	return Classify(m)
}

// Classify reads a decoded message into a Request and says who is asking. ErrNotDHCP.
func Classify(m *dhcpv4.DHCPv4) (Request, error) {
	h := header{op: byte(m.OpCode), hwType: byte(m.HWType), hw: m.ClientHWAddr, hops: m.HopCount, xid: m.TransactionID, secs: m.NumSeconds, flags: m.Flags,
		ciaddr: addr4(m.ClientIPAddr), giaddr: addr4(m.GatewayIPAddr)}
	return classify(h, &options{decoded: m.Options})
}

func classify(h header, o *options) (Request, error) {
	var r Request
	if h.op != 1 { // BOOTREQUEST
		return r, fmt.Errorf("operation %d is not a request: %w", h.op, ErrNotDHCP)
	}
	if h.hwType != 1 || len(h.hw) != 6 { // RFC 1700: 1 = Ethernet
		return r, fmt.Errorf("hardware type %d with %d bytes is not Ethernet: %w", h.hwType, len(h.hw), ErrNotDHCP)
	}
	r.MAC = inventory.MAC(h.hw)
	if r.MAC.IsZero() || r.MAC[0]&1 != 0 {
		return r, fmt.Errorf("hardware address %s is not one machine's: %w", r.MAC, ErrNotDHCP)
	}
	t, _ := o.get(53)
	if len(t) != 1 || t[0] == 0 || MessageType(t[0]) > maxClientMsg {
		return r, fmt.Errorf("option 53 is missing or unknown (BOOTP is not served): %w", ErrNotDHCP)
	}
	r.Type = MessageType(t[0])
	r.XID, r.Secs, r.Broadcast, r.Hops = h.xid, h.secs, h.flags&0x8000 != 0, h.hops
	r.CIAddr, r.Relay = headerAddr(h.ciaddr), headerAddr(h.giaddr)
	r.readOptions(o)
	r.Kind = r.kind()
	return r, nil
}

func (r *Request) readOptions(o *options) {
	value := func(code byte) []byte { v, _ := o.get(code); return v }
	r.Wanted, r.ServerID = addrOption(value(50)), addrOption(value(54))
	if id := value(61); len(id) > 0 && len(id) <= 64 {
		r.ClientID = id
	}
	r.Hostname = cleanName(value(12))
	r.Asked = value(55)
	if v := value(57); len(v) == 2 {
		r.Limit = int(binary.BigEndian.Uint16(v))
	}
	r.Vendor = inventory.Clean(string(cut(value(60), 64)), 64)
	if v := value(93); len(v) >= 2 { // RFC 4578 §2.1: a list, the first is the preferred one
		r.Arch, r.HasArch = bootfile.Arch(binary.BigEndian.Uint16(v)), true
	}
	if v := value(97); len(v) == 17 { // R15: may be missing, or have any first byte
		r.GUID = v
	}
	r.Agent, r.Subnet = value(82), addrOption(value(118))
	if s := suboption(value(82), 5); !r.Subnet.IsValid() { // RFC 3527
		r.Subnet = addrOption(s)
	}
	if item := suboption(value(43), 71); len(item) == 4 {
		r.BootItem = item
	}
	// R18: iPXE sends its user class raw, not in RFC 3004 form; other programs wrap it.
	uc := value(77)
	r.ipxe = string(uc) == "iPXE" || string(uc) == "\x04iPXE"
	if v, ok := o.get(175); ok {
		r.ipxe, r.features = true, v
	}
}

// Raspberry Pi Foundation's and Trading's prefixes (IEEE registry; R23).
var piPrefixes = [][3]byte{{0xb8, 0x27, 0xeb}, {0xdc, 0xa6, 0x32}, {0xe4, 0x5f, 0x01}, {0x28, 0xcd, 0xc1}, {0xd8, 0x3a, 0xdd}, {0x2c, 0xcf, 0x67}, {0x88, 0xa2, 0x9e}}

func (r *Request) kind() Kind {
	pxe, httpClient := strings.HasPrefix(r.Vendor, "PXEClient"), strings.HasPrefix(r.Vendor, "HTTPClient")
	switch {
	case r.ipxe && r.lacksHTTP():
		return KindSmallIPXE
	case r.ipxe:
		return KindIPXE
	case httpClient && (!r.HasArch || r.Arch.HTTP() || r.Arch.UEFI()):
		return KindHTTP
	case r.HasArch && r.Arch == bootfile.ArchRPiBoot, pxe && r.HasArch && r.Arch == bootfile.ArchBIOS && r.isPi():
		return KindPi
	case strings.HasPrefix(r.Vendor, "U-Boot") || r.HasArch && (r.Arch == bootfile.ArchARM32UBoot || r.Arch == bootfile.ArchARM64UBoot):
		return KindUBoot
	case pxe && r.HasArch:
		return KindPXE
	case pxe:
		// The class without option 93 is a BIOS ROM from before RFC 4578 (PXE 2.1 made 93 mandatory).
		return KindPXE
	}
	return KindPlain
}

// isPi recognises a Raspberry Pi's boot loader by its maker's prefix, or by the GUID that
// starts with "RPi" (rpi-eeprom, 2020 and later).
func (r *Request) isPi() bool {
	return slices.Contains(piPrefixes, [3]byte(r.MAC[:3])) || len(r.GUID) == 17 && string(r.GUID[1:4]) == "RPi"
}

// Feature numbers inside option 175 (iPXE src/include/ipxe/features.h).
const (
	featureHTTP  = 0x13
	featureTFTP  = 0x15 // every build has it: a list without it is no list of features
	settingNoPXE = 0xb0 // "no-pxedhcp", 176

	settingPriority = 0x01 // of the settings in one answer, over those in another; 0 when absent
)

// lacksHTTP reports whether an iPXE lists its features and HTTP is not among them.
func (r *Request) lacksHTTP() bool {
	return suboption(r.features, featureTFTP) != nil && suboption(r.features, featureHTTP) == nil
}

// UUID is the machine's SMBIOS UUID from option 97, "" when it sends none that can be one.
// The first three groups are little-endian on the wire, as SMBIOS keeps them: what
// edk2 and iPXE send was compared with the machine's own words (captures/bios-server).
func (r *Request) UUID() string {
	if len(r.GUID) != 17 || r.GUID[0] != 0 {
		return ""
	}
	g := r.GUID[1:]
	b := make([]byte, 0, 36)
	for i, at := range [16]byte{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, g[at:at+1])
	}
	u := string(b)
	if inventory.Filler(u) {
		return ""
	}
	return u
}

// Wants reports whether the client lists the option in its parameter request list, or sends no list.
func (r *Request) Wants(code byte) bool { return len(r.Asked) == 0 || slices.Contains(r.Asked, code) }

// suboption is the value of an encapsulated option, nil when absent or malformed; an
// empty one is an empty, non-nil slice.
func suboption(b []byte, code byte) []byte {
	for len(b) >= 2 {
		if b[0] == 0 || b[0] == 255 {
			b = b[1:]
			continue
		}
		n := int(b[1])
		if len(b) < 2+n {
			return nil
		}
		if b[0] == code {
			return b[2 : 2+n : 2+n]
		}
		b = b[2+n:]
	}
	return nil
}

// headerAddr is an address of the header; zero for 0.0.0.0 and for what cannot be a host's.
func headerAddr(ip [4]byte) netip.Addr {
	if a := netip.AddrFrom4(ip); hostAddr(a) {
		return a
	}
	return netip.Addr{}
}

func addr4(ip net.IP) (a [4]byte) {
	copy(a[:], ip.To4())
	return a
}

func addrOption(b []byte) netip.Addr {
	if len(b) != 4 {
		return netip.Addr{}
	}
	a := netip.AddrFrom4([4]byte(b))
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func hostAddr(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 240
}

func cut(b []byte, n int) []byte { return b[:min(n, len(b))] }

// cleanName is a host name a client says of itself: letters, digits, '-', '.', '_', at most 63.
func cleanName(b []byte) string {
	b = bytes.TrimRight(cut(b, 64), "\x00")
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return ""
		}
	}
	return string(cut(b, 63))
}
