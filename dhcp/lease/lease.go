package lease

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"
)

// HW is an Ethernet hardware address; its text form is lower-case with colons.
// inventory.MAC converts to it and back. The zero value means "nobody".
type HW [6]byte

// String is the lower-case form with colons.
func (h HW) String() string {
	return string(h.append(make([]byte, 0, 17)))
}

func (h HW) append(b []byte) []byte {
	for i, x := range h {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{x})
	}
	return b
}

// MarshalText is String.
func (h HW) MarshalText() ([]byte, error) { return h.append(nil), nil }

// UnmarshalText reads what MarshalText wrote; hyphens are accepted too.
func (h *HW) UnmarshalText(b []byte) error {
	var digits []byte
	for _, c := range b {
		if c != ':' && c != '-' {
			digits = append(digits, c)
		}
	}
	var v HW
	if len(digits) != 12 {
		return fmt.Errorf("hardware address %q: want aa:bb:cc:dd:ee:ff", b)
	}
	if _, err := hex.Decode(v[:], digits); err != nil {
		return fmt.Errorf("hardware address %q: %w", b, err)
	}
	*h = v
	return nil
}

// State is what an address is taken up with.
type State string

// The states of a stored lease. The empty one is read as StateBound.
const (
	// StateBound: the client has the address until Expires.
	StateBound State = "bound"
	// StateReleased: the client gave it back; kept so that it gets the same one next time.
	StateReleased State = "released"
	// StateQuarantined: somebody else was found to use it (DECLINE or probe); nobody gets it until Expires.
	StateQuarantined State = "quarantined"
)

// Lease is an address for a time, as it is stored. IP is its key: there is at most
// one record for an address. A value: copied freely, ClientID is not written to.
type Lease struct {
	IP netip.Addr `json:"ip"`
	HW HW         `json:"hw"` // zero when quarantined after a probe
	// ClientID is the option 61 sent last, nil when there was none. It does not decide who owns the
	// lease (firmware, iPXE, stage-0 and the installed system send different ones); HW does.
	ClientID []byte `json:"client_id,omitempty"`
	Hostname string `json:"hostname,omitempty"` // option 12, cleaned; for people only
	State    State  `json:"state,omitempty"`
	// Granted is when the address was first given to HW, Renewed the last time.
	Granted time.Time `json:"granted,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
	// Expires is when the address is free again; for a released lease the moment of release.
	Expires time.Time `json:"expires,omitzero"`
	// Reserved says that the address came from a reservation.
	Reserved bool `json:"reserved,omitempty"`
	// ByRenewal says that the client was extending the lease when it was renewed last: its system is running.
	ByRenewal bool `json:"by_renewal,omitempty"`
	// Twin is the client's key in the pool when several machines have its hardware address (see Pool.Split), else zero.
	Twin HW `json:"twin,omitzero"`
	// Relay is the relay agent's address (giaddr) the client came through, zero when it is on our segment.
	Relay netip.Addr `json:"relay,omitzero"`
}

// Key is what a Pool knows the lease's client by.
func (l Lease) Key() HW {
	if l.Twin != (HW{}) {
		return l.Twin
	}
	return l.HW
}

// Live reports whether a client may be using the address at now.
func (l Lease) Live(now time.Time) bool {
	return (l.State == StateBound || l.State == "") && now.Before(l.Expires)
}

// Blocked reports whether the address is in quarantine at now.
func (l Lease) Blocked(now time.Time) bool {
	return l.State == StateQuarantined && now.Before(l.Expires)
}

// Reservation is a fixed address for a hardware address. HW is its key.
type Reservation struct {
	HW   HW         `json:"hw"`
	IP   netip.Addr `json:"ip"`
	Name string     `json:"name,omitempty"` // for people, and the host name sent to the client when not ""
}
