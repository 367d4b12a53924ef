package httpboot

import (
	"context"
	"io"
	"maps"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// How far a machine is with stage-0 is read off its downloads from outside, once a second: where the file stands that sendfile(2)
// moves along, less what the socket still holds. So the bytes themselves take the same way as without anybody who looks.

// Bounds of what is kept, and how often it is looked at.
const (
	loadEvery   = time.Second // while files go out; more rarely when there are many
	loadAtOnce  = 50          // downloads that are looked at every loadEvery; twice as many are looked at half as often
	loadRest    = 30 * time.Second
	loadForget  = 10 * time.Minute // after the last sign of a boot
	maxBoots    = 1024             // for a further one, one that loads nothing is given up
	maxTransfer = 16               // downloads of one boot that are watched
	// lastWindow is how much of the end may stay without the machine's word: iPXE starts the kernel before it confirms what came last,
	// its window at most (TCP_MAX_WINDOW_SIZE in ipxe/tcp.h, 256 KiB; seen with trixie's snponly.efi).
	lastWindow = 256 << 10
)

// loads keeps how far each boot is, in memory alone. Safe for concurrent use.
type loads struct {
	now func() time.Time

	mu      sync.Mutex
	boots   map[inventory.HostID]*load
	from    map[netip.Addr]*load // who loads from an address: the one that fetched its script there last
	open    int                  // downloads
	told    map[inventory.HostID]inventory.Loading
	changed chan struct{} // closed and replaced when told is
	woken   chan struct{} // there is something to look at
}

// load is one boot: from the script to the check-in.
type load struct {
	from   netip.Addr
	digest string // of its image
	kernel string
	files  map[string]*loadFile
	open   map[*transfer]bool
	try    int
	broke  bool // the last download ended before its end
	mixed  bool // another machine loads from its address: which download is whose cannot be told
	seen   time.Time
}

// loadFile is one file of the image and what the machine has of it.
type loadFile struct {
	size int64
	have spans
}

// transfer is one download under way.
type transfer struct {
	of     *load
	file   *loadFile
	body   io.Seeker
	socket syscall.Conn // nil = what it holds is not known
	span   span         // what was asked for
	sent   bool         // all of it is in the socket
	held   int          // bytes that the socket held at the last look
}

func newLoads(now func() time.Time) *loads {
	return &loads{now: now, boots: map[inventory.HostID]*load{}, from: map[netip.Addr]*load{}, changed: make(chan struct{}), woken: make(chan struct{}, 1)}
}

// begin notes that a host was sent to stage-0: what was known of its last boot is void.
func (l *loads) begin(host inventory.HostID, from netip.Addr, im *stage0.Image) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !from.IsValid() {
		return // somebody else asks in its name
	}
	l.drop(host)
	if len(l.boots) >= maxBoots && !l.makeRoom() {
		return
	}
	b := &load{from: from, digest: im.Digest, kernel: im.Kernel, files: map[string]*loadFile{}, open: map[*transfer]bool{}, try: 1, seen: l.now()}
	for _, name := range append([]string{im.Kernel}, im.Initrd...) {
		b.files[name] = &loadFile{size: im.Files[name].Size}
	}
	if o := l.from[from]; o != nil && len(o.open) > 0 { // behind a router that translates addresses
		o.mixed, b.mixed = true, true
	}
	l.boots[host], l.from[from] = b, b
	l.wake()
}

// makeRoom forgets the boot that has been idle for longest; false when all of them load something.
func (l *loads) makeRoom() bool {
	var oldest *load
	var id inventory.HostID
	for host, b := range l.boots {
		if len(b.open) == 0 && (oldest == nil || b.seen.Before(oldest.seen)) {
			oldest, id = b, host
		}
	}
	if oldest != nil {
		l.drop(id)
	}
	return oldest != nil
}

// end notes that a host's boot has come further than loading, or is none any more.
func (l *loads) end(host inventory.HostID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(host)
}

// drop forgets a boot, at once for all who are told; downloads of it that are open go on unwatched.
func (l *loads) drop(host inventory.HostID) {
	b, known := l.boots[host]
	if !known {
		return
	}
	l.open -= len(b.open)
	clear(b.open)
	delete(l.boots, host)
	if l.from[b.from] == b {
		delete(l.from, b.from)
	}
	if _, known := l.told[host]; known {
		told := maps.Clone(l.told)
		delete(told, host)
		l.tell(told)
	}
}

// tell makes told what everybody is told; it is not written to from here on.
func (l *loads) tell(told map[inventory.HostID]inventory.Loading) {
	l.told = told
	close(l.changed)
	l.changed = make(chan struct{})
}

// start watches a download that is about to go out; nil when nobody is known to load this file from there.
func (l *loads) start(from netip.Addr, digest, name string, body io.Seeker, socket syscall.Conn, asked span) *transfer {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.from[from]
	if b == nil || b.digest != digest || b.files[name] == nil {
		return nil
	}
	for o := range b.open {
		if o.sent && o.socket == socket { // who asks for more has what was sent before
			l.finish(o, true)
		}
	}
	if len(b.open) >= maxTransfer {
		return nil
	}
	t := &transfer{of: b, file: b.files[name], body: body, socket: socket, span: asked}
	if asked.from == 0 && t.file.have.begun() { // iPXE gave up and begins with the kernel again
		b.again(l)
	}
	b.open[t], b.broke, b.seen = true, false, l.now()
	l.open++
	l.wake()
	return t
}

