package dhcp

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// scan finds header and options of a message where they are, in a copy of it. It reports false for what the codec has to
// look at: an option that comes twice (RFC 3396), one that does not end within the message, and whatever is no DHCP
// message. That is a fraction of the codec's cost, and FuzzParse holds the two to the same result.
func scan(b []byte) (h header, o options, ok bool) {
	if len(b) < 240 || [4]byte(b[236:240]) != [4]byte{99, 130, 83, 99} || b[2] > 16 {
		return h, nil, false
	}
	b = bytes.Clone(b)
	var at [256]uint16 // where each option's length is; 0 = absent
	for i := 240; i < len(b) && b[i] != 255; {
		code := b[i]
		if code == 0 {
			i++
			continue
		}
		if i+1 >= len(b) || i+2+int(b[i+1]) > len(b) || at[code] != 0 {
			return h, nil, false
		}
		at[code] = uint16(i + 1)
		i += 2 + int(b[i+1])
	}
	h = header{op: b[0], hwType: b[1], hw: b[28 : 28+b[2]], hops: b[3], xid: [4]byte(b[4:]), secs: binary.BigEndian.Uint16(b[8:]),
		flags: binary.BigEndian.Uint16(b[10:]), ciaddr: [4]byte(b[12:]), giaddr: [4]byte(b[24:])}
	return h, func(code byte) ([]byte, bool) {
		i := int(at[code])
		if i == 0 || b[i] == 0 {
			return nil, i != 0
		}
		return slices.Clip(b[i+1 : i+1+int(b[i])]), true
	}, true
}
