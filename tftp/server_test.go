package tftp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	pin "github.com/pin/tftp/v3"
	"go.uber.org/goleak"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
	"github.com/staged-hive/hatchery/tftp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bootMAC = "52:54:00:00:00:01"

// start runs a server on a real socket; the client's host is known to its store.
func start(t *testing.T, files fstest.MapFS) (addr string, store *inventorytest.Store, host inventory.HostID) {
	t.Helper()
	store = inventorytest.NewStore(t)
	mac, err := inventory.ParseMAC(bootMAC)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Update(func(tx *inventory.Tx) error {
		h, err := inventory.Discover(tx, inventory.Contact{MAC: mac}, time.Now())
		host = h.ID
		return err
	}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := tftp.New(tftp.Config{Conn: conn, Files: files, Store: store, HTTPPort: 8080,
		Neighbor: func(netip.Addr) (inventory.MAC, bool) { return mac, true }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s.Addr().String(), store, host
}

func receive(t *testing.T, addr, name string, blksize int) ([]byte, error) {
	t.Helper()
	c, err := pin.NewClient(addr)
	if err != nil {
		t.Fatal(err)
	}
	if blksize > 0 {
		c.SetBlockSize(blksize)
	}
	c.RequestTSize(true)
	c.SetRetries(0) // what is not answered is not asked again: the first question has to be
	c.SetTimeout(30 * time.Second)
	w, err := c.Receive(name, "octet")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = w.WriteTo(&b)
	return b.Bytes(), err
}

func diary(t *testing.T, store *inventorytest.Store, id inventory.HostID) string {
	t.Helper()
	var out []string
	if err := store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary(id, 0, 100)
		for _, e := range es {
			out = append(out, e.Kind+": "+e.Text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func waitDiary(t *testing.T, store *inventorytest.Store, id inventory.HostID, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		d := diary(t, store, id)
		if strings.Contains(d, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the diary never said %q:\n%s", want, d)
		}
	}
}

var files = fstest.MapFS{
	"snponly.efi":    {Data: bytes.Repeat([]byte("0123456789"), 28_500)},
	"ipxe-amd64.efi": {Data: []byte("amd64")},
	"secret.txt":     {Data: []byte("secret")},
}

func TestServesByExactName(t *testing.T) {
	addr, store, host := start(t, files)
	for _, c := range []struct {
		name string
		ask  string
		want []byte
	}{
		{"a boot file", "snponly.efi", files["snponly.efi"].Data},
		{"a leading slash", "/snponly.efi", files["snponly.efi"].Data},
		{"a ROM that reads past the name's end", "snponly.efi\xff", files["snponly.efi"].Data},
		{"the second choice under its own name", "ipxe.efi", []byte("amd64")},
		{"a file of the directory that is no boot file", "secret.txt", nil},
		{"a missing boot file", "undionly.kpxe", nil},
		{"a way out of the directory", "../etc/passwd", nil},
		{"another folder", "/etc/passwd", nil},
		{"no name", "", nil},
		{"another case", "SNPONLY.EFI", nil},
	} {
		got, err := receive(t, addr, c.ask, 1432)
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), "file not found") {
				t.Errorf("%s: got %d bytes, %v", c.name, len(got), err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes, %v; want %d", c.name, len(got), err, len(c.want))
		}
	}
	waitDiary(t, store, host, "tftp.file: Loaded snponly.efi by TFTP: 285 kB")
}

func TestAutoexecLeadsToTheAddressOfArrival(t *testing.T) {
	addr, _, _ := start(t, nil)
	got, err := receive(t, addr, "autoexec.ipxe", 0)
	if err != nil || !strings.HasPrefix(string(got), "#!ipxe\n") || !strings.Contains(string(got), "chain --replace http://127.0.0.1:8080/boot.ipxe?mac=${mac:hexhyp}") {
		t.Errorf("%v:\n%s", err, got)
	}
}

func TestWritesAreRefused(t *testing.T) {
	addr, _, _ := start(t, files)
	c, err := pin.NewClient(addr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Send("snponly.efi", "octet")
	if err == nil {
		_, err = r.ReadFrom(strings.NewReader("evil"))
	}
	if err == nil || !strings.Contains(err.Error(), "does not support write") {
		t.Errorf("got %v", err)
	}
}

// request is a read request with options, as firmware sends it.
func request(name string, opts ...string) []byte {
	b := []byte{0, 1}
	for _, s := range append([]string{name, "octet"}, opts...) {
		b = append(append(b, s...), 0)
	}
	return b
}

func exchange(t *testing.T, addr string, p []byte) (net.PacketConn, []byte, net.Addr) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(p, to); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 2000)
	n, from, err := conn.ReadFrom(b)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return conn, b[:n], from
}

// EDK II first asks for the size and breaks off with error 8 (R7), then asks again.
func TestSizeProbeIsNoFailure(t *testing.T) {
	addr, store, host := start(t, files)
	conn, oack, from := exchange(t, addr, request("snponly.efi", "tsize", "0", "blksize", "1468", "windowsize", "4"))
	if binary.BigEndian.Uint16(oack) != 6 || !bytes.Contains(oack, []byte("tsize\x00285000\x00")) || !bytes.Contains(oack, []byte("blksize\x001468\x00")) {
		t.Fatalf("answer to the options: %q", oack)
	}
	if _, err := conn.WriteTo([]byte("\x00\x05\x00\x08User aborted the transfer\x00"), from); err != nil {
		t.Fatal(err)
	}
	if got, err := receive(t, addr, "snponly.efi", 1468); err != nil || len(got) != 285_000 {
		t.Errorf("the real request: %d bytes, %v", len(got), err)
	}
	waitDiary(t, store, host, "Loaded snponly.efi")
	if d := diary(t, store, host); strings.Contains(d, "stopped") {
		t.Errorf("the probe is in the diary as a failure:\n%s", d)
	}
}

// TestOneAddressCannotHoldAllTransfers begins transfers that it never goes on with.
func TestOneAddressCannotHoldAllTransfers(t *testing.T) {
	addr, _, _ := start(t, files)
	for n := 1; ; n++ {
		conn, reply, from := exchange(t, addr, request("snponly.efi", "tsize", "0"))
		if reply[1] == 5 {
			if n < 2 || n > 400 || !bytes.Contains(reply, []byte("too many transfers")) {
				t.Errorf("transfer %d of one address: got %q", n, reply)
			}
			break
		}
		t.Cleanup(func() { _, _ = conn.WriteTo([]byte("\x00\x05\x00\x00enough\x00"), from) })
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteTo(request("snponly.efi"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 2000)
	n, from, err := conn.ReadFrom(b)
	if err != nil || b[1] != 3 {
		t.Fatalf("another address: got %q, %v, want the first block", b[:n], err)
	}
	_, _ = conn.WriteTo([]byte("\x00\x05\x00\x00enough\x00"), from)
}

func TestUnknownNameGetsErrorOne(t *testing.T) {
	addr, _, _ := start(t, files)
	_, reply, _ := exchange(t, addr, request("pxelinux.cfg/default", "tsize", "0"))
	if binary.BigEndian.Uint32(reply) != 5<<16|1 {
		t.Errorf("got %q", reply)
	}
}

func TestLostBlocksAreSentAgain(t *testing.T) {
	addr, _, _ := start(t, files)
	conn, b1, from := exchange(t, addr, request("snponly.efi"))
	if binary.BigEndian.Uint16(b1) != 3 {
		t.Fatalf("got %q", b1[:4])
	}
	again := make([]byte, 600)
	n, _, err := conn.ReadFrom(again) // no acknowledgement: the same block once more
	if err != nil || !bytes.Equal(again[:n], b1) {
		t.Errorf("second sending: %d bytes, %v", n, err)
	}
	_, _ = conn.WriteTo([]byte("\x00\x05\x00\x00enough\x00"), from)
}

func TestMalformedPacketsDisturbNobody(t *testing.T) {
	addr, _, _ := start(t, files)
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, p := range []string{"", "\x00", "\x00\x01", "\x00\x01x", "\x00\x09abc", "\x00\x03\x00\x01data", "\x00\x06a\x00", "\x00\x01" + strings.Repeat("a", 5000)} {
		if _, err := io.WriteString(conn, p); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := receive(t, addr, "ipxe.efi", 0); err != nil || string(got) != "amd64" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func FuzzServes(f *testing.F) {
	for _, n := range []string{"snponly.efi", "/undionly.kpxe", "../x", "autoexec.ipxe", "snponly.efi\xff\xff", "a\x00b"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		opened := ""
		tftp.OpenForTest(func(n string) { opened = n }, name)
		switch opened {
		case "", "undionly.kpxe", "snponly.efi", "ipxe-amd64.efi", "ipxe-arm64.efi":
		default:
			t.Errorf("name %q opened %q", name, opened)
		}
	})
}
