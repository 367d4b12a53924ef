package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/staged-hive/hatchery/inventory"
)

// Config is what a [Server] needs. Store and Dir are required; a nil collaborator
// means that its part of the page says that it is not there.
type Config struct {
	// Addr is where the pages are served, ":8443" when empty. Listener, when set, is used instead (and closed by Run).
	Addr     string
	Listener net.Listener
	// Dir is the data directory: admin-token, tls/ and hatchery.sock live in it.
	Dir string
	// TLS is "auto" or "" (a certificate of our own in Dir/tls), "off", or "CERT,KEY" (two PEM files).
	TLS string
	// Names are further names that people reach the appliance by; addresses, localhost and the host's own name always work.
	Names []string
	// Version is shown on the settings page and in the OpenAPI document.
	Version string

	Store    inventory.Store
	Network  Network  // DHCP's status
	Leases   Leases   // leases and reservations
	Media    Media    // boot files and stage-0 images
	Images   Images   // which stage-0 image is in use; nil = it is chosen elsewhere
	ISOs     ISOs     // USB images
	Logs     Logs     // installer logs
	Boots    Boots    // how far machines are with loading stage-0; nil = it is not told
	Operator Operator // acts that reach into a running machine
	Hive     Hive     // the flake with the roles
	Setup    Setup    // what is set here instead of in the configuration file
	// Operators keeps the SSH keys of people; nil = the configuration file alone does.
	Operators Operators
	// Wake sends a magic packet; nil = broadcast on every interface.
	Wake func(ctx context.Context, mac inventory.MAC) error
	// Backup writes a consistent copy of the database; nil = no download.
	Backup func(w io.Writer) error
	// Care looks after the appliance itself; nil = neither self-test nor support bundle nor packets.
	Care Care
	// Restore checks a backup, calls sure when it is good, and restarts the appliance with it; nil = not here. ErrInvalid for what is no
	// whole backup, ErrConflict while a restart is under way.
	Restore func(backup io.Reader, sure func() error) error
	// SelfCheck finds what keeps machines from booting, for people to read; nil = nothing.
	SelfCheck func() []Warning
	// Health is why the appliance can save nothing now, in words that strangers may read; nil, or an error of nil = it can.
	Health func() error
	// AgentHandler answers /agent/v1/ (ISO boots reach the appliance here); nil = 404.
	AgentHandler http.Handler
	// Metrics is shown at /metrics; nil = 404.
	Metrics prometheus.Gatherer

	Log *slog.Logger     // nil = discard
	Now func() time.Time // nil = time.Now
}

// Warning is something that keeps machines from booting or installing, and what to do about it.
type Warning struct {
	Text string `json:"text"` // what is wrong, one sentence
	Hint string `json:"hint"` // what to do next
}

// Network tells what the DHCP side is doing. Safe for concurrent use.
type Network interface {
	Network() NetworkStatus
}

// NetworkStatus is what the network page shows.
type NetworkStatus struct {
	Mode         string         `json:"mode"`  // "proxy", "server", "off", "probing"
	Why          string         `json:"why"`   // the reason for the mode, one sentence
	Pools        []AddressPool  `json:"pools"` // empty for ProxyDHCP
	Interfaces   []NetInterface `json:"interfaces"`
	OtherServers []DHCPServer   `json:"other_servers"`
	// Requests counts the DHCP packets heard since the start, LastRequest is when and LastMAC who. Malformed and Limited are
	// those of them that were thrown away: no DHCP request of an Ethernet machine, or more than a machine may send.
	Requests    uint64        `json:"requests"`
	Malformed   uint64        `json:"malformed"`
	Limited     uint64        `json:"limited"`
	LastRequest time.Time     `json:"last_request,omitzero"`
	LastMAC     inventory.MAC `json:"last_mac,omitzero"`
	// Decisions are the last ones with their reasons, newest first; the API has them at /decisions.
	Decisions []Decision `json:"-"`
}

// AddressPool is the addresses of one subnet and what is taken of them.
type AddressPool struct {
	Subnet      netip.Prefix `json:"subnet"`
	Range       string       `json:"range"`
	Router      netip.Addr   `json:"router,omitzero"`
	Relayed     bool         `json:"relayed"` // its machines come through a relay
	Size        int          `json:"size"`    // addresses in the range
	Live        int          `json:"live"`    // leased
	Quarantined int          `json:"quarantined" doc:"found in use by somebody who did not get them from us"`
	Reserved    int          `json:"reserved"`
}

