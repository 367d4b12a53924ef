package dnssd

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAnnouncedIsFound runs over the loopback interface, which carries multicast on Linux.
func TestAnnouncedIsFound(t *testing.T) {
	mine, other := "sha256//"+strings.Repeat("ab/", 14)+"+=", "sha256//"+strings.Repeat("cd/", 14)+"+="
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for name, a := range map[string]Announcement{"mine": {Pin: mine, Port: 8443}, "other": {Pin: other, Port: 9443}} {
		a.Name, a.loopback = "Hatchery "+name, true
		go func() { ended <- Announce(ctx, a) }()
	}
	defer func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	want := netip.MustParseAddrPort("127.0.0.1:8443")
	for deadline := time.Now().Add(30 * time.Second); ; {
		search, done := context.WithTimeout(ctx, time.Second)
		found, err := find(search, mine, true)
		done()
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 1 && found[0] == want {
			break
		}
		if len(found) > 0 || time.Now().After(deadline) {
			t.Fatalf("found %v, want %v alone", found, want)
		}
	}
}

func TestAnswersOfStrangersAreDropped(t *testing.T) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	c := ipv4.NewPacketConn(socket)
	defer c.Close()
	if err := questionsOnly(c); err != nil {
		t.Fatal(err)
	}
	to, err := net.Dial("udp4", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for i, response := range []bool{true, false} { // what is read first is the second one
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i), Response: response}}
		raw, err := m.Pack()
		if err == nil {
			_, err = to.Write(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	n, _, _, err := c.ReadFrom(b)
	var m dnsmessage.Message
	if err != nil || m.Unpack(b[:n]) != nil || m.Response || m.ID != 1 {
		t.Errorf("got %+v, %v; want the question", m.Header, err)
	}
}
