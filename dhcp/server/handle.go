package server

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// answer is a message and what is decided about it, on its way out. It has room of its own for all of it, so that it can be
// used again for another message once it has left.
type answer struct {
	link  *link
	at    time.Time
	raw   []byte // the message; req points into it
	req   dhcp.Request
	known known
	view  dhcp.View
	room  dhcp.Room
	d     dhcp.Decision // points into room
	reply []byte
	err   error // why the reply was not sent
}

func (s *Server) newAnswer() *answer {
	if a, ok := s.spare.Get().(*answer); ok {
		return a
	}
	return new(answer)
}

// take is the first half of one packet's way: decode, limit, decide. It returns nil when nothing is to be said or
// done about it; else the answer leaves when its lease, if it has one, is stored.
func (s *Server) take(from arrival, b []byte) *answer {
	s.count.received.Add(1)
	a := s.newAnswer()
	a.link, a.at, a.err = from.link, s.cfg.Now(), nil
	a.raw = append(a.raw[:0], b...)
	var err error
	if a.req, err = dhcp.ParseInPlace(a.raw); err != nil {
		s.count.malformed.Add(1)
		s.log.Debug("packet is no DHCP request", "iface", from.link.name, "ip", from.src.Addr(), "err", err)
		s.spare.Put(a)
		return nil
	}
	if !s.limit.allow(a.req.MAC, a.at) {
		s.count.limited.Add(1)
		s.spare.Put(a)
		return nil
	}
	a.known = known{host: s.hosts.may(a.req.MAC)}
	if a.known.host && a.req.Kind.Boots() {
		a.known.ignored = s.ignored(a.req.MAC)
	}
	s.decide(a, from)
	return a
}

// known is what the inventory says of a machine.
type known struct {
	host    bool // it may be one of ours
	ignored bool // a person's choice; of a machine that netboots
}

// ignored reads whether a person chose that the machine is left alone.
func (s *Server) ignored(mac inventory.MAC) (yes bool) {
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(mac)
		yes = h.State == inventory.StateIgnored
		return err
	})
	if err != nil && !errors.Is(err, inventory.ErrNotFound) {
		s.log.Error("host cannot be read for DHCP", "mac", mac, "err", err)
	}
	return yes
}

// decide asks the core, and takes in what it says about offers, under one lock: between a
// look at the pool and the mark in it nobody else looks.
func (s *Server) decide(a *answer, from arrival) {
	l, req, k, v, d, now := a.link, &a.req, &a.known, &a.view, &a.d, a.at
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role == "" {
		*d = dhcp.Decision{Reason: "the role (server or ProxyDHCP) is not chosen yet", Rule: "the role is not chosen yet"}
		return
	}
	seg := s.segmentOf(from, req)
	*v = dhcp.View{Role: s.role, Iface: l.name, Self: l.self(seg, req.CIAddr), Selves: s.selves(), Port: from.port, Src: from.src,
		Alone: s.others.alone(l.name, now), Stranger: !k.host, Ignored: k.ignored}
	if seg != nil {
		v.Segment = &seg.Segment
	}
	doctor := s.cfg.Doctor(req.MAC)
	if !doctor {
		v.Try = s.tries.next(req, s.role, now)
	}
	*d = a.room.Decide(s.core(), v, req, now)
	if doctor {
		d.Events = nil
	} else {
		s.tries.offered(req, d, now)
	}
	if seg != nil {
		if d.Hold.IsValid() {
			seg.Pool.Hold(d.Hold, d.Client, now)
		}
		if d.Drop.IsValid() {
			seg.Pool.Unhold(d.Drop, d.Client)
		}
		if d.Lease != nil {
			seg.Pool.Claim(d.Lease.IP, d.Client)
		}
		if d.Split && seg.Pool.Split(lease.HW(req.MAC), req.ClientID) {
			s.log.Warn("two running machines have the same MAC: each gets an address of its own", "iface", l.name, "mac", req.MAC)
		}
	}
	if req.Type == dhcp.Discover && !req.Relay.IsValid() {
		s.wantsAddress(l.name)
	}
	if d.Other.IsValid() {
		s.count.other.Add(1)
		if s.others.suspect(d.Other, now) {
			s.namedGiver(l.name, now)
		} else { // On a switched network a rival's answers to others pass us by; its answer to us will not.
			s.askNow.Do(func() { s.tryAsk(l) })
		}
	}
}