// NetInterface is one interface that netboot requests are answered on.
type NetInterface struct {
	Name  string         `json:"name"`
	MAC   inventory.MAC  `json:"mac"`
	Addrs []netip.Prefix `json:"addrs"`
	Why   string         `json:"why"`            // it is served, one sentence
	Note  string         `json:"note,omitempty"` // what is not as it should be, one sentence
}

// DHCPServer is another DHCP server that was heard.
type DHCPServer struct {
	IP        netip.Addr    `json:"ip"`
	MAC       inventory.MAC `json:"mac,omitzero"`
	Iface     string        `json:"iface,omitempty"` // where it was heard
	Proxy     bool          `json:"proxy"`           // it gives boot files only, never addresses
	FirstSeen time.Time     `json:"first_seen,omitzero"`
	LastSeen  time.Time     `json:"last_seen"`
}

// Decision is one answer, or silence, and why.
type Decision struct {
	Time   time.Time     `json:"time"` // of the last when Times is more than one
	MAC    inventory.MAC `json:"mac"`
	Iface  string        `json:"iface,omitempty"`
	Relay  netip.Addr    `json:"relay,omitzero"` // it came through
	Asked  string        `json:"asked"`          // "DISCOVER by firmware (UEFI x64)"
	Answer string        `json:"answer"`         // "OFFER 10.0.0.12, snponly.efi", "silence"
	Reason string        `json:"reason"`
	Times  int           `json:"times"` // how often in a row
}

// Leases reads the leases and keeps the reservations. Safe for concurrent use.
type Leases interface {
	// Leases reads up to limit live leases in order of the address as text, after `after` (the zero Addr = from the first).
	// next is where the following page goes on, the zero Addr at the end; a page may be short, even empty, and have one.
	Leases(after netip.Addr, limit int) (page []Lease, next netip.Addr, err error)
	// Reservations is the same for the reservations, in order of the MAC.
	Reservations(after inventory.MAC, limit int) (page []Reservation, next inventory.MAC, err error)
	// Reservation is that of a MAC. inventory.ErrNotFound.
	Reservation(m inventory.MAC) (Reservation, error)
	// SetReservation stores r, or removes the one of r.MAC when r.IP is not valid. inventory.ErrConflict when the address is
	// another MAC's, inventory.ErrNotFound when there is none to remove.
	SetReservation(ctx context.Context, r Reservation) error
}

// Lease is an address that a client has for a time.
type Lease struct {
	IP       netip.Addr    `json:"ip"`
	MAC      inventory.MAC `json:"mac"`
	Hostname string        `json:"hostname,omitempty"` // as the client says; untrusted
	Expires  time.Time     `json:"expires"`
}

// Reservation is a fixed address for a MAC.
type Reservation struct {
	MAC      inventory.MAC `json:"mac"`
	IP       netip.Addr    `json:"ip"`
	Hostname string        `json:"hostname,omitempty"`
	Fixed    bool          `json:"fixed,omitempty" doc:"set in the configuration file and changed only there"`
}

// Media tells which boot files and stage-0 images there are. Safe for concurrent use.
type Media interface {
	Media() MediaStatus
}

// Images chooses among the stage-0 images that were put in. Safe for concurrent use.
type Images interface {
	// UseImage checks a kept image and gives it to the machines that netboot from now on. inventory.ErrNotFound when it is not kept
	// or damaged, inventory.ErrConflict when something else manages the images.
	UseImage(arch, digest string) error
}

// MediaStatus is what the boot media page shows.
type MediaStatus struct {
	IPXE   []BootFile `json:"ipxe"`
	Stage0 []Image    `json:"stage0"`
	// Versions are all images that were put in and are kept, newest first.
	Versions []ImageVersion `json:"stage0_versions" nullable:"false"`
	IPXEDir  string         `json:"ipxe_dir,omitempty"`
	// Stage0Dir is where images are looked for.
	Stage0Dir string `json:"stage0_dir,omitempty"`
}

