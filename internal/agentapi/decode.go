package agentapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/staged-hive/hatchery/inventory"
)

// DecodeCheckIn reads a check-in's body: one JSON object, every value that is known checked and bounded. Fields of a newer
// agent are skipped: what this appliance does not know it cannot act on, so the older of the two decides what is
// possible (of a disk that only a newer one could name it sees no name, and refuses it). The host key comes back in its
// canonical form.
func DecodeCheckIn(body []byte) (CheckIn, error) {
	var c CheckIn
	if err := decode(body, MaxCheckIn, &c); err != nil {
		return c, fmt.Errorf("check-in: %w", err)
	}
	key, err := CanonicalKey(c.HostKey)
	if err = errors.Join(CheckNonce(c.Nonce), CheckBootID(c.BootID), err); err != nil {
		return c, fmt.Errorf("check-in: %w", err)
	}
	c.HostKey, c.Agent = key, inventory.Clean(c.Agent, 64)
	if err := c.Facts.Check(); err != nil {
		return c, fmt.Errorf("check-in: facts: %w", err)
	}
	return c, nil
}

// DecodeProgress reads a report's body. Too many or too long log lines are cut.
func DecodeProgress(body []byte) (Progress, error) {
	var p Progress
	if err := decode(body, MaxProgress, &p); err != nil {
		return p, fmt.Errorf("report: %w", err)
	}
	if err := errors.Join(CheckNonce(p.Nonce), CheckBootID(p.BootID)); err != nil {
		return p, fmt.Errorf("report: %w", err)
	}
	if len(p.Log) > MaxLogLines {
		p.Log = p.Log[:MaxLogLines]
	}
	for i := range p.Log {
		p.Log[i] = inventory.Clean(p.Log[i], MaxLogLine)
	}
	return p, nil
}

// DecodeJoin reads the body of a join.
func DecodeJoin(body []byte) (Join, error) {
	var j Join
	if err := decode(body, MaxJoin, &j); err != nil {
		return j, fmt.Errorf("join: %w", err)
	}
	switch {
	case j.Token == "" || len(j.Token) > MaxToken:
		return j, fmt.Errorf("join: a token of 1 to %d characters is needed", MaxToken)
	case len(j.MACs) == 0 || len(j.MACs) > inventory.MaxNICs:
		return j, fmt.Errorf("join: %d MAC addresses: want 1 to %d", len(j.MACs), inventory.MaxNICs)
	case j.Arch != "x86_64" && j.Arch != "aarch64":
		return j, errors.New("join: arch: want x86_64 or aarch64")
	case j.Firmware != "bios" && j.Firmware != "uefi":
		return j, errors.New("join: firmware: want bios or uefi")
	}
	for _, m := range j.MACs {
		if m.IsZero() {
			return j, errors.New("join: an empty MAC address")
		}
	}
	j.UUID, j.Serial = inventory.Clean(j.UUID, inventory.MaxFactLen), inventory.Clean(j.Serial, inventory.MaxFactLen)
	return j, nil
}

// DecodeReply reads a reply's body into v, one of the reply types or Problem. Fields of
// a newer appliance are skipped.
func DecodeReply(body []byte, v any) error {
	if len(body) > MaxReply {
		return fmt.Errorf("reply of more than %d bytes", MaxReply)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// maxObjects bounds what decoding takes: an empty disk is two bytes of body and hundreds of memory.
const maxObjects = 1 + inventory.MaxNICs + inventory.MaxDisks*(1+inventory.MaxPartitions)

// decode reads one JSON value of bounded size into v.
func decode(body []byte, limit int, v any) error {
	if len(body) > limit {
		return fmt.Errorf("more than %d bytes", limit)
	}
	if bytes.Count(body, []byte("{")) > maxObjects {
		return fmt.Errorf("more than %d things in it", maxObjects)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("not what this appliance understands (is its stage-0 image of another version?): %w", err)
	}
	return nil
}
