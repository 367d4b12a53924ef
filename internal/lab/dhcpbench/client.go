package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// DHCP message types (RFC 2132 §9.6).
const (
	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
	nak      = 6
)

// lossAfter is when a message without an answer counts as lost.
const lossAfter = time.Second

// batch is how many packets one system call carries at most.
const batch = 64

// load is what the clients do.
type load struct {
	name string
	// steps are the messages of one exchange: DISCOVER, REQUEST; a REQUEST alone is a renewal.
	steps []byte
	// ends is the type of answer that ends the exchange, ack or offer.
	ends byte
	// pxe adds the options of UEFI PXE firmware.
	pxe bool
	// port is the server's; 0 means 67. At 4011 there is no relay.
	port uint16
	// known says that the clients are those of an earlier load that asked for addresses, in turn.
	known bool
}

// result is what a load came to.
type result struct {
	started, done, lost, naks int
	took                      time.Duration
	times                     []time.Duration // of each exchange that ended, sorted
}

func (r *result) rate() float64 { return float64(r.done) / r.took.Seconds() }

func (r *result) percentile(p float64) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	return r.times[min(int(p*float64(len(r.times))), len(r.times)-1)]
}

// lossRate is the share of exchanges that did not end well.
func (r *result) lossRate() float64 {
	if r.started == 0 {
		return 1
	}
	return float64(r.lost+r.naks) / float64(r.started)
}

// exchange is one client on its way.
type exchange struct {
	busy   bool
	mac    uint32
	step   int
	gen    byte // in the transaction id: a late answer to an earlier exchange is none to this one
	began  time.Time
	sent   time.Time
	yiaddr [4]byte
}

// client plays many clients through one socket.
type client struct {
	conn      *net.UDPConn
	pc        *ipv4.PacketConn
	self      netip.Addr
	server    netip.Addr
	nextID    uint32             // of the next client
	nextKnown int                // among those that have an address
	leases    map[uint32][4]byte // what each client got
	given     map[[4]byte]uint32 // to whom; two for one address would be a failure of the server

	to      *net.UDPAddr // the server's
	in, out []ipv4.Message
	queued  int
}

// newClient binds the relay's port.
func newClient(self, server netip.Addr) (*client, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(self, 67)))
	if err != nil {
		return nil, err
	}
	if err := readBuffer(c, 4<<20); err != nil { // a burst that the generator drops would count as the server's loss
		return nil, errors.Join(err, c.Close())
	}
	k := &client{conn: c, pc: ipv4.NewPacketConn(c), self: self, server: server, to: &net.UDPAddr{}, leases: map[uint32][4]byte{}, given: map[[4]byte]uint32{}}
	for range batch {
		k.in = append(k.in, ipv4.Message{Buffers: [][]byte{make([]byte, 1500)}})
		k.out = append(k.out, ipv4.Message{Buffers: [][]byte{make([]byte, 0, 600)}})
	}
	return k, nil
}

// readBuffer sets a socket's buffer beyond net.core.rmem_max.
func readBuffer(c *net.UDPConn, size int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = rc.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) })
	return errors.Join(err, set)
}

// run plays a load for so long: with inFlight exchanges at all times, or, when rate is not 0, with so many
// begun a second whatever comes back. most ends it after so many exchanges; 0 = as many as there is time for.
func (c *client) run(l load, inFlight, most int, rate float64, d time.Duration) (result, error) {
	slots := inFlight
	if rate > 0 {
		slots = int(rate*lossAfter.Seconds()*1.5) + batch
	}
	var known []uint32
	if l.known {
		for id := range c.leases {
			known = append(known, id)
		}
		slices.Sort(known)
		if len(known) < 100 {
			return result{}, fmt.Errorf("%s: only %d clients have an address", l.name, len(known))
		}
	}
	r := result{times: make([]time.Duration, 0, 1<<16)}
	ex := make([]exchange, slots)
	free := make([]int, slots)
	for i := range free {
		free[i] = slots - 1 - i
	}
	began := time.Now()
	end := began.Add(d)
	if most == 0 {
		most = math.MaxInt
	}
	for now := began; now.Before(end) || len(free) < slots; now = time.Now() {
		due := len(free)
		if rate > 0 {
			due = min(due, int(now.Sub(began).Seconds()*rate)-r.started)
		}
		if r.started >= most && now.Before(end) {
			end = now
		}
		for due = min(due, most-r.started); due > 0 && now.Before(end); due-- {
			i := free[len(free)-1]
			free = free[:len(free)-1]
			id := c.nextID
			if l.known {
				id = known[c.nextKnown%len(known)]
				c.nextKnown++
			} else {
				c.nextID++
			}
			ex[i] = exchange{busy: true, mac: id, gen: ex[i].gen + 1, began: now}
			r.started++
			c.say(&l, &ex[i], i, now)
		}
		c.flush()
		wait := 200 * time.Microsecond
		if rate == 0 || now.After(end) {
			wait = 20 * time.Millisecond
		}
		if err := c.conn.SetReadDeadline(now.Add(wait)); err != nil {
			return r, err
		}
		n, err := c.pc.ReadBatch(c.in, 0)
		if err != nil {
			n = 0
		}
		now = time.Now()
		for _, m := range c.in[:n] {
			if i, ended := c.hear(&l, ex, m.Buffers[0][:m.N], now, &r); ended {
				free = append(free, i)
			}
		}
		c.flush()
		if n == 0 || r.started%256 == 0 {
			for i := range ex {
				if ex[i].busy && now.Sub(ex[i].sent) > lossAfter {
					ex[i].busy = false
					r.lost++
					free = append(free, i)
				}
			}
		}
		if now.Before(end) || r.took == 0 {
			r.took = now.Sub(began)
		}
	}
	slices.Sort(r.times)
	return r, nil
}

