package inventory

import (
	"errors"
	"fmt"
	"time"
)

// Errors of the acts that callers branch on.
var (
	// ErrNonce says that a nonce was never issued, is over, or is bound to another key.
	ErrNonce = errors.New("nonce refused")
	// ErrInvalid says that a value a person or program gave is not acceptable.
	ErrInvalid = errors.New("not valid")
)

// Apply applies one event to a host and stores it: ignore, un-ignore and the runner's steps.
func Apply(tx *Tx, id HostID, e Event) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h, err = Next(h, e); err != nil {
		return h, err
	}
	return tx.PutHost(h)
}

// Rescue gives the host stage-0 once, until the given time; nothing is written and its state stays.
func Rescue(tx *Tx, id HostID, until time.Time) (Host, error) {
	h, err := tx.Host(id)
	if err != nil {
		return h, err
	}
	if h.State == StateIgnored {
		return h, fmt.Errorf("host %s is ignored: un-ignore it first: %w", h.Label(), ErrBadEvent)
	}
	h.StageZeroUntil, h.Fetches = until, 0
	return tx.PutHost(h)
}

// Forget removes a host. One that was ever installed leaves a mark, so that it is never
// installed over by itself when it shows up again. ErrBadEvent while its job is open.
func Forget(tx *Tx, id HostID, now time.Time) error {
	h, err := tx.Host(id)
	if err != nil {
		return err
	}
	if h.in(StateQueued, StateInstalling) {
		return fmt.Errorf("host %s has an open job: cancel it first: %w", h.Label(), ErrBadEvent)
	}
	if h.Upkeep != "" {
		return busy(h)
	}
	if h.EverFlipped {
		if err := bury(tx, &h, now); err != nil {
			return err
		}
	}
	return remove(tx, &h)
}

// Noticed records that a known host was heard on the network without asking for anything of ours:
// its running system renewed its address. A machine that is not known stays so (ErrNotFound), and the
// MAC it boots with stays the same.
func Noticed(tx *Tx, c Contact, now time.Time) (Host, error) {
	h, err := tx.HostByMAC(c.MAC)
	if err != nil {
		return h, err
	}
	h.meet(Contact{IP: c.IP, Relayed: c.Relayed, DHCP: c.DHCP}, now)
	return tx.PutHost(h)
}
