package httpboot

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/inventory"
)

// takeJoin issues the nonce of one boot of a USB image, or sends an installed host to its own disk.
func (s *Server) takeJoin(msg agentapi.Join, from netip.Addr, now time.Time) (agentapi.JoinReply, error) {
	nonce, err := agentapi.NewNonce(rand.Reader)
	if err != nil {
		return agentapi.JoinReply{}, err
	}
	var reply agentapi.JoinReply
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		c := inventory.Contact{MAC: bootMAC(tx, msg.MACs), UUID: msg.UUID, Serial: msg.Serial, IP: from, Arch: msg.Arch, Firmware: msg.Firmware}
		h, err := inventory.IssueJoinNonce(tx, c, agentapi.NonceHash(nonce), now)
		if err != nil {
			return err
		}
		e := inventory.Entry{Time: now, HostID: h.ID, Kind: "join", By: "stage-0", From: from, Text: "Started from a USB image of this appliance."}
		reply = agentapi.JoinReply{Nonce: nonce, Words: "Hatchery knows this machine as " + h.Label() + "."}
		if t, why := inventory.BootTarget(&h, inventory.DiscoveryAlways, now); t == inventory.TargetDisk || t == inventory.TargetSilent {
			reply = agentapi.JoinReply{OwnDisk: true, Words: h.Label() + ": " + why + ". Take the stick out and start the machine again: it boots its own disk."}
			e.Text = "Started from a USB image of this appliance, but " + why + ": it was offered its own disk."
		}
		return tx.Note(e)
	})
	return reply, err
}

// bootMAC is the machine's MAC that the inventory knows, else the first.
func bootMAC(tx *inventory.Tx, macs []inventory.MAC) inventory.MAC {
	for _, m := range macs {
		if _, err := tx.HostByMAC(m); err == nil || !errors.Is(err, inventory.ErrNotFound) {
			return m
		}
	}
	return macs[0]
}
