package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/inventory"
)

// seeds adds every client packet of the captures.
func seeds(f *testing.F, add func(b []byte, port uint16)) {
	f.Helper()
	files, err := filepath.Glob("testdata/captures/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no captures", err)
	}
	for _, name := range files {
		for _, p := range readCapture(f, name) {
			add(p.payload, p.dst.Port())
		}
	}
}

// FuzzParse: whatever arrives, decoding ends in a bounded, clean request or in an error; and reading in place has the
// codec's result.
func FuzzParse(f *testing.F) {
	seeds(f, func(b []byte, _ uint16) { f.Add(b) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxMessage { // the socket cuts
			return
		}
		r, err := Parse(b)
		agree(t, b, r, err)
		if err != nil {
			return
		}
		if r.MAC.IsZero() || len(r.Hostname) > 63 || len(r.Vendor) > 64 || len(r.ClientID) > 64 || r.GUID != nil && len(r.GUID) != 17 {
			t.Errorf("unbounded: %+v", r)
		}
		for _, c := range r.Hostname + r.Vendor {
			if c < ' ' || c == 0x7f {
				t.Errorf("control character in %q %q", r.Hostname, r.Vendor)
			}
		}
	})
}

// FuzzDecide: no panic, no reply larger than the client takes, options 53 and 54 always there, a
// reason always given, and an address only from the range and only in server mode.
func FuzzDecide(f *testing.F) {
	seeds(f, func(b []byte, port uint16) {
		f.Add(b, port == PortPXE, true, 0, false)
		f.Add(b, port == PortPXE, false, 1, false)
		f.Add(b, false, true, 5, true)
	})
	f.Fuzz(func(t *testing.T, b []byte, at4011, server bool, try int, ignored bool) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		role := RoleProxy
		if server {
			role = RoleServer
		}
		v := labView(t, role)
		v.Src, v.Try, v.Ignored = netip.MustParseAddrPort("10.77.0.250:4011"), max(try, 0), ignored
		if at4011 {
			v.Port = PortPXE
		}
		d := Decide(labConfig, v, r, epoch)
		if d.Reason == "" {
			t.Error("no reason")
		}
		if d.Reply == nil {
			return
		}
		checkReply(t, r, d, server && !at4011)
		checkRoom(t, v, r, d)
		if ignored && d.Offered != "" {
			t.Error("an ignored host was offered a boot file")
		}
	})
}

// checkRoom decides in a room where another decision was made, and encodes over another message: nothing of those shows.
func checkRoom(t *testing.T, v View, r Request, want Decision) {
	cfg, other, used := labConfig, v, Request{Type: Discover, MAC: inventory.MAC{2, 1, 1, 1, 1, 1}, Kind: KindPXE, HasArch: true, Arch: 7}
	other.Port, other.Ignored = PortServer, false
	var room Room
	first := room.Decide(&cfg, &other, &used, epoch)
	b, err := first.Reply.Encode(1500)
	if err != nil {
		t.Fatal(err)
	}
	got := room.Decide(&cfg, &v, &r, epoch)
	b, err = got.Reply.EncodeInto(b, r.Limit)
	c, wantErr := want.Reply.Encode(r.Limit)
	if !bytes.Equal(b, c) || (err == nil) != (wantErr == nil) {
		t.Errorf("in a room that was used: %v\n%x\nwant %v\n%x", err, b, wantErr, c)
	}
	addrs := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want.Events, got.Events, addrs); diff != "" || got.Reason != want.Reason {
		t.Errorf("in a room that was used: %q, want %q; events\n%s", got.Reason, want.Reason, diff)
	}
	if diff := cmp.Diff(want.Lease, got.Lease, addrs); diff != "" {
		t.Errorf("lease in a room that was used:\n%s", diff)
	}
	v.Stranger = true
	if silent := room.Decide(&cfg, &v, &r, epoch); silent.Reason != want.Reason || len(silent.Events) > 0 && !r.Kind.Boots() {
		t.Errorf("a stranger: %q, %v, want %q and nothing for the diary unless it boots", silent.Reason, silent.Events, want.Reason)
	}
}

func checkReply(t *testing.T, r Request, d Decision, server bool) {
	out, err := d.Reply.Encode(r.Limit)
	if err != nil {
		if len(r.Agent) < 250 {
			t.Errorf("not encoded: %v", err)
		}
		return
	}
	room := 548
	if r.Limit > 576 {
		room = min(r.Limit-28, 1472)
	}
	if len(out) > room || len(out) < MinReply {
		t.Errorf("%d bytes, room for %d", len(out), room)
	}
	m, err := dhcpv4.FromBytes(out)
	if err != nil {
		t.Fatalf("reply does not decode: %v", err)
	}
	if len(m.Options[53]) != 1 || m.ServerIdentifier() == nil || m.TransactionID != r.XID {
		t.Errorf("options 53, 54 or the transaction are wrong: %v", m)
	}
	if a := d.Reply.YIAddr; a.IsValid() && (!server || !newPool(t, labNet).Range().Contains(a)) {
		t.Errorf("gave %v", a)
	}
	if !d.SendTo.To.Addr().IsValid() || d.SendTo.To.Port() == 0 {
		t.Errorf("goes to %v", d.SendTo.To)
	}
}

// agree compares with what the codec alone makes of the message.
func agree(t *testing.T, b []byte, got Request, gotErr error) {
	t.Helper()
	if _, inPlace := scan(&options{b: b}); !inPlace {
		return
	}
	m, err := dhcpv4.FromBytes(append(slices.Clip(b), 255))
	if err != nil {
		t.Fatalf("read in place, where the codec says: %v", err)
	}
	want, wantErr := Classify(m)
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Errorf("in place: %v, by the codec: %v", gotErr, wantErr)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Request{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("by the codec - , in place + :\n%s", diff)
	}
}

func TestRealFirmwareIsReadInPlace(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/captures/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, name := range files {
		for i, p := range readCapture(t, name) {
			if _, err := Parse(p.payload); err != nil {
				continue
			}
			if _, ok := scan(&options{b: p.payload}); !ok {
				t.Errorf("%s, packet %d is left to the codec", filepath.Base(name), i)
			}
		}
	}
}
