package dhcp

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
)

// broadcast is the limited broadcast address.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Decide says what a message is answered with. It is pure: the pool in the view is read
// (outdated offers in it end), and everything that has to happen is in the result.
func Decide(cfg Config, v View, r Request, now time.Time) Decision {
	return new(Room).Decide(&cfg, &v, &r, now)
}

// Room is what decisions are made in: their replies, leases and events are its own, so that one made in the place of an earlier
// one costs next to no memory. The zero value is ready. Not safe for concurrent use.
type Room struct {
	reply  Reply
	lease  lease.Lease
	events [2]Event
}

// Decide is the function Decide. What it returns points into the room and is good until the next one.
func (m *Room) Decide(cfg *Config, v *View, r *Request, now time.Time) Decision {
	d := decider{room: m, cfg: cfg, v: v, r: r, hw: lease.HW(r.MAC), now: now, leaseTime: cmp.Or(cfg.LeaseTime, time.Hour)}
	switch {
	case !v.Self.Is4():
		return silence("the interface %s has no IPv4 address", v.Iface)
	case v.ours(r.Relay):
		return silence("it names us as the relay")
	case v.Port == PortPXE:
		return d.bootServer()
	case v.Role != RoleServer || v.Segment == nil:
		if d.noRange = v.Role == RoleServer; d.noRange {
			proxy := *v
			d.v, proxy.Role = &proxy, RoleProxy
		}
		return d.proxy()
	}
	d.pool = v.Segment.Pool
	d.hw = d.pool.Key(d.hw, r.ClientID)
	out := d.serve()
	out.Client = d.hw
	return out
}

// serve answers as the segment's server.
func (d *decider) serve() Decision {
	switch d.r.Type {
	case Discover:
		return d.offer()
	case RequestMsg:
		return d.request()
	case Decline:
		return d.decline()
	case ReleaseMsg:
		return d.release()
	case Inform:
		return d.inform()
	}
	return silence("a server's message (%s), not a client's", d.r.Type)
}

type decider struct {
	room *Room
	cfg  *Config
	v    *View
	r    *Request
	pool *lease.Pool
	hw   lease.HW
	now  time.Time

	leaseTime time.Duration
	// noRange says that we are a server, but have no addresses for the client's segment.
	noRange bool
}

// plainDuration is "1 h" or "10 min": what time.Duration prints as 1h0m0s.
func plainDuration(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.Round(time.Second).String()
}

// reply is a message back to the client, with what every reply has.
func (d *decider) reply(t MessageType) *Reply {
	r := d.r
	rep := &d.room.reply
	*rep = Reply{Type: t, XID: r.XID, Hops: r.Hops, Broadcast: r.Broadcast, Relay: r.Relay, MAC: r.MAC, ServerID: d.v.Self, Agent: r.Agent,
		Options: rep.Options[:0], values: rep.values[:0]}
	if t == Ack {
		rep.CIAddr = r.CIAddr // RFC 2131 table 3
	}
	if d.pool != nil {
		rep.add(61, r.ClientID) // RFC 6842 §3: echoed, so that clients behind one hardware address know whose reply it is
	}
	return rep
}

// sendTo is RFC 2131 §4.1: to the relay, to the address the client uses already, to the
// whole segment when it asks for that, else straight to its interface.
func (d *decider) sendTo(rep *Reply) SendTo {
	s := SendTo{From: PortServer}
	switch {
	case rep.Relay.IsValid():
		s.To = netip.AddrPortFrom(rep.Relay, PortServer)
		if rep.Type == Nak {
			rep.Broadcast = true // so that the relay sends it to everybody
		}
	case rep.Type == Nak:
		s.To = netip.AddrPortFrom(broadcast, PortClient)
	case d.r.CIAddr.IsValid():
		s.To = netip.AddrPortFrom(d.r.CIAddr, PortClient)
	case rep.Broadcast || !rep.YIAddr.IsValid():
		rep.Broadcast = true // R12: a proxy offer has no address to be sent to
		s.To = netip.AddrPortFrom(broadcast, PortClient)
	default:
		s.To, s.MAC = netip.AddrPortFrom(rep.YIAddr, PortClient), d.r.MAC
	}
	return s
}

// offer answers a DISCOVER as the segment's server (RFC 2131 §4.3.1).
func (d *decider) offer() Decision {
	r := d.r
	ip, err := d.pool.Pick(d.hw, r.Wanted, d.now)
	if err != nil {
		out := silence("%v", err)
		out.Rule = "no address to give"
		if d.diary() {
			asked := r.event("dhcp.discover", fmt.Sprintf("asks for an address, but there is none: %v.", err), netip.Addr{})
			asked.Level = "warn"
			d.tell(&out, asked)
		}
		return out
	}
	rep := d.reply(Offer)
	rep.YIAddr = ip
	d.addLease(rep, ip, true)
	out := Decision{Reply: rep, Hold: ip, Rule: "offered an address"}
	addr := ip.String()
	out.Reason = "offered " + addr + d.whyOffered(ip)
	boot := d.addBoot(&out)
	d.addNetwork(rep)
	out.SendTo = d.sendTo(rep)
	if d.diary() {
		asked := r.event("dhcp.discover", "asks for an address.", netip.Addr{})
		d.tell(&out, asked, asked.then("dhcp.offer", "was offered "+addr+boot+"."))
	}
	return out
}

