package dhcp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// Role is what the appliance is on a segment.
type Role string

// The roles.
const (
	RoleServer Role = "server" // gives addresses and boot files
	RoleProxy  Role = "proxy"  // ProxyDHCP: boot files only, never an address
)

// Route is a static route handed to clients (option 121, RFC 3442).
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Config is what a person set; the same for all segments.
type Config struct {
	// HTTPPort is the boot listener's port.
	HTTPPort uint16
	// Shims are the shims (bootfile.Shims) that are served: firmware gets the shim of its boot file, which loads that.
	Shims []string
	// LeaseTime is how long an address is given; 0 means 1 h.
	LeaseTime time.Duration
	// QuarantineFor is how long an address that somebody else uses is kept from everybody; 0 means 10 min.
	QuarantineFor time.Duration
	Domain        string // option 15, "" = none
	DNS, NTP      []netip.Addr
	Routes        []Route
}

// Segment is the addresses of the client's segment, which a relay may hide from us.
type Segment struct {
	Pool   *lease.Pool
	Router netip.Addr   // option 3; zero = none
	DNS    []netip.Addr // instead of Config.DNS when not empty
}

// View is what Decide reads beside the configuration: where the message arrived and
// what is known of its sender.
type View struct {
	Role  Role
	Iface string
	// Self is our address on the interface of arrival: next-server and server identifier.
	Self netip.Addr
	// Selves are all our addresses: a message that names any of them is for us.
	Selves []netip.Addr
	// Port is the port of ours it was sent to: PortServer or PortPXE.
	Port uint16
	// Src is where the packet came from.
	Src netip.AddrPort
	// Segment is nil when no range is configured for the client's segment.
	Segment *Segment
	// Alone says that no other DHCP server is known on the segment, so that addresses we know
	// nothing of can be refused in the name of the network.
	Alone bool
	// Stranger says that the sender is no host of ours, so that nobody reads what it does unless it boots: Decision.Events
	// stay empty.
	Stranger bool
	// Ignored says that a person chose to ignore the host: an address, but no boot file.
	Ignored bool
	// Try counts how often the client asked again without ever loading what it was offered:
	// each try is answered in another form (R14).
	Try int
}

func (v *View) ours(a netip.Addr) bool {
	for _, s := range v.Selves {
		if s == a {
			return true
		}
	}
	return a == v.Self
}

// SendTo is where a reply goes.
type SendTo struct {
	// To is the destination; 255.255.255.255 is a broadcast on the interface of arrival.
	To netip.AddrPort
	// MAC is set when the client has the address To only once it reads the reply: no ARP will answer
	// for it, so a frame is sent straight to MAC; where that is impossible, a broadcast.
	MAC inventory.MAC
	// From is our port: the one the request came to.
	From uint16
}

// Event is a line for the boot diary.
type Event struct {
	Kind string // "" = nothing to write down, only that the host was heard
	By   string // "firmware", "ipxe", or "host" for a running system
	// Who and Text make the sentence: "Firmware (x64 UEFI)", "asks for an address."
	Who, Text string
	Level     string
	// Contact is what the message tells of the machine. Boots says that it asked for a boot file, which
	// makes an unknown machine a host; otherwise only a known host is told of.
	Contact inventory.Contact
	Boots   bool
}

// Decision is everything that has to happen because of one message.
type Decision struct {
	Reply  *Reply // nil = silence
	SendTo SendTo
	// Lease is the record that must be on disk before Reply leaves; nil = none.
	Lease *lease.Lease
	// Client is what the pool knows the sender by, where Hold, Drop and Lease are meant for it.
	Client lease.HW
	// Split says that the sender and another running machine have the same MAC: the pool has to tell them apart.
	Split bool
	// Hold is the address that was offered and is kept for the client in memory; zero = none.
	Hold netip.Addr
	// Drop is an offer that the client turned down; zero = none.
	Drop netip.Addr
	// Other is another server that the client chose; zero = none.
	Other netip.Addr
	// Offered is the boot file or URL in the reply, "" = none; Form how it was put.
	Offered string
	Form    Form
	Events  []Event
	// Reason is why, in a sentence, also when the answer is silence.
	Reason string
	// Rule is Reason without what differs from client to client: one of a few dozen texts, for counts.
	Rule string
}

func silence(format string, args ...any) Decision {
	return Decision{Reason: fmt.Sprintf(format, args...), Rule: format}
}

// contact is what the message tells of the machine; ip is the address it will use, zero = unknown.
func (r *Request) contact(ip netip.Addr) inventory.Contact {
	if !ip.IsValid() {
		ip = r.CIAddr
	}
	c := inventory.Contact{MAC: r.MAC, IP: ip, Relayed: r.Relay.IsValid(), DHCP: true}
	if r.Kind.Boots() {
		c.UUID = r.UUID()
		if r.Kind != KindPi && (r.HasArch || r.Kind == KindPXE) {
			c.Arch, c.Firmware = r.Arch.CPU(), r.Arch.Firmware()
		}
		if r.Kind == KindPi {
			c.Arch = "aarch64"
		}
	}
	return c
}

// by is the diary's word for the sender, who its words for people.
func (r *Request) by() string {
	switch {
	case r.Kind == KindIPXE:
		return "ipxe"
	case r.Kind.Boots():
		return "firmware"
	}
	return "host"
}

func (r *Request) who() string {
	switch r.Kind {
	case KindIPXE:
		return "iPXE"
	case KindSmallIPXE:
		return "A built-in iPXE without HTTP"
	case KindPi:
		return "A Raspberry Pi's boot loader"
	case KindUBoot:
		return "U-Boot"
	case KindPXE, KindHTTP:
		return "Firmware (" + r.Arch.String() + ")"
	}
	return "The running system"
}

func (r *Request) event(kind, text string, ip netip.Addr) Event {
	return Event{Kind: kind, By: r.by(), Who: r.who(), Text: text, Contact: r.contact(ip), Boots: r.Kind.Boots()}
}

// then is another event of the same message.
func (e Event) then(kind, text string) Event {
	e.Kind, e.Text = kind, text
	return e
}
