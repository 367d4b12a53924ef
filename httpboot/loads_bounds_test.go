package httpboot

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

func TestSpansCountEveryByteOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s spans
		have := [64]bool{}
		for range rapid.IntRange(0, 20).Draw(t, "pieces") {
			from := rapid.IntRange(0, 63).Draw(t, "from")
			to := rapid.IntRange(from, 64).Draw(t, "to")
			s = s.add(span{int64(from), int64(to)})
			for i := from; i < to; i++ {
				have[i] = true
			}
			want := int64(0)
			for _, h := range have {
				if h {
					want++
				}
			}
			if s.bytes() != want || s.begun() != have[0] {
				t.Fatalf("%v: got %d bytes, begun %t; want %d, %t", s, s.bytes(), s.begun(), want, have[0])
			}
			for i := 1; i < len(s); i++ {
				if s[i-1].to >= s[i].from {
					t.Fatalf("%v touch", s)
				}
			}
		}
	})
}

type still struct{ at int64 }

func (s *still) Seek(int64, int) (int64, error) { return s.at, nil }

func TestLoadsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := newLoads(func() time.Time { return now })
	im := &stage0.Image{Manifest: stage0.Manifest{Kernel: "k", Initrd: []string{"i"}}, Digest: "d", Files: map[string]*stage0.File{"k": {Size: 10}, "i": {Size: 1 << 20}}}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	id := func(i int) inventory.HostID { return inventory.HostID(fmt.Sprint("h", i)) }
	for i := range 2 * maxBoots {
		now = now.Add(time.Millisecond)
		l.begin(id(i), addr(i), im)
	}
	if len(l.boots) != maxBoots || len(l.from) != maxBoots {
		t.Errorf("%d boots, %d addresses; want %d", len(l.boots), len(l.from), maxBoots)
	}
	if l.boots[id(2*maxBoots-1)] == nil || l.boots[id(0)] != nil {
		t.Error("the newest boot had to go, or the oldest had not")
	}
	var s spans
	for i := range 10 * maxSpans {
		s = s.add(span{int64(i) * 10, int64(i)*10 + 1})
	}
	if len(s) != maxSpans {
		t.Errorf("%d pieces, want %d", len(s), maxSpans)
	}
	var open []*transfer
	for i := range 2 * maxTransfer {
		if tr := l.start(addr(2*maxBoots-1), "d", "i", &still{int64(i)*1000 + 500}, nil, span{int64(i) * 1000, int64(i)*1000 + 1000}); tr != nil {
			open = append(open, tr)
		}
	}
	if len(open) != maxTransfer || l.open != maxTransfer {
		t.Errorf("%d downloads, counted %d; want %d", len(open), l.open, maxTransfer)
	}
	if l.start(addr(2*maxBoots-1), "other", "i", &still{}, nil, span{0, 1}) != nil || l.start(addr(2*maxBoots-1), "d", "none", &still{}, nil, span{0, 1}) != nil {
		t.Error("a file that is not of its boot is watched")
	}
	if wait := l.tick(); wait != loadEvery || len(l.told) != 1 {
		t.Errorf("next look in %s, %d told of; want %s, 1", wait, len(l.told), loadEvery)
	}
	for _, tr := range open {
		l.stop(tr, 0, false)
		l.stop(tr, 0, false) // twice is once
	}
	l.begin(id(2*maxBoots-2), netip.Addr{}, im) // somebody asks in a machine's name
	if l.boots[id(2*maxBoots-2)] == nil {
		t.Error("a stranger ends a machine's boot")
	}
	if wait := l.tick(); wait != loadRest || l.open != 0 || len(l.told) != 0 {
		t.Errorf("next look in %s, %d open, %d told of; want %s, none", wait, l.open, len(l.told), loadRest)
	}
	now = now.Add(loadForget + time.Second)
	if wait := l.tick(); wait != 0 || len(l.boots) != 0 || len(l.from) != 0 {
		t.Errorf("after %s: next look in %s, %d boots, %d addresses; want none", loadForget, wait, len(l.boots), len(l.from))
	}
}

func TestLoadsBehindOneAddressAreNotMixedUp(t *testing.T) {
	t.Parallel()
	l := newLoads(time.Now)
	im := &stage0.Image{Manifest: stage0.Manifest{Kernel: "k", Initrd: []string{"i"}}, Digest: "d", Files: map[string]*stage0.File{"k": {Size: 10}, "i": {Size: 100}}}
	gate := netip.MustParseAddr("10.0.0.9")
	l.begin("one", gate, im)
	l.start(gate, "d", "k", &still{5}, nil, span{0, 10})
	if l.tick(); l.told["one"].Bytes != 5 {
		t.Fatalf("got %+v", l.told)
	}
	l.begin("two", gate, im)
	l.start(gate, "d", "k", &still{7}, nil, span{0, 10})
	if l.tick(); len(l.told) != 0 {
		t.Errorf("got %+v", l.told)
	}
}

func TestSilenceIsNotAStallWhileFilesGoOut(t *testing.T) {
	t.Parallel()
	now, loading := time.Now(), true
	w := &stalls{now: func() time.Time { return now }, hosts: map[inventory.HostID]waiting{}, loading: func(inventory.HostID) bool { return loading }}
	w.see(inventory.Entry{HostID: "a", Kind: "http.script", By: "ipxe", Text: stage0Phrase, Time: now})
	now = now.Add(20 * time.Minute)
	if err := w.tick(); err != nil { // it has no store to write a verdict to
		t.Fatal(err)
	}
	loading = false
	if due := w.hosts["a"].due; !due.Equal(now.Add(afterCode.within)) {
		t.Errorf("due %s, want %s after the last look", due, afterCode.within)
	}
}

// iPXE starts the kernel without a word about the last bytes that it took; a machine whose cable was pulled is silent about more.
func TestTheEndNeedsNoWordOfTheMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		sent bool
		held []int // at one look after the other
		want bool  // at the last
	}{
		{"the machine confirmed all", true, []int{0}, true},
		{"the last window, confirmed no further", true, []int{90e3, 90e3}, true},
		{"the last window, and still moving", true, []int{90e3, 80e3}, false},
		{"the last window, for the first time", true, []int{90e3}, false},
		{"more than a window", true, []int{lastWindow + 1, lastWindow + 1}, false},
		{"more is to come", false, []int{0, 0}, false},
	} {
		tr, got := &transfer{sent: c.sent}, false
		for _, h := range c.held {
			got = tr.all(h)
		}
		if got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func TestAClosedConnectionIsSeen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	machine, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = machine.Close() }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tr := &transfer{file: &loadFile{size: 10}, socket: conn.(*net.TCPConn), span: span{0, 10}, sent: true}
	if all, ok := tr.look(); !all || !ok {
		t.Errorf("open: got %t, %t", all, ok)
	}
	_ = conn.Close()
	if _, ok := tr.look(); ok {
		t.Error("a closed connection is not seen")
	}
}
