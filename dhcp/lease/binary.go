package lease

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"
)

// ErrNoLease says that bytes are not what AppendBinary wrote.
var ErrNoLease = errors.New("not the bytes of a lease")

// What the first byte of a lease's binary form says: the state in two bits, and what else there is.
const (
	bitState    = 1<<0 | 1<<1
	bitReserved = 1 << 2
	bitRenewal  = 1 << 3
	bitUsualID  = 1 << 4 // the client id is the hardware address behind its type
	bitTwin     = 1 << 5
	bitRelay    = 1 << 6
)

// states are those of two bits.
var states = [...]State{"", StateBound, StateReleased, StateQuarantined}

// AppendBinary appends the lease in some 40 bytes: flags, address, hardware address, three times in nanoseconds
// since 1970, client id behind its length, twin, relay, and the host name to the end. It reports false, and appends nothing, for a lease that does not
// fit that form, which no Pool makes: those are written as JSON.
func (l *Lease) AppendBinary(b []byte) ([]byte, bool) {
	state := -1
	for i, s := range states {
		if s == l.State {
			state = i
		}
	}
	granted, ok1 := nanos(l.Granted)
	renewed, ok2 := nanos(l.Renewed)
	expires, ok3 := nanos(l.Expires)
	if state < 0 || !ok1 || !ok2 || !ok3 || !l.IP.Is4() || l.Relay.IsValid() && !l.Relay.Is4() || len(l.ClientID) > 255 {
		return b, false
	}
	flags, id := byte(state), l.ClientID
	if l.Reserved {
		flags |= bitReserved
	}
	if l.ByRenewal {
		flags |= bitRenewal
	}
	if isHW(id, l.HW) {
		flags, id = flags|bitUsualID, nil
	}
	if l.Twin != (HW{}) {
		flags |= bitTwin
	}
	if l.Relay.IsValid() {
		flags |= bitRelay
	}
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint32(b, num(l.IP))
	b = append(b, l.HW[:]...)
	b = binary.LittleEndian.AppendUint64(b, granted)
	b = binary.LittleEndian.AppendUint64(b, renewed)
	b = binary.LittleEndian.AppendUint64(b, expires)
	b = append(b, byte(len(id)))
	b = append(b, id...)
	if flags&bitTwin != 0 {
		b = append(b, l.Twin[:]...)
	}
	if flags&bitRelay != 0 {
		b = binary.LittleEndian.AppendUint32(b, num(l.Relay))
	}
	return append(b, l.Hostname...), true
}

// DecodeBinary reads what AppendBinary wrote; nothing of the lease points into b. ErrNoLease.
func DecodeBinary(b []byte) (l Lease, err error) {
	const fixed = 1 + 4 + 6 + 3*8 + 1
	if len(b) < fixed {
		return l, ErrNoLease
	}
	flags, tail := b[0], b[fixed:]
	take := func(n int) (part []byte) {
		if n > len(tail) {
			err, n = ErrNoLease, len(tail)
		}
		part, tail = tail[:n], tail[n:]
		return part
	}
	l = Lease{IP: binaryAddr(b[1:]), HW: HW(b[5:]), State: states[flags&bitState], Reserved: flags&bitReserved != 0, ByRenewal: flags&bitRenewal != 0,
		Granted: fromNanos(b[11:]), Renewed: fromNanos(b[19:]), Expires: fromNanos(b[27:])}
	if id := take(int(b[fixed-1])); len(id) > 0 {
		l.ClientID = append([]byte(nil), id...)
	}
	if flags&bitUsualID != 0 {
		l.ClientID = append([]byte{1}, l.HW[:]...)
	}
	if flags&bitTwin != 0 {
		copy(l.Twin[:], take(len(l.Twin)))
	}
	if flags&bitRelay != 0 {
		if part := take(4); len(part) == 4 {
			l.Relay = binaryAddr(part)
		}
	}
	l.Hostname = string(tail)
	return l, err
}

// BinaryIP is the address in what AppendBinary wrote. ErrNoLease.
func BinaryIP(b []byte) (netip.Addr, error) {
	if len(b) < 5 {
		return netip.Addr{}, ErrNoLease
	}
	return binaryAddr(b[1:]), nil
}

func binaryAddr(b []byte) netip.Addr { return addr(binary.LittleEndian.Uint32(b)) }

// noNanos is the zero time.
const noNanos = math.MinInt64

// nanos is a time in nanoseconds since 1970; false beyond the years that they reach (1678 to 2261).
func nanos(t time.Time) (uint64, bool) {
	if t.IsZero() {
		return 1 << 63, true // noNanos
	}
	secs := t.Unix()
	return uint64(t.UnixNano()), secs > -9.2e9 && secs < 9.2e9
}

func fromNanos(b []byte) time.Time {
	n := int64(binary.LittleEndian.Uint64(b))
	if n == noNanos {
		return time.Time{}
	}
	return time.Unix(0, n)
}
