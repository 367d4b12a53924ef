package pipeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// bucketRuleNotes remembers the last message about a host's rules, so that it is told once: host id → text.
const bucketRuleNotes inventory.Bucket = "rule_notes"

// applyRules gives the host the role of the one rule that means it. Two rules are a message, nothing is done.
func applyRules(tx *inventory.Tx, id inventory.HostID, roles map[string]inventory.Role, now time.Time) error {
	h, err := tx.Host(id)
	if err != nil || h.NoRule() != "" {
		return err
	}
	names := inventory.Matching(&h, roles)
	switch len(names) {
	case 0:
		return nil
	case 1:
		by := "rule " + names[0]
		h, _, err = inventory.Assign(tx, id, inventory.Assignment{Role: &names[0]}, by, true, now)
		if err != nil {
			return err
		}
		return tx.Note(inventory.Entry{Time: now, HostID: id, Kind: "state", By: by,
			Text: fmt.Sprintf("The rule of role %s means this machine: it gets the role and the name %s.", names[0], h.Name)})
	}
	text := fmt.Sprintf("The rules of roles %s all mean this machine, so none acts. Give it a role, or make the rules narrower.", strings.Join(names, ", "))
	told, err := tx.Get(bucketRuleNotes, string(id))
	if err != nil || string(told) == text {
		return err
	}
	if err := tx.Put(bucketRuleNotes, string(id), []byte(text)); err != nil {
		return err
	}
	return tx.Note(inventory.Entry{Time: now, HostID: id, Kind: "state", By: "rules", Level: "warn", Text: text})
}

// freeName is the name that is proposed for a host of that role.
func freeName(tx *inventory.Tx, h *inventory.Host, role string) (string, error) {
	return inventory.FreeName(tx, h, role)
}