// hear takes in an answer; it reports the slot whose exchange ended.
func (c *client) hear(l *load, ex []exchange, b []byte, now time.Time, r *result) (int, bool) {
	if len(b) < 244 || b[0] != 2 {
		return 0, false
	}
	xid := binary.BigEndian.Uint32(b[4:])
	i := int(xid & 0xffffff)
	if i >= len(ex) || !ex[i].busy || ex[i].gen != byte(xid>>24) {
		return 0, false
	}
	x := &ex[i]
	t := messageType(b)
	switch {
	case t == nak:
		r.naks++
		x.busy = false
		return i, true
	case t == l.ends && x.step == len(l.steps):
		r.done++
		r.times = append(r.times, now.Sub(x.began))
		x.busy = false
		if ip := [4]byte(b[16:20]); t == ack && ip != [4]byte{} {
			if old, dup := c.given[ip]; dup && old != x.mac {
				panic(fmt.Sprintf("%v was given to client %d and to %d", netip.AddrFrom4(ip), old, x.mac))
			}
			c.given[ip], c.leases[x.mac] = x.mac, ip
		}
		return i, true
	case t == offer && x.step < len(l.steps):
		x.yiaddr = [4]byte(b[16:20])
		c.say(l, x, i, now)
	}
	return 0, false
}

func messageType(b []byte) byte {
	for o := b[240:]; len(o) > 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if o[0] == 53 {
			return o[2]
		}
		o = o[min(2+int(o[1]), len(o)):]
	}
	return 0
}

// say queues the exchange's next message.
func (c *client) say(l *load, x *exchange, slot int, now time.Time) {
	if c.queued == batch {
		c.flush()
	}
	m := &c.out[c.queued]
	c.queued++
	t := l.steps[x.step]
	x.step++
	x.sent = now
	port := uint16(67)
	if l.port != 0 {
		port = l.port
	}
	if c.to.Port != int(port) {
		c.to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.server, port))
	}
	m.Addr = c.to
	b := m.Buffers[0][:240]
	clear(b)
	b[0], b[1], b[2], b[3] = 1, 1, 6, 1
	binary.BigEndian.PutUint32(b[4:], uint32(x.gen)<<24|uint32(slot))
	self := c.self.As4()
	if l.port == 0 {
		copy(b[24:], self[:]) // giaddr
	}
	b[28] = 2
	binary.BigEndian.PutUint32(b[30:], x.mac)
	copy(b[236:], []byte{99, 130, 83, 99})
	b = append(b, 53, 1, t)
	renew := t == request && l.steps[0] == request && l.known
	switch {
	case renew:
		ip := c.leases[x.mac]
		copy(b[12:], ip[:])
	case t == request && l.port != 0:
		copy(b[12:], self[:])
	case t == request:
		b = append(b, 50, 4)
		b = append(b, x.yiaddr[:]...)
		srv := c.server.As4()
		b = append(b, 54, 4)
		b = append(b, srv[:]...)
	}
	b = append(b, 61, 7, 1)
	b = append(b, b[28:34]...)
	if l.pxe {
		b = append(b, pxeOptions...)
	} else {
		b = append(b, 55, 7, 1, 3, 6, 12, 15, 28, 42)
	}
	b = append(b, 255)
	for len(b) < 300 {
		b = append(b, 0)
	}
	m.Buffers[0] = b
}

// pxeOptions are those of OVMF's DISCOVER (captures/uefi-pxe4-server).
var pxeOptions = slices.Concat([]byte{57, 2, 0x05, 0xc0,
	55, 35, 1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135,
	97, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	94, 3, 1, 3, 16, 93, 2, 0, 7, 60, 32}, []byte("PXEClient:Arch:00007:UNDI:003016"))

func (c *client) flush() {
	for sent := 0; sent < c.queued; {
		n, err := c.pc.WriteBatch(c.out[sent:c.queued], 0)
		if err != nil {
			break // lost, as on any network; the loss is counted
		}
		sent += n
	}
	c.queued = 0
}
