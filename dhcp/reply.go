package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/staged-hive/hatchery/inventory"
)

// MinReply is the length every reply is padded to: a BOOTP message's (R12; RFC 1542 §2.1).
const MinReply = 300

// Room for a reply: what every client takes (RFC 2131 §2: 576 bytes of IP datagram), and
// what fits an Ethernet frame; both without the 28 bytes of IP and UDP header.
const (
	minRoom = 576 - 28
	maxRoom = 1500 - 28
)

// ErrTooLong says that a reply cannot be made to fit the client's limit.
var ErrTooLong = errors.New("reply too long for the client")

// Option is one option of a reply.
type Option struct {
	Code  byte
	Value []byte
}

// Reply is a server's message before it is encoded. Options are in the order they are
// sent in: the most important first, because what does not fit is left out from the end.
type Reply struct {
	Type      MessageType // option 53, always sent
	XID       [4]byte
	Hops      byte
	Secs      uint16
	Broadcast bool
	CIAddr    netip.Addr
	YIAddr    netip.Addr
	SIAddr    netip.Addr // next-server
	Relay     netip.Addr // giaddr
	MAC       inventory.MAC
	ServerID  netip.Addr // option 54, always sent (R1)
	SName     string     // at most 63 bytes, sent zero-terminated
	File      string     // at most 127 bytes, sent zero-terminated
	Options   []Option
	Agent     []byte // option 82, echoed as it came, last (RFC 3046 §2.1)

	values []byte // those of Options that were made for it
}

// Option is the value of an option, nil when the reply does not have it.
func (r *Reply) Option(code byte) []byte {
	for _, o := range r.Options {
		if o.Code == code {
			return o.Value
		}
	}
	return nil
}

func (r *Reply) add(code byte, value []byte) {
	if len(value) > 0 && len(value) <= 255 {
		r.Options = append(r.Options, Option{code, value})
	}
}

func (r *Reply) addAddr(code byte, addrs ...netip.Addr) {
	start := len(r.values)
	for _, a := range addrs {
		if a.Is4() && len(r.values)-start < 252 {
			r.values = append4(r.values, a)
		}
	}
	r.addFrom(code, start)
}

func (r *Reply) addText(code byte, s string) {
	start := len(r.values)
	r.values = append(r.values, s...)
	r.addFrom(code, start)
}

func (r *Reply) addSeconds(code byte, n uint32) {
	start := len(r.values)
	r.values = binary.BigEndian.AppendUint32(r.values, n)
	r.addFrom(code, start)
}

// addFrom adds an option whose value was appended to values.
func (r *Reply) addFrom(code byte, start int) {
	r.add(code, r.values[start:len(r.values):len(r.values)])
}

// Encode makes the message's bytes: at most limit (the client's option 57; 0 when it sent
// none), at least MinReply. Options 53 and 54 always come first; options that do not
// fit are left out, the last ones first. ErrTooLong when not even those two fit, which only an
// absurd option 82 brings about.
func (r *Reply) Encode(limit int) ([]byte, error) { return r.EncodeInto(nil, limit) }

// EncodeInto is Encode into the room of b, whatever its length.
func (r *Reply) EncodeInto(b []byte, limit int) ([]byte, error) {
	room := minRoom
	if limit > 576 {
		// RFC 2132 §9.10 counts the DHCP message; ROMs count the datagram: the smaller reading is safe.
		room = min(limit-28, maxRoom)
	}
	b = slices.Grow(b[:0], MinReply+64)[:240]
	clear(b)
	r.header(b)
	tail := 1 // the end option
	if len(r.Agent) > 0 {
		tail += 2*((len(r.Agent)+254)/255) + len(r.Agent)
	}
	b = append(b, 53, 1, byte(r.Type), 54, 4)
	b = append4(b, r.ServerID)
	if len(b)+tail > room {
		return nil, fmt.Errorf("%d bytes, %d allowed: %w", len(b)+tail, room, ErrTooLong)
	}
	for _, o := range r.Options {
		if len(b)+2+len(o.Value)+tail > room {
			continue
		}
		b = append(b, o.Code, byte(len(o.Value)))
		b = append(b, o.Value...)
	}
	for part := range slices.Chunk(r.Agent, 255) {
		b = append(b, 82, byte(len(part)))
		b = append(b, part...)
	}
	b = append(b, 255)
	for len(b) < MinReply {
		b = append(b, 0)
	}
	return b, nil
}

func (r *Reply) header(b []byte) {
	b[0], b[1], b[2], b[3] = 2, 1, 6, r.Hops // BOOTREPLY, Ethernet
	copy(b[4:8], r.XID[:])
	binary.BigEndian.PutUint16(b[8:], r.Secs)
	if r.Broadcast {
		b[10] = 0x80
	}
	append4(b[:12], r.CIAddr)
	append4(b[:16], r.YIAddr)
	append4(b[:20], r.SIAddr)
	append4(b[:24], r.Relay)
	copy(b[28:34], r.MAC[:])
	copy(b[44:107], r.SName)
	copy(b[108:235], r.File)
	copy(b[236:], []byte{99, 130, 83, 99}) // magic cookie, RFC 2131 §3
}

// append4 appends an IPv4 address, 0.0.0.0 for any other.
func append4(b []byte, a netip.Addr) []byte {
	if !a.Is4() {
		return append(b, 0, 0, 0, 0)
	}
	ip := a.As4()
	return append(b, ip[:]...)
}
