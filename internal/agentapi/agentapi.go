package agentapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// Paths of the appliance's endpoints; all are POST with a JSON body.
const (
	PathCheckIn  = "/agent/v1/checkin"
	PathProgress = "/agent/v1/progress"
	PathJoin     = "/agent/v1/join"
)

// Largest bodies that are read, in bytes.
const (
	MaxCheckIn  = 512 << 10
	MaxProgress = 64 << 10
	MaxJoin     = 8 << 10
	MaxReply    = 256 << 10
)

// Limits of what a body may hold.
const (
	MaxLogLines = 20   // of one progress report
	MaxLogLine  = 256  // bytes of one of them
	MaxKeys     = 16   // authorized_keys lines of a reply
	MaxToken    = 256  // bytes of a join token
	nonceBytes  = 16   // of randomness in a nonce
	MaxKeyLine  = 1024 // bytes of one key in authorized_keys form
	MaxURLs     = 16   // of an appliance in a USB image
)

// ReportEvery is how long an agent waits between reports when a reply does not say.
const ReportEvery = 10 * time.Second

// Action is what the appliance wants the agent to do next.
type Action string

// The actions.
const (
	ActionContinue Action = "continue" // report again after the interval
	ActionCheckIn  Action = "checkin"  // this boot is not known (any more): check in again
	ActionNothing  Action = "nothing"  // stay up, report no more: the host is not looked after
)

// CheckIn is an agent's first word of a boot; repeated when the reply was lost.
type CheckIn struct {
	Nonce string `json:"nonce"` // of the kernel command line or the join reply
	// HostKey is the machine's SSH host key in authorized_keys form, without a comment. ed25519 only.
	HostKey string `json:"host_key"`
	// BootID is /proc/sys/kernel/random/boot_id: it tells this boot from the next.
	BootID string          `json:"boot_id"`
	Facts  inventory.Facts `json:"facts"`
	Agent  string          `json:"agent,omitempty"` // the agent's version
}

// CheckInReply is the answer to a check-in that was taken.
type CheckInReply struct {
	HostID inventory.HostID `json:"host_id"`
	Status
	// AuthorizedKeys are the appliance's SSH keys, which the agent lets in as root.
	AuthorizedKeys []string `json:"authorized_keys"`
}

// Status is what a reply says of the host and of what the agent does next.
type Status struct {
	Name  string          `json:"name,omitempty"` // what people call the host
	State inventory.State `json:"state"`
	// Words is the sentence for the machine's screen.
	Words string `json:"words"`
	// Page is the host's page on the appliance, shown as a QR code too; "" = not known.
	Page          string `json:"page,omitempty"`
	ReportSeconds int    `json:"report_seconds"`
	Action        Action `json:"action"`
}

// Interval is how long to wait before the next report, between 1 s and 10 min.
func (s Status) Interval() time.Duration {
	switch {
	case s.ReportSeconds <= 0:
		return ReportEvery
	case s.ReportSeconds > 600:
		return 10 * time.Minute
	}
	return time.Duration(s.ReportSeconds) * time.Second
}

// Progress is an agent's regular sign of life.
type Progress struct {
	Nonce  string `json:"nonce"`
	BootID string `json:"boot_id"`
	// Seq rises with every report of a boot: an old one that is sent again is refused.
	Seq uint64 `json:"seq"`
	// Log are lines for the host's diary since the last report that was answered.
	Log []string `json:"log,omitempty"`
}

// ProgressReply is the answer to a report.
type ProgressReply struct {
	Status
}

// Join exchanges an ISO's join token for a nonce of this boot.
type Join struct {
	Token    string          `json:"token"`
	MACs     []inventory.MAC `json:"macs"` // the interface in use first
	UUID     string          `json:"uuid,omitempty"`
	Serial   string          `json:"serial,omitempty"`
	Arch     string          `json:"arch"`     // "x86_64", "aarch64"
	Firmware string          `json:"firmware"` // "bios", "uefi"
}

// JoinReply carries the nonce to check in with, or says that this host boots its own disk.
type JoinReply struct {
	Nonce string `json:"nonce,omitempty"`
	// OwnDisk says that the host is installed: offer its disk, do nothing else.
	OwnDisk bool   `json:"own_disk,omitempty"`
	Words   string `json:"words"`
}

// Problem is the body of every refusal (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what happened and what to do next; it is shown on the machine's screen.
	Detail string `json:"detail"`
	Action Action `json:"action,omitempty"`
}

// NewNonce makes a nonce from 16 bytes of random, in hex.
func NewNonce(random io.Reader) (string, error) {
	var b [nonceBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("random bytes for a nonce: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// NonceHash is the form in which a nonce is stored: SHA-256 in hex.
func NonceHash(nonce string) string {
	h := sha256.Sum256([]byte(nonce))
	return hex.EncodeToString(h[:])
}

// TokenHash is the form in which a join token is stored.
func TokenHash(token string) string { return NonceHash("join\n" + token) }

// CheckNonce accepts what NewNonce makes.
func CheckNonce(s string) error {
	if len(s) != 2*nonceBytes || !lowerHex(s, "") {
		return fmt.Errorf("nonce: want %d hex digits", 2*nonceBytes)
	}
	return nil
}

// CheckBootID accepts the form of /proc/sys/kernel/random/boot_id.
func CheckBootID(s string) error {
	if len(s) != 36 || !lowerHex(s, "-") {
		return fmt.Errorf("boot id: want the text of /proc/sys/kernel/random/boot_id")
	}
	return nil
}

func lowerHex(s, also string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && string(c) != also {
			return false
		}
	}
	return true
}
