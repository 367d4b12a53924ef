package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Nonce is a boot's one-time word: its hash is the record's key, the word itself is never stored.
type Nonce struct {
	MAC     MAC        `json:"mac"`
	HostID  HostID     `json:"host_id"`
	Issued  time.Time  `json:"issued"`
	To      netip.Addr `json:"to,omitzero"`        // who fetched the script
	HostKey string     `json:"host_key,omitempty"` // authorized_keys form, once bound
	BootID  string     `json:"boot_id,omitempty"`
	Join    bool       `json:"join,omitempty"` // made from an ISO's join token
}

// Limits of nonces, see DESIGN section 4.
const (
	NonceLife      = time.Hour // of an unbound one
	NoncesUnbound  = 4         // per MAC
	BoundNonceLife = 30 * 24 * time.Hour
)

// issueNonce stores a nonce and drops what the limits of its MAC no longer allow.
func issueNonce(tx *Tx, hash string, n Nonce) error {
	listKey := "mac/" + n.MAC.String()
	var hashes, keep []string
	if _, err := tx.GetJSON(BucketNonces, listKey, &hashes); err != nil {
		return err
	}
	unbound := 0
	for i := len(hashes) - 1; i >= 0; i-- { // newest first
		var old Nonce
		ok, err := tx.GetJSON(BucketNonces, hashes[i], &old)
		if err != nil {
			return err
		}
		bound := ok && old.HostKey != ""
		if !bound {
			unbound++
		}
		if !ok || !old.valid(n.Issued) || (!bound && unbound >= NoncesUnbound) || len(keep) >= 16 {
			if err := tx.Delete(BucketNonces, hashes[i]); err != nil {
				return err
			}
			continue
		}
		keep = append(keep, hashes[i])
	}
	slices.Reverse(keep)
	if err := tx.PutJSON(BucketNonces, listKey, append(keep, hash)); err != nil {
		return err
	}
	return tx.PutJSON(BucketNonces, hash, n)
}

func (n *Nonce) valid(now time.Time) bool {
	life := NonceLife
	if n.HostKey != "" {
		life = BoundNonceLife
	}
	return now.Sub(n.Issued) < life
}

// LookupNonce reads a nonce that was issued and is not over. ErrNonce.
func LookupNonce(tx *Tx, hash string, now time.Time) (Nonce, error) {
	var n Nonce
	ok, err := tx.GetJSON(BucketNonces, hash, &n)
	if err != nil {
		return n, err
	}
	if !ok || !n.valid(now) {
		return n, fmt.Errorf("this boot is not known here or is over; power the machine on again to netboot it: %w", ErrNonce)
	}
	return n, nil
}

// dropNonces removes every nonce of a MAC.
func dropNonces(tx *Tx, m MAC) error {
	listKey := "mac/" + m.String()
	var hashes []string
	if _, err := tx.GetJSON(BucketNonces, listKey, &hashes); err != nil {
		return err
	}
	for _, hash := range hashes {
		if err := tx.Delete(BucketNonces, hash); err != nil {
			return err
		}
	}
	return tx.Delete(BucketNonces, listKey)
}