// core is the configuration of decisions. The caller holds the lock.
func (s *Server) core() *dhcp.Config {
	c := &s.decisions
	*c = dhcp.Config{HTTPPort: uint16(s.cfg.HTTPPort), Shims: s.cfg.Shims, LeaseTime: s.cfg.LeaseTime, Domain: s.cfg.Domain, DNS: s.cfg.DNS, NTP: s.cfg.NTP, Routes: s.cfg.Routes}
	if c.DNS == nil {
		c.DNS = s.resolved
	}
	return c
}

// segmentOf is the pool of the client's segment: by the relay's address or its wish, by the client's
// own address when it renews with us directly (RFC 2131 §4.3.2), else by the interface; nil
// when there is none.
func (s *Server) segmentOf(a arrival, req *dhcp.Request) *segment {
	hint := req.Subnet
	switch {
	case hint.IsValid():
	case req.Relay.IsValid():
		hint = req.Relay
	case a.toUs && req.CIAddr.IsValid():
		hint = req.CIAddr
	}
	for _, g := range s.segments {
		p := g.Pool.Prefix()
		if hint.IsValid() && p.Contains(hint) || !hint.IsValid() && !g.relayed && a.link.has(p) {
			return g
		}
	}
	return nil
}

// selves are our addresses, good while the caller holds the lock.
func (s *Server) selves() []netip.Addr {
	s.own = s.own[:0]
	for _, l := range s.links {
		for _, p := range l.addrs {
			s.own = append(s.own, p.Addr())
		}
	}
	return s.own
}

// finish is the second half: send the replies, write down what happened. The answers are not the caller's any more.
func (s *Server) finish(list []*answer) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].link == list[0].link {
			n++
		}
		s.finishOn(list[0].link, list[:n])
		list = list[n:]
	}
}

// finishOn finishes answers that leave by the same interface.
func (s *Server) finishOn(l *link, list []*answer) {
	m, ok := s.mail.Get().(*mail)
	if !ok {
		m = new(mail)
	}
	for _, a := range list {
		if a.d.Reply == nil {
			continue
		}
		if a.reply, a.err = a.d.Reply.EncodeInto(a.reply, a.req.Limit); a.err == nil {
			m.out, m.whose = append(m.out, outgoing{to: a.d.SendTo, b: a.reply}), append(m.whose, a)
		}
	}
	if len(m.out) > 0 {
		s.send(l, m.out)
	}
	for i, a := range m.whose {
		a.err = m.out[i].err
	}
	m.clear()
	s.mail.Put(m)
	for _, a := range list {
		s.writeDown(a)
		s.spare.Put(a)
	}
}

// mail is the replies that leave together.
type mail struct {
	out   []outgoing
	whose []*answer
}

func (m *mail) clear() {
	clear(m.out)
	clear(m.whose)
	m.out, m.whose = m.out[:0], m.whose[:0]
}

// writeDown counts an answer, lists it and hands it to the diary.
func (s *Server) writeDown(a *answer) {
	l, req, d, now := a.link, &a.req, &a.d, a.at
	if a.err != nil {
		s.count.sendErrors.Add(1)
		d.Reason += "; the reply could not be sent: " + a.err.Error()
		s.log.Debug("DHCP reply not sent", "iface", l.name, "mac", req.MAC, "err", a.err)
		s.ring.add(req, d, l.name, now)
		return
	}
	s.count.decided(req, d)
	s.ring.add(req, d, l.name, now)
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("DHCP", "iface", l.name, "mac", req.MAC, "xid", hex.EncodeToString(req.XID[:]), "stage", req.Kind, "step", req.Type, "reason", d.Reason)
	}
	if len(d.Events) > 0 {
		s.notes.add(note{at: now, events: d.Events}, !a.known.host)
	}
}
