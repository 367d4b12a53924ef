package server

import (
	"encoding/binary"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// TestOnVethManyClientsAtOnce is a rack powered on at once: 64 clients in flight until 2000 have an
// address, every lease fsynced before its ACK. None is refused, no two get the same.
func TestOnVethManyClientsAtOnce(t *testing.T) {
	_, cli := veth(t)
	if out, err := exec.Command("ip", "addr", "replace", "10.0.0.2/16", "dev", "srv").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("ip", "addr", "del", "10.0.0.2/24", "dev", "srv").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(t.TempDir(), "hatchery.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := wireConfig(t, ModeServer)
	cfg.Force, cfg.Store, cfg.Leases, cfg.Log = true, db, db, nil
	cfg.Range = lease.Range{First: netip.MustParseAddr("10.0.8.0"), Last: netip.MustParseAddr("10.0.31.255")}
	s := serve(t, cfg)
	began := time.Now()
	got, took := storm(t, listenOn(t, cli, 0x0800), 2000, 64)
	unique := map[netip.Addr]bool{}
	for _, ip := range got {
		unique[ip] = true
	}
	c := s.Status().Counters
	if len(got) != 2000 || len(unique) != 2000 || c.Naks != 0 || c.CommitErrors != 0 {
		t.Errorf("%d clients have %d addresses; %+v", len(got), len(unique), c)
	}
	stored, err := db.Leases()
	if err != nil || len(stored) < 2000 {
		t.Errorf("%d leases are stored, %v", len(stored), err)
	}
	slices.Sort(took)
	t.Logf("%.0f DORA/s, median %v, 99 of 100 within %v", 2000/time.Since(began).Seconds(), took[len(took)/2], took[len(took)*99/100])
}

// storm plays n clients, so many at a time, and returns what each got and how long it took. A client asks again when
// nothing comes for two seconds, as real ones do.
func storm(t *testing.T, l listener, n, atOnce int) (map[inventory.MAC]netip.Addr, []time.Duration) {
	t.Helper()
	type state struct {
		began, last time.Time
		sent        []byte
	}
	all := inventory.MAC{255, 255, 255, 255, 255, 255}
	src, dst := netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67")
	flying, got := map[inventory.MAC]*state{}, map[inventory.MAC]netip.Addr{}
	var took []time.Duration
	say := func(mac inventory.MAC, x *state, m []byte) {
		x.sent, x.last = frame(mac, all, src, dst, m), time.Now()
		l.send(x.sent, all[:])
	}
	next := 0
	buf := make([]byte, 2000)
	for end := time.Now().Add(90 * time.Second); len(got) < n; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d clients have an address after 90 s", len(got), n)
		}
		for len(flying) < atOnce && next < n {
			mac := inventory.MAC{2, 1, 0, 0, byte(next >> 8), byte(next)}
			next++
			x := &state{began: time.Now()}
			flying[mac] = x
			say(mac, x, msg(t, dhcpv4.MessageTypeDiscover, mac))
		}
		if err := l.c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		k, _, err := l.c.ReadFrom(buf)
		if err != nil {
			for _, x := range flying {
				if time.Since(x.last) > 2*time.Second {
					x.last = time.Now()
					l.send(x.sent, all[:])
				}
			}
			continue
		}
		if k < 36 || binary.BigEndian.Uint16(buf[12:]) != 0x0800 {
			continue
		}
		m, _, ok := reply(buf[:k])
		if !ok {
			continue
		}
		mac := inventory.MAC(m.ClientHWAddr)
		x := flying[mac]
		if x == nil {
			continue
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeOffer:
			say(mac, x, msg(t, dhcpv4.MessageTypeRequest, mac, wants(yiaddr(m)), ours))
		case dhcpv4.MessageTypeAck:
			got[mac] = yiaddr(m)
			took = append(took, time.Since(x.began))
			delete(flying, mac)
		}
	}
	return got, took
}
