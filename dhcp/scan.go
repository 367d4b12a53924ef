package dhcp

import (
	"encoding/binary"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// header is what counts of a message's fixed part.
type header struct {
	op, hwType, hops byte
	hw               []byte
	xid              [4]byte
	secs, flags      uint16
	ciaddr, giaddr   [4]byte
}

// options are a message's: those the codec decoded, or else places in the message.
type options struct {
	decoded dhcpv4.Options
	b       []byte      // nil when decoded
	at      [256]uint16 // where each option's length is in b; 0 = absent
}

// get finds an option's value; an empty one is nil.
func (o *options) get(code byte) (value []byte, has bool) {
	if o.b == nil {
		v, ok := o.decoded[code]
		return v, ok
	}
	i := int(o.at[code])
	if i == 0 || o.b[i] == 0 {
		return nil, i != 0
	}
	return slices.Clip(o.b[i+1 : i+1+int(o.b[i])]), true
}

// scan finds header and options of the message o.b where they are; the values point into it. It reports false for what the codec has to
// look at: an option that comes twice (RFC 3396), one that does not end within the message, and whatever is no DHCP
// message. That is a fraction of the codec's cost, and FuzzParse holds the two to the same result.
func scan(o *options) (h header, ok bool) {
	b := o.b
	if len(b) < 240 || [4]byte(b[236:240]) != [4]byte{99, 130, 83, 99} || b[2] > 16 {
		return h, false
	}
	for i := 240; i < len(b) && b[i] != 255; {
		code := b[i]
		if code == 0 {
			i++
			continue
		}
		if i+1 >= len(b) || i+2+int(b[i+1]) > len(b) || o.at[code] != 0 {
			return h, false
		}
		o.at[code] = uint16(i + 1)
		i += 2 + int(b[i+1])
	}
	return header{op: b[0], hwType: b[1], hw: b[28 : 28+b[2]], hops: b[3], xid: [4]byte(b[4:]), secs: binary.BigEndian.Uint16(b[8:]),
		flags: binary.BigEndian.Uint16(b[10:]), ciaddr: [4]byte(b[12:]), giaddr: [4]byte(b[24:])}, true
}