// BootFile is one iPXE binary.
type BootFile struct {
	Name string `json:"name"`
	For  string `json:"for"` // "BIOS", "UEFI x64", "UEFI arm64"
	// Version is the iPXE version that the file itself tells; "" = it does not.
	Version string `json:"version,omitempty"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256,omitempty"`
	Error   string `json:"error,omitempty"` // why it cannot be served; "" = it can
}

// ImageVersion is a stage-0 image that was put in and is kept to go back to.
type ImageVersion struct {
	Arch    string    `json:"arch"`
	Version string    `json:"version"`
	Digest  string    `json:"digest"` // SHA-256 of its manifest
	Added   time.Time `json:"added"`
	Current bool      `json:"current" doc:"machines that netboot now get it"`
}

// Image is one stage-0 image.
type Image struct {
	Arch    string    `json:"arch"`
	Version string    `json:"version"`
	Size    int64     `json:"size"`
	Built   time.Time `json:"built,omitzero"`
	SHA256  string    `json:"sha256,omitempty"`
	ISO     bool      `json:"iso"`             // a USB image is beside it
	Error   string    `json:"error,omitempty"` // why it cannot be served; "" = it can
}

// Hive tells where the roles come from and reads them again. Safe for concurrent use.
type Hive interface {
	// Location is the folder or URL of the flake.
	Location() string
	// Refresh reads the roles again and stores what it read.
	Refresh(ctx context.Context) error
	// Summary evaluates what the hive says of every host. What is wrong with the hive is told in it; the error is the context's.
	Summary(ctx context.Context) (Fleet, error)
	// Hardware is nixos-facter's report of the host with that name; fs.ErrNotExist before its first install.
	Hardware(ctx context.Context, name string) (json.RawMessage, error)
}

// Logs are the installer's lines of the jobs. Safe for concurrent use.
type Logs interface {
	// Tail is the last n lines, oldest first.
	Tail(host inventory.HostID, n int) ([]LogLine, error)
	// Follow calls fn with every line after the id `after` (0 = all that is kept), then with new
	// ones as they come, until ctx ends or fn fails. A reader that falls behind misses lines: ids then jump.
	Follow(ctx context.Context, host inventory.HostID, after uint64, fn func(LogLine) error) error
	// Job calls fn with every line that is kept of one job, oldest first, until fn fails. ErrNotFound.
	Job(id inventory.JobID, fn func(LogLine) error) error
}

// LogLine is one line of an installer's log.
type LogLine struct {
	ID    uint64    `json:"id"` // rising within one host
	Time  time.Time `json:"time"`
	Step  string    `json:"step,omitempty"`
	Level string    `json:"level,omitempty"` // "", "warn", "error"
	Text  string    `json:"text"`            // untrusted
}

// Boots tells how far machines are with loading stage-0. Safe for concurrent use.
type Boots interface {
	// Loading is what the machines that load stage-0 now have of it, and a channel that closes when that changed: once a second at most.
	Loading() (map[inventory.HostID]inventory.Loading, <-chan struct{})
}

// Operator carries out what needs a connection to the machine. Safe for concurrent use.
type Operator interface {
	// Operate gives the machine the order. ErrBadEvent, ErrNotFound of inventory.
	Operate(ctx context.Context, op Operation) error
}

// The acts of an [Operation].
const (
	ActReboot   = "reboot"
	ActPowerOff = "poweroff"
)

// Operation is one act on a running machine.
type Operation struct {
	Host inventory.HostID
	Act  string // ActReboot, ActPowerOff
	By   string
}

// tlsFiles splits Config.TLS; both are "" for auto and off.
func (c *Config) tlsFiles() (cert, key string, err error) {
	switch c.TLS {
	case "", "auto", "off":
		return "", "", nil
	}
	cert, key, ok := strings.Cut(c.TLS, ",")
	if !ok || cert == "" || key == "" {
		return "", "", fmt.Errorf("web TLS %q: want auto, off, or CERT,KEY (two PEM files)", c.TLS)
	}
	return cert, key, nil
}

func (c *Config) check() error {
	if c.Store == nil {
		return errors.New("web: no store")
	}
	if c.Dir == "" {
		return errors.New("web: no data directory")
	}
	if _, _, err := c.tlsFiles(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("web: data directory: %w", err)
	}
	if c.Addr == "" {
		c.Addr = ":8443"
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wake == nil {
		c.Wake = BroadcastWake
	}
	return nil
}
