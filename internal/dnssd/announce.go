package dnssd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pion/logging"
	"github.com/pion/mdns/v2"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
)

// Service is the DNS-SD type of an appliance's web listener.
const Service = "_hatchery._tcp"

// pinKey is the TXT entry that tells appliances apart.
const pinKey = "pin"

// recheck is how often Announce looks whether the addresses of this box changed.
const recheck = 10 * time.Second

// Announcement is what an appliance says of itself.
type Announcement struct {
	// Name is its name for people, at most 50 bytes.
	Name string
	// Pin is of the web listener's certificate (tlspin.Of); Port is where it listens.
	Pin  string
	Port uint16
	// Interfaces are the names of those to answer on; none = all but loopback.
	Interfaces []string
	Log        *slog.Logger // nil = none

	loopback bool // tests stay on it
}

// Announce answers until ctx ends, then returns nil. Where it cannot (no address yet, the port taken), it logs why
// once and tries again: an appliance serves without it.
func Announce(ctx context.Context, a Announcement) error {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	var conn *mdns.Conn
	var last []string
	said := ""
	for {
		if ifaces := a.interfaces(); conn == nil || !slices.Equal(last, addresses(ifaces)) {
			closed(conn)
			last = addresses(ifaces)
			var err error
			if conn, err = a.listen(ifaces); err != nil && err.Error() != said {
				said = err.Error()
				a.Log.Warn("USB images cannot find this appliance by mDNS when its address changes", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			closed(conn)
			return nil
		case <-tick.C:
		}
	}
}

func closed(c *mdns.Conn) {
	if c != nil {
		_ = c.Close()
	}
}

func (a *Announcement) listen(ifaces []net.Interface) (*mdns.Conn, error) {
	if len(ifaces) == 0 {
		return nil, errors.New("mDNS: no interface with an address yet")
	}
	packets, err := multicast()
	if err != nil {
		return nil, err
	}
	if err := questionsOnly(packets); err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	sum := sha256.Sum256([]byte(a.Pin)) // two appliances of one name share nothing
	id := hex.EncodeToString(sum[:4])
	conn, err := mdns.NewServer(packets, nil, mdns.WithInterfaces(ifaces...), mdns.WithIncludeLoopback(a.loopback), mdns.WithCacheRefresh(false), quiet(),
		mdns.WithLocalNames("hatchery-"+id+".local"),
		mdns.WithService(mdns.ServiceInstance{Instance: a.Name + " " + id, Service: Service, Port: a.Port,
			Text: []mdns.TXTEntry{mdns.NewTXTString(pinKey, a.Pin)}}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mDNS: %w", err), packets.Close())
	}
	return conn, nil
}

// interfaces are those to answer on that are up and have an IPv4 address.
func (a *Announcement) interfaces() []net.Interface {
	return usable(func(i net.Interface) bool {
		return (i.Flags&net.FlagLoopback != 0) == a.loopback && (len(a.Interfaces) == 0 || slices.Contains(a.Interfaces, i.Name))
	})
}

// usable are the interfaces that are up, wanted and have an IPv4 address.
func usable(want func(net.Interface) bool) []net.Interface {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(i net.Interface) bool {
		return i.Flags&net.FlagUp == 0 || !want(i) || !strings.Contains(strings.Join(addresses([]net.Interface{i}), " "), ".")
	})
}

func addresses(ifaces []net.Interface) (out []string) {
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			out = append(out, i.Name+" "+a.String())
		}
	}
	return out
}

// multicast opens the mDNS port. Go shares it for a multicast address, so that avahi or resolved may have it too.
func multicast() (*ipv4.PacketConn, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	return ipv4.NewPacketConn(c), nil
}

// questionsOnly has the kernel drop answers, which only a browser wants: strangers cannot fill a cache with them.
// The filter sees the UDP header (8 bytes), then the DNS header: QR is the top bit of its third byte (RFC 1035 §4.1.1).
func questionsOnly(c *ipv4.PacketConn) error {
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 8 + 2, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x80, SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	})
	if err == nil {
		err = c.SetBPF(prog)
	}
	if err != nil {
		return fmt.Errorf("mDNS: filter: %w", err)
	}
	return nil
}

// quiet keeps the library's own words, which strangers can provoke, out of the log.
func quiet() mdns.ServerOption {
	f := logging.NewDefaultLoggerFactory()
	f.DefaultLogLevel = logging.LogLevelDisabled
	return mdns.WithLoggerFactory(f)
}
