package dnssd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/mdns/v2"
)

// maxFound bounds what strangers can make of one search.
const maxFound = 8

// Find asks for appliances until ctx ends and returns where those are that claim the certificate's pin, first answer first.
func Find(ctx context.Context, pin string) ([]netip.AddrPort, error) {
	return find(ctx, pin, false)
}

func find(ctx context.Context, pin string, loopback bool) ([]netip.AddrPort, error) {
	ifaces := usable(func(i net.Interface) bool { return (i.Flags&net.FlagLoopback != 0) == loopback })
	if len(ifaces) == 0 {
		return nil, nil // no address yet
	}
	packets, err := multicast()
	if err != nil {
		return nil, err
	}
	conn, err := mdns.NewServer(packets, nil, mdns.WithInterfaces(ifaces...), mdns.WithIncludeLoopback(loopback), mdns.WithCacheRefresh(false), quiet(),
		mdns.WithQueryInterval(time.Second/2))
	if err != nil {
		_ = packets.Close()
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	defer func() { _ = conn.Close() }()
	var mu sync.Mutex
	var found []netip.AddrPort
	conn.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		at := netip.AddrPortFrom(e.Addr.Unmap(), e.Instance.Port)
		claims := slices.ContainsFunc(e.Instance.Text, func(t mdns.TXTEntry) bool { return t.Key == pinKey && string(t.Value) == pin })
		mu.Lock()
		defer mu.Unlock()
		if claims && at.IsValid() && at.Port() != 0 && !slices.Contains(found, at) && len(found) < maxFound {
			found = append(found, at)
		}
	})
	if err := conn.Browse(ctx, Service); err != nil {
		return nil, fmt.Errorf("mDNS: %w", err)
	}
	<-ctx.Done()
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(found), nil
}