// again forgets what the machine has: it loads all of it once more.
func (b *load) again(l *loads) {
	b.try++
	l.open -= len(b.open)
	clear(b.open)
	for _, f := range b.files {
		f.have = nil
	}
}

// stop notes that no more of a download goes out, after so many bytes. What the socket still holds of a whole one is watched on, unless
// the connection ends with it (last). A nil transfer is none.
func (l *loads) stop(t *transfer, sent int64, last bool) {
	if t == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.of.open[t] {
		return
	}
	switch t.sent = sent >= t.span.to-t.span.from; {
	case !t.sent:
		t.look()
		l.finish(t, false)
	case last || t.socket == nil:
		l.finish(t, true)
	}
	l.wake()
}

// finish ends the watch of a download; whole says that the machine has all of it.
func (l *loads) finish(t *transfer, whole bool) {
	if whole {
		t.file.have = t.file.have.add(t.span)
	}
	delete(t.of.open, t)
	l.open--
	t.of.broke, t.of.seen = !whole, l.now()
}

// look reads how far the download is. It reports whether the machine has all that was sent, and false for ok when its connection is gone.
func (t *transfer) look() (all, ok bool) {
	at, held := t.span.to, 0
	if !t.sent {
		var err error
		if at, err = t.body.Seek(0, io.SeekCurrent); err != nil {
			return false, false
		}
	}
	if t.socket != nil {
		raw, err := t.socket.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { held, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) // bytes that the peer has not confirmed
		}
		if err != nil {
			return false, false
		}
	}
	t.file.have = t.file.have.add(span{t.span.from, min(at, t.span.to) - int64(held)})
	return t.all(held), true
}

// all reports whether the machine has all that was sent, from what the socket holds now and held at the last look.
func (t *transfer) all(held int) bool {
	still := held == t.held
	t.held = held
	return t.sent && (held == 0 || still && held <= lastWindow)
}

// wake makes run look. l.mu is held.
func (l *loads) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// run looks again and again while there is something to look at, until ctx ends.
func (l *loads) run(ctx context.Context) {
	next, resting := time.NewTimer(loadRest), true
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.woken:
			if resting {
				next.Reset(loadEvery)
				resting = false
			}
		case <-next.C:
			wait := l.tick()
			if resting = wait == 0 || wait == loadRest; wait > 0 {
				next.Reset(wait)
			}
		}
	}
}

// tick reads every download under way and tells what changed. It returns when to look again; 0 = not before something happens.
func (l *loads) tick() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, told := l.now(), map[inventory.HostID]inventory.Loading{}
	for id, b := range l.boots {
		for t := range b.open {
			if all, ok := t.look(); all || !ok && t.sent {
				l.finish(t, all)
			}
		}
		if len(b.open) > 0 {
			b.seen = now
		} else if now.Sub(b.seen) > loadForget {
			l.drop(id)
			continue
		}
		if v, ok := b.loading(now); ok {
			if old, known := l.told[id]; known && old.Part == v.Part && old.Try == v.Try && old.Percent() == v.Percent() {
				v = old
			}
			told[id] = v
		}
	}
	if !maps.Equal(told, l.told) {
		l.tell(told)
	}
	switch {
	case l.open > 0:
		return loadEvery * time.Duration(1+l.open/loadAtOnce)
	case len(l.boots) > 0:
		return loadRest
	}
	return 0
}

// loading is how far the boot is; false while nothing can be said: before its first file, after a download that broke off, and when
// the next file was not asked for at once.
func (b *load) loading(now time.Time) (inventory.Loading, bool) {
	v := inventory.Loading{Part: inventory.PartKernel, Try: b.try}
	var image, total int64
	for name, f := range b.files {
		if name == b.kernel {
			v.Bytes, v.Total = f.have.bytes(), f.size
			continue
		}
		image, total = image+f.have.bytes(), total+f.size
	}
	begun := len(b.open) > 0 || v.Bytes+image > 0
	if v.Bytes >= v.Total {
		v.Part, v.Bytes, v.Total = inventory.PartImage, image, total
	}
	idle := len(b.open) == 0 && (b.broke || !v.Complete() && now.Sub(b.seen) >= loadRest)
	return v, begun && !b.mixed && !idle
}

// underway reports whether files go out to the host now.
func (l *loads) underway(host inventory.HostID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boots[host]
	return b != nil && len(b.open) > 0
}

// Loading is how far the machines are that load stage-0 now, and a channel that closes when that changed, once a second at most. The map is
// not written to any more.
func (s *Server) Loading() (map[inventory.HostID]inventory.Loading, <-chan struct{}) {
	l := s.loads
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told, l.changed
}