// whyOffered is why the client was offered that very address, after a comma.
func (d *decider) whyOffered(ip netip.Addr) string {
	res, reserved := d.pool.Reservation(d.hw)
	switch {
	case reserved && res.IP == ip:
		return ", reserved for it"
	case reserved:
		return fmt.Sprintf(", as its reserved address is not to be had (%v)", d.pool.Check(d.hw, res.IP, d.now))
	case d.pool.Had(ip, d.hw):
		return ", which it had before"
	case d.r.Wanted == ip:
		return ", which it asked for"
	}
	return ", the next free one"
}

// addBoot adds the boot file to an answer that has an address, if there is one to give, and returns the diary's words for that.
func (d *decider) addBoot(out *Decision) string {
	if !d.r.Kind.Boots() {
		return ""
	}
	if why := cannotBoot(d.v, d.r); why != "" {
		out.Reason += ", no boot file: " + why
		return ", without a boot file: " + why
	}
	out.Offered, out.Form = addBoot(out.Reply, d.cfg, d.v, d.r, false)
	text := " and " + offerText(d.v, d.r, out.Offered, out.Form)
	out.Reason += text
	return text
}

// diary reports whether anybody reads what is written of the sender.
func (d *decider) diary() bool { return !d.v.Stranger || d.r.Kind.Boots() }

// tell adds at most two events.
func (d *decider) tell(out *Decision, events ...Event) {
	if d.diary() {
		out.Events = d.room.events[:copy(d.room.events[:], events)]
	}
}

// addLease adds the address's own options: they come before the boot file.
func (d *decider) addLease(rep *Reply, ip netip.Addr, times bool) {
	if times {
		secs := uint32(d.leaseTime / time.Second)
		rep.addSeconds(51, secs)
		rep.addSeconds(58, secs/2)
		rep.addSeconds(59, secs/8*7)
	}
	mask := netip.PrefixFrom(broadcast, d.pool.Prefix().Bits()).Masked().Addr()
	rep.addAddr(1, mask)
	rep.addAddr(3, d.v.Segment.Router)
}

// addNetwork adds what an operating system asks for; it comes after the boot file.
func (d *decider) addNetwork(rep *Reply) {
	r := d.r
	dns := d.cfg.DNS
	if len(d.v.Segment.DNS) > 0 {
		dns = d.v.Segment.DNS
	}
	rep.addAddr(6, dns...)
	if r.Wants(15) {
		rep.addText(15, d.cfg.Domain)
	}
	if r.Wants(28) {
		rep.addAddr(28, lastAddr(d.pool.Prefix()))
	}
	if res, ok := d.pool.Reservation(d.hw); ok && r.Wants(12) {
		rep.addText(12, res.Name)
	}
	if r.Wants(42) {
		rep.addAddr(42, d.cfg.NTP...)
	}
	if r.Wants(121) {
		rep.add(121, d.routes())
	}
	if r.Wants(33) {
		rep.add(33, d.hostRoutes())
	}
}

// hostRoutes is option 33, for clients older than option 121: it has no masks, so only routes to single hosts
// mean the same to everybody (RFC 2132 §5.8). Who reads 121 ignores it (RFC 3442).
func (d *decider) hostRoutes() []byte {
	var b []byte
	for _, rt := range d.cfg.Routes {
		if rt.To.Bits() == 32 && rt.Via.Is4() && len(b) <= 255-8 {
			b = append4(append4(b, rt.To.Addr()), rt.Via)
		}
	}
	return b
}

// routes is option 121; RFC 3442: who reads it ignores option 3, so the default route is in it too.
func (d *decider) routes() []byte {
	if len(d.cfg.Routes) == 0 {
		return nil
	}
	var b []byte
	put := func(to netip.Prefix, via netip.Addr) {
		b = append(b, byte(to.Bits()))
		b = append(b, to.Masked().Addr().AsSlice()[:(to.Bits()+7)/8]...)
		b = append(b, via.AsSlice()...)
	}
	for _, rt := range d.cfg.Routes {
		if rt.To.Addr().Is4() && rt.Via.Is4() {
			put(rt.To, rt.Via)
		}
	}
	if d.v.Segment.Router.Is4() {
		put(netip.PrefixFrom(netip.IPv4Unspecified(), 0), d.v.Segment.Router)
	}
	return b
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
